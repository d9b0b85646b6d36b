//! A target or a budget is missed.

use super::{after, field, share};
use crate::flags::definition::{
    Definition, EvidenceField, Family, Hysteresis, Parameter, Sense, Severity, Threshold, Unit,
};
use crate::flags::table::Flag;

/// In the order of the variants of [`Flag`].
pub(super) static TABLE: [Definition; 7] = [
    Definition {
        flag: Flag::SlowToolCalls,
        code: "slow_tool_calls",
        family: Family::Target,
        title: "Tool calls take longer than their target",
        meaning: "Most of the latest calls of a tool took longer than the target.",
        advice: "`mcpsonar explain` one of the calls: its dominant cause says where the time goes.",
        subject: "tool of a server",
        severity: Severity::Warning,
        threshold: latency(100.0),
        hysteresis: MOST_CALLS,
        parameters: &[],
        evidence: LATENCY,
    },
    Definition {
        flag: Flag::SlowResourceReads,
        code: "slow_resource_reads",
        family: Family::Target,
        title: "Resources load slower than their target",
        meaning: "Most of the latest resource reads of a server took longer than the target.",
        advice: "`mcpsonar explain` one of the calls: disk and upstream are the usual causes; consider a cache.",
        subject: "server",
        severity: Severity::Warning,
        threshold: latency(200.0),
        hysteresis: MOST_CALLS,
        parameters: &[],
        evidence: LATENCY,
    },
    Definition {
        flag: Flag::SlowTokenChecks,
        code: "slow_token_checks",
        family: Family::Target,
        title: "Token checks take longer than their target",
        meaning: "Most of the latest requests that a server made to check a token took longer than the target.",
        advice: "Validate tokens locally with cached keys, or move the authorization server closer.",
        subject: "server",
        severity: Severity::Warning,
        threshold: latency(50.0),
        hysteresis: MOST_CALLS,
        parameters: &[],
        evidence: LATENCY,
    },
    Definition {
        flag: Flag::ErrorBudget,
        code: "error_budget",
        family: Family::Target,
        title: "Too many calls fail",
        meaning: "More of a server's calls of the last five minutes failed than its budget allows: tool errors, protocol errors, HTTP errors, and calls that a death ended.",
        advice: "List them with `mcpsonar calls --errors --server NAME`.",
        subject: "server",
        severity: Severity::Warning,
        threshold: share("share of the calls of five minutes that failed", 0.05, 0.25, 0.03),
        hysteresis: after(2, 3, 3, 600),
        parameters: &[MIN_CALLS],
        evidence: &[
            field("errors", "calls that failed in five minutes"),
            field("calls", "calls in five minutes"),
            field("share", "their quotient"),
        ],
    },
    Definition {
        flag: Flag::TimeoutBudget,
        code: "timeout_budget",
        family: Family::Target,
        title: "Too many calls time out",
        meaning: "More of a server's calls of the last five minutes were given up by their client after a wait than its budget allows.",
        advice: "Raise the client's timeout, have the tool report progress, or make it faster: `mcpsonar calls --slow`.",
        subject: "server",
        severity: Severity::Warning,
        threshold: share("share of the calls of five minutes that were given up", 0.02, 0.2, 0.01),
        hysteresis: after(2, 3, 3, 600),
        parameters: &[MIN_CALLS],
        evidence: &[
            field("timeouts", "calls that were given up in five minutes"),
            field("calls", "calls in five minutes"),
            field("share", "their quotient"),
        ],
    },
    Definition {
        flag: Flag::CpuTarget,
        code: "cpu_target",
        family: Family::Target,
        title: "CPU use is above its target",
        meaning: "A server uses more CPU, averaged over five minutes, than was planned for: little is left for a burst.",
        advice: "Plan more capacity before `process_cpu` or `scale_out` say that it is needed.",
        subject: "process",
        severity: Severity::Info,
        threshold: average("five-minute average of the share of its CPU in use", 0.6, 0.5),
        hysteresis: after(3, 3, 3, 60),
        parameters: &[],
        evidence: &[
            field("average", "five-minute average, 0 to 1"),
            field("now", "latest, 0 to 1"),
        ],
    },
    Definition {
        flag: Flag::MemoryTarget,
        code: "memory_target",
        family: Family::Target,
        title: "Memory use is above its target",
        meaning: "A server's control group uses more of its memory limit, averaged over five minutes, than was planned for.",
        advice: "Plan more memory before `memory_limit` says that it is needed.",
        subject: "process",
        severity: Severity::Info,
        threshold: average("five-minute average of the share of its memory limit in use", 0.7, 0.6),
        hysteresis: after(3, 3, 3, 60),
        parameters: &[],
        evidence: &[
            field("average", "five-minute average, 0 to 1"),
            field("now", "latest, 0 to 1"),
        ],
    },
];

/// Five of the last ten calls raise it; eight fast ones in a row, or ten minutes without a call,
/// clear it.
const MOST_CALLS: Hysteresis = after(5, 10, 8, 600);

const MIN_CALLS: Parameter = Parameter {
    key: "min_calls",
    meaning: "calls in five minutes below which no share is taken",
    unit: Unit::Count,
    default: 20.0,
    range: (1.0, 1e9),
};

const LATENCY: &[EvidenceField] = &[
    field("latency_ms", "the latest that was too slow, in ms"),
    field("target_ms", "the target, in ms"),
    field("cause", "its dominant cause, or unknown"),
];

const fn latency(target: f64) -> Threshold {
    Threshold {
        value: "what the client waited, or the server took",
        unit: Unit::Milliseconds,
        sense: Sense::Above,
        warn: target,
        critical: Some(target * 20.0),
        clear: target * 0.9,
        range: (0.01, 8.64e7),
    }
}

const fn average(value: &'static str, warn: f64, clear: f64) -> Threshold {
    Threshold {
        critical: None,
        ..share(value, warn, 1.0, clear)
    }
}
