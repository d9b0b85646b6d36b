//! The agent itself cannot do all that it should.

use super::{ONCE, after, field, occurrences};
use crate::flags::definition::{Definition, Family, Severity};
use crate::flags::table::Flag;

/// In the order of the variants of [`Flag`].
pub(super) static TABLE: [Definition; 2] = [
    Definition {
        flag: Flag::HistoryPaused,
        code: "history_paused",
        family: Family::Agent,
        title: "The history is not written",
        meaning: "The agent cannot write its history: the disk is full, or refuses it. Everything else goes on.",
        advice: "Make room on that disk, or set history.path to another place; it is tried again every 10 s.",
        subject: "host",
        severity: Severity::Warning,
        threshold: occurrences("whether it is paused", 1.0),
        hysteresis: after(1, 1, 1, 300),
        parameters: &[],
        evidence: &[
            field("reason", "what failed"),
            field("lost", "entries that were lost meanwhile"),
        ],
    },
    Definition {
        flag: Flag::RecordsLost,
        code: "records_lost",
        family: Family::Agent,
        title: "Records found no room between kernel and agent",
        meaning: "The ring was full: more was going on than the agent could take in time. Calls that were on say so.",
        advice: "Give the agent a larger --ring-kib, or more of a CPU.",
        subject: "host",
        severity: Severity::Warning,
        threshold: occurrences("records since it was last quiet", 1.0),
        hysteresis: ONCE,
        parameters: &[],
        evidence: &[field("count", "records since it was last quiet")],
    },
];
