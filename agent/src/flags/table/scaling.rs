//! More or fewer instances are called for.

use super::{after, field, occurrences};
use crate::flags::definition::{Definition, EvidenceField, Family, Parameter, Severity, Unit};
use crate::flags::table::Flag;

/// In the order of the variants of [`Flag`].
pub(super) static TABLE: [Definition; 2] = [
    Definition {
        flag: Flag::ScaleOut,
        code: "scale_out",
        family: Family::Scaling,
        title: "More instances of a server are needed",
        meaning: "The instances of a server on this host are at their limits by at least one of CPU, memory, mean response time and calls that wait.",
        advice: "Add an instance; the figure that is over its threshold says what it must bring.",
        subject: "server",
        severity: Severity::Warning,
        threshold: occurrences("figures over their threshold", 1.0),
        hysteresis: after(3, 5, 6, 120),
        parameters: &[
            parameter("cpu", "mean share of their CPU in use, above", Unit::Share, 0.8),
            parameter(
                "memory",
                "mean share of their memory limit in use, above",
                Unit::Share,
                0.85,
            ),
            parameter(
                "response_ms",
                "mean response of the last minute, above",
                Unit::Milliseconds,
                1000.0,
            ),
            parameter("waiting", "calls that wait, more than", Unit::Count, 100.0),
        ],
        evidence: EVIDENCE,
    },
    Definition {
        flag: Flag::ScaleIn,
        code: "scale_in",
        family: Family::Scaling,
        title: "Fewer instances of a server would do",
        meaning: "For five minutes all of CPU, memory and mean response time of a server that is used were low, and it has several instances or runs in a container.",
        advice: "Remove an instance, or give each less.",
        subject: "server",
        severity: Severity::Info,
        threshold: occurrences("whether all figures are below their threshold", 1.0),
        hysteresis: after(30, 30, 3, 120),
        parameters: &[
            parameter("cpu", "mean share of their CPU in use, below", Unit::Share, 0.3),
            parameter(
                "memory",
                "mean share of their memory limit in use, below",
                Unit::Share,
                0.4,
            ),
            parameter(
                "response_ms",
                "mean response of the last minute, below",
                Unit::Milliseconds,
                100.0,
            ),
            parameter(
                "min_calls",
                "calls of the last minute, at least; a server with fewer is idle, not too large",
                Unit::Count,
                20.0,
            ),
        ],
        evidence: EVIDENCE,
    },
];

const EVIDENCE: &[EvidenceField] = &[
    field("cpu", "mean share of their CPU in use, 0 to 1"),
    field(
        "memory",
        "mean share of their memory limit in use, 0 to 1; without a limit, of the host's memory",
    ),
    field("response_ms", "mean response of the last minute, in ms"),
    field("waiting", "calls that wait"),
    field("instances", "instances on this host"),
];

const fn parameter(key: &'static str, meaning: &'static str, unit: Unit, default: f64) -> Parameter {
    let most = match unit {
        Unit::Share => 1.0,
        Unit::Milliseconds | Unit::Seconds | Unit::Count => 1e9,
    };
    Parameter {
        key,
        meaning,
        unit,
        default,
        range: (0.0, most),
    }
}
