//! The protocol is broken.

use super::{ONCE, after, field, occurrences, share};
use crate::flags::definition::{Definition, EvidenceField, Family, Parameter, Sense, Severity, Threshold, Unit};
use crate::flags::table::Flag;

/// In the order of the variants of [`Flag`].
pub(super) static TABLE: [Definition; 9] = [
    fault(
        Flag::StdoutPollution,
        "stdout_pollution",
        "A server prints on its standard output",
        "Lines that are no JSON appear among the messages: a banner, a log line, a stray print.",
        "Print to standard error; some clients end the connection at the first such line.",
        1.0,
    ),
    fault(
        Flag::MalformedFrame,
        "malformed_frame",
        "A message cannot be understood",
        "JSON that is broken, or that is no JSON-RPC 2.0 message, was written to an MCP stream.",
        "Look for several threads or processes that write to one stream, and for messages cut off.",
        1.0,
    ),
    fault(
        Flag::ContentLengthFraming,
        "content_length_framing",
        "Messages are framed as in LSP",
        "A peer writes `Content-Length:` headers where MCP wants one line of JSON a message.",
        "Use the stdio transport of an MCP SDK: the other side will not understand this one.",
        1.0,
    ),
    Definition {
        flag: Flag::UnansweredRequest,
        code: "unanswered_request",
        family: Family::Protocol,
        title: "A request gets no answer",
        meaning: "A request has been in flight for long, and its server has answered younger ones meanwhile: this answer will not come.",
        advice: "Look for a tool that swallows an exception or never resolves; `mcpsonar calls` shows which.",
        subject: "process",
        severity: Severity::Warning,
        threshold: Threshold {
            value: "age of a request after which a younger one was answered",
            unit: Unit::Seconds,
            sense: Sense::Above,
            warn: 60.0,
            critical: None,
            clear: 1.0,
            range: (1.0, 86_400.0),
        },
        hysteresis: after(1, 1, 1, 60),
        parameters: &[],
        evidence: &[
            field("oldest_s", "age of the oldest request in flight, in s"),
            field("pending", "calls in flight"),
        ],
    },
    fault(
        Flag::UnknownResponseId,
        "unknown_response_id",
        "A response belongs to no request",
        "A response was written whose id no request has had, or whose type differs: 1 is not \"1\".",
        "Have the peer echo the id as it came; two answers to one request look like this too.",
        1.0,
    ),
    fault(
        Flag::IdReuse,
        "id_reuse",
        "A request id is used twice",
        "A request was sent with the id of one that is still in flight: its answers cannot be told apart.",
        "Number the requests of a session, as the specification demands.",
        1.0,
    ),
    fault(
        Flag::ResponseAfterCancel,
        "response_after_cancel",
        "Cancelled calls are answered",
        "A server goes on with calls that were cancelled and answers them: the work is thrown away.",
        "Pass the SDK's abort signal or cancel scope on into the tool.",
        3.0,
    ),
    Definition {
        flag: Flag::ClientTimedOut,
        code: "client_timed_out",
        family: Family::Protocol,
        title: "A client gave up before the server was done",
        meaning: "A client cancelled a call, or closed its stream, after it had waited for long.",
        advice: "Raise the client's timeout or have the tool report progress; `explain` the call for why it took so long.",
        subject: "server",
        severity: Severity::Warning,
        threshold: occurrences("calls given up", 1.0),
        hysteresis: ONCE,
        parameters: &[Parameter {
            key: "min_wait_ms",
            meaning: "a wait below this is a cancellation, not a timeout",
            unit: Unit::Milliseconds,
            default: 5000.0,
            range: (1.0, 8.64e7),
        }],
        evidence: &[
            field("timeouts", "calls given up"),
            field("waited_ms", "how long the latest was waited for, in ms"),
            field("target", "what it asked for"),
            field("client_pid", "who gave up, 0 when not known"),
        ],
    },
    Definition {
        flag: Flag::SessionErrors,
        code: "session_errors",
        family: Family::Protocol,
        title: "Sessions are not found",
        meaning: "A part of the requests of sessions that have worked before is refused: typical of several instances behind a load balancer without affinity.",
        advice: "Route by `Mcp-Session-Id`, share the sessions among the instances, or run the server stateless.",
        subject: "server",
        severity: Severity::Warning,
        threshold: share("share of the calls of five minutes that were refused", 0.05, 0.5, 0.01),
        hysteresis: after(2, 3, 3, 600),
        parameters: &[Parameter {
            key: "min_errors",
            meaning: "refusals in five minutes below which nothing is said",
            unit: Unit::Count,
            default: 3.0,
            range: (1.0, 1e9),
        }],
        evidence: &[
            field("refused", "calls refused in five minutes"),
            field("calls", "calls in five minutes"),
            field("share", "their quotient"),
        ],
    },
];

const FAULT: &[EvidenceField] = &[
    field("count", "how often"),
    field("bytes", "bytes of the latest"),
    field("writer", "who wrote it"),
];

/// A deviation that is seen in the bytes.
const fn fault(
    flag: Flag,
    code: &'static str,
    title: &'static str,
    meaning: &'static str,
    advice: &'static str,
    times: f64,
) -> Definition {
    Definition {
        flag,
        code,
        family: Family::Protocol,
        title,
        meaning,
        advice,
        subject: "process",
        severity: Severity::Warning,
        threshold: occurrences("how often, until it was quiet for five minutes", times),
        hysteresis: ONCE,
        parameters: &[],
        evidence: FAULT,
    }
}
