//! What comes out besides calls: verdicts for whoever filters, and faults of the protocol.

use crate::{Call, ConnectionId, Nanos, ProcessId, StreamId};

/// Something that the tracker has concluded.
#[derive(Debug)]
pub enum Event {
    /// A stream is worth watching, or is not.
    Verdict {
        /// The stream that was judged.
        stream: StreamId,
        /// The judgement; a later one replaces it.
        verdict: Verdict,
    },
    /// A call has ended, or observation of it has.
    Call(Box<Call>),
    /// A peer broke the protocol, or something was not understood.
    Fault(Fault),
}

/// Whether a stream carries MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It does: capture everything.
    Watch,
    /// Not yet known: grant it another allowance of captured bytes.
    LookAgain,
    /// It does not: capture nothing.
    Ignore,
}

/// A deviation from the protocol, with where and when it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happened.
    pub kind: FaultKind,
    /// When the bytes that show it were written.
    pub at: Nanos,
    /// On which stream.
    pub stream: StreamId,
    /// On which connection, once the stream belongs to one.
    pub connection: Option<ConnectionId>,
    /// Who wrote it, when known.
    pub process: Option<ProcessId>,
    /// How many bytes it concerns, 0 where that has no meaning.
    pub bytes: u64,
}

/// The kinds of deviation. `code()` is stable: it goes into output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// A line on an MCP stream that is not JSON: a banner, a log line, a stray print.
    StdoutPollution,
    /// JSON that is broken, or is not a JSON-RPC 2.0 message.
    MalformedFrame,
    /// A response to an id that no request had.
    UnknownResponseId,
    /// A request whose id is that of a request still in flight.
    IdReuse,
    /// A response that came after its request was cancelled.
    ResponseAfterCancel,
    /// `Content-Length:` framing where lines of JSON belong.
    ContentLengthFraming,
    /// State was evicted to stay within bounds.
    Evicted,
}

impl FaultKind {
    /// Stable name for output.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::StdoutPollution => "stdout_pollution",
            Self::MalformedFrame => "malformed_frame",
            Self::UnknownResponseId => "unknown_response_id",
            Self::IdReuse => "id_reuse",
            Self::ResponseAfterCancel => "response_after_cancel",
            Self::ContentLengthFraming => "content_length_framing",
            Self::Evicted => "evicted",
        }
    }
}
