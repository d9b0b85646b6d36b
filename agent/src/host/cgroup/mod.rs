//! Control groups: what a process may use, what its group used, and how often it was held back.
//!
//! Files of v1 and v2 give the same [`CgroupCounters`]; two of those give a [`CgroupSample`].

mod hierarchy;
mod v1;
mod v2;

use std::sync::Arc;

use mcp_proto::Nanos;
use serde::Serialize;

use super::{PressureTotals, Stalls};

pub use hierarchy::{CgroupDirs, Hierarchies, LimitingDirs};

/// Text of a file of a control group, by its name; `None` where there is no such file.
type ReadFile<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What the files of a control group say at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupCounters {
    /// Memory, in bytes.
    pub memory: MemoryUse,
    /// The quota in cores; `None` without one.
    pub cpu_limit: Option<f64>,
    /// CPU time used, in nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Periods in which the group wanted to run, and those in which its quota ran out.
    pub periods: u64,
    /// Periods in which the quota ran out.
    pub throttled_periods: u64,
    /// How long its tasks were held back, in nanoseconds.
    pub throttled_ns: u64,
    /// Tasks that the group may have.
    pub pids_limit: Option<u64>,
    /// Tasks that it has.
    pub pids: Option<u64>,
    /// How often something happened for want of memory.
    pub events: MemoryEvents,
    /// Pressure stall totals (v2 only).
    pub pressure: PressureTotals,
}

/// Memory of a control group, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryUse {
    /// Beyond this the group is killed in (`memory.max`, `memory.limit_in_bytes`).
    pub limit: Option<u64>,
    /// Beyond this it is slowed by reclaim (`memory.high`).
    pub high: Option<u64>,
    /// All that is charged to it, page cache included.
    pub usage: Option<u64>,
    /// Without the file pages that can be had back at once: what the kubelet calls working set.
    pub working_set: Option<u64>,
    /// What of it is swapped out.
    pub swap: Option<u64>,
}

/// How often something happened for want of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryEvents {
    /// Went over `memory.high` and had to reclaim.
    pub high: u64,
    /// Met the limit and could reclaim nothing.
    pub oom: u64,
    /// Had a process killed for it.
    pub oom_kill: u64,
}

/// A control group over the time between two looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupSample {
    /// Path of the process's group, as its facts have it.
    pub path: Arc<str>,
    /// When it was looked at.
    pub at: Nanos,
    /// Since the look before, in nanoseconds.
    pub interval: Nanos,
    /// Memory now.
    pub memory: MemoryUse,
    /// The quota in cores.
    pub cpu_limit: Option<f64>,
    /// Cores used on average.
    pub cpu: Option<f64>,
    /// Share of the periods in which the quota ran out, 0 to 1; `None` when it did not want to run.
    pub throttled: Option<f64>,
    /// How long its tasks were held back, in nanoseconds.
    pub throttled_ns: u64,
    /// Tasks that it may have, and has.
    pub pids_limit: Option<u64>,
    /// Tasks that it has.
    pub pids: Option<u64>,
    /// What happened since the look before.
    pub events: MemoryEvents,
    /// Time lost to waiting since the look before.
    pub stalls: Stalls,
}

impl CgroupSample {
    /// What lies between two looks at the group `path`.
    #[must_use]
    pub fn between(path: Arc<str>, before: (&CgroupCounters, Nanos), after: (&CgroupCounters, Nanos)) -> Self {
        let ((before, from), (after, at)) = (before, after);
        let interval = at.saturating_sub(from);
        let periods = after.periods.saturating_sub(before.periods);
        let throttled_periods = after.throttled_periods.saturating_sub(before.throttled_periods);
        let used = before.cpu_ns.zip(after.cpu_ns);
        Self {
            path,
            at,
            interval,
            memory: after.memory,
            cpu_limit: after.cpu_limit,
            cpu: used.and_then(|(before, after)| ratio(after.saturating_sub(before), interval)),
            throttled: ratio(throttled_periods, periods),
            throttled_ns: after.throttled_ns.saturating_sub(before.throttled_ns),
            pids_limit: after.pids_limit,
            pids: after.pids,
            events: MemoryEvents {
                high: after.events.high.saturating_sub(before.events.high),
                oom: after.events.oom.saturating_sub(before.events.oom),
                oom_kill: after.events.oom_kill.saturating_sub(before.events.oom_kill),
            },
            stalls: after.pressure.since(&before.pressure, interval),
        }
    }
}

/// The quotient of two counts, `None` of nothing.
#[expect(clippy::cast_precision_loss, reason = "shares need no more than 52 bits")]
pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// A limit, unless it is the word or the number for none. v1 writes the largest count of whole
/// pages, which differs by page size: beyond 2^62 no limit is meant.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|&limit| limit < 1 << 62)
}

/// The value of `key` in a file of lines `KEY VALUE`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == key)?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_looks() {
        let before = CgroupCounters {
            cpu_ns: Some(1_000_000_000),
            periods: 10,
            throttled_periods: 1,
            throttled_ns: 5,
            ..CgroupCounters::default()
        };
        let after = CgroupCounters {
            cpu_ns: Some(3_500_000_000),
            periods: 60,
            throttled_periods: 26,
            throttled_ns: 905,
            events: MemoryEvents {
                high: 2,
                oom: 1,
                oom_kill: 1,
            },
            ..before.clone()
        };
        let sample = CgroupSample::between("/a".into(), (&before, 0), (&after, 5_000_000_000));
        assert_eq!(
            (sample.cpu, sample.throttled, sample.throttled_ns),
            (Some(0.5), Some(0.5), 900)
        );
        assert_eq!(sample.events.oom_kill, 1);
        let idle = CgroupSample::between("/a".into(), (&after, 0), (&after, 5));
        assert_eq!((idle.cpu, idle.throttled), (Some(0.0), None), "it did not want to run");
        // A group that was made anew under the same name begins from nought.
        let anew = CgroupSample::between("/a".into(), (&after, 0), (&before, 5));
        assert_eq!((anew.cpu, anew.throttled_ns), (Some(0.0), 0));
    }

    #[test]
    fn limits_and_their_absence() {
        assert_eq!(limit("1048576\n"), Some(1 << 20));
        for none in ["max\n", "9223372036854771712\n", "9223372036854710272\n", "-1\n", ""] {
            assert_eq!(limit(none), None, "{none}");
        }
        assert_eq!(keyed("a 1\nab 2\n", "ab"), Some(2));
        assert_eq!(keyed("a 1\nab\n", "ab"), None);
    }
}
