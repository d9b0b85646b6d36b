//! The unified hierarchy's files.
//!
//! Formats: Documentation/admin-guide/cgroup-v2.rst of the kernel.

use super::{CgroupCounters, MemoryEvents, MemoryUse, ReadFile, keyed, limit};
use crate::host::sampling::PressureTotals;

/// Memory of a group and what happened for want of it.
pub(super) fn memory(file: ReadFile<'_>, into: &mut CgroupCounters) {
    let number = |name: &str| file(name).as_deref().and_then(limit);
    let usage = number("memory.current");
    let inactive = file("memory.stat").and_then(|text| keyed(&text, "inactive_file"));
    into.memory = MemoryUse {
        limit: number("memory.max"),
        high: number("memory.high"),
        usage,
        working_set: usage.map(|usage| usage.saturating_sub(inactive.unwrap_or(0))),
        swap: number("memory.swap.current"),
    };
    if let Some(text) = file("memory.events") {
        let count = |key| keyed(&text, key).unwrap_or(0);
        into.events = MemoryEvents {
            high: count("high"),
            oom: count("oom"),
            oom_kill: count("oom_kill"),
        };
    }
}

/// CPU of a group: its quota, what it used, how it was throttled.
pub(super) fn cpu(file: ReadFile<'_>, into: &mut CgroupCounters) {
    into.cpu_limit = file("cpu.max").as_deref().and_then(quota);
    if let Some(text) = file("cpu.stat") {
        let count = |key| keyed(&text, key).unwrap_or(0);
        into.cpu_ns = keyed(&text, "usage_usec").map(|micros| micros.saturating_mul(1000));
        into.periods = count("nr_periods");
        into.throttled_periods = count("nr_throttled");
        into.throttled_ns = count("throttled_usec").saturating_mul(1000);
    }
}

/// Tasks of a group; v1 has the same two files.
pub(super) fn pids(file: ReadFile<'_>, into: &mut CgroupCounters) {
    into.pids_limit = file("pids.max").as_deref().and_then(limit);
    into.pids = file("pids.current").as_deref().and_then(limit);
}

/// Time that a group lost to waiting.
pub(super) fn pressure(file: ReadFile<'_>, into: &mut CgroupCounters) {
    into.pressure = PressureTotals::read(|resource| file(&format!("{resource}.pressure")));
}

/// `QUOTA PERIOD` of `cpu.max` as cores; `max PERIOD` is no quota.
#[expect(clippy::cast_precision_loss, reason = "microseconds of a period")]
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let period: u64 = period.parse().ok().filter(|&period| period > 0)?;
    Some(limit(quota)? as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// As read in a systemd scope with MemoryMax=64M, MemoryHigh=48M, CPUQuota=50% and TasksMax=64.
    const RECORDED: [(&str, &str); 9] = [
        ("memory.max", "67108864\n"),
        ("memory.high", "50331648\n"),
        ("memory.current", "41943040\n"),
        (
            "memory.stat",
            "anon 30000000\nfile 9000000\ninactive_anon 0\ninactive_file 1943040\nactive_file 7000000\n",
        ),
        (
            "memory.events",
            "low 0\nhigh 17\nmax 4\noom 2\noom_kill 1\noom_group_kill 0\n",
        ),
        ("cpu.max", "50000 100000\n"),
        (
            "cpu.stat",
            "usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\nnr_periods 40\nnr_throttled 30\nthrottled_usec 900000\nnr_bursts 0\nburst_usec 0\n",
        ),
        ("pids.max", "64\n"),
        ("pids.current", "3\n"),
    ];

    #[test]
    fn a_limited_scope() {
        let files: HashMap<&str, &str> = RECORDED.into_iter().collect();
        let file = |name: &str| files.get(name).map(|&text| text.to_owned());
        let mut all = CgroupCounters::default();
        memory(&file, &mut all);
        cpu(&file, &mut all);
        pids(&file, &mut all);
        pressure(&file, &mut all);
        assert_eq!(all.memory.limit, Some(64 << 20));
        assert_eq!((all.memory.high, all.memory.swap), (Some(48 << 20), None));
        assert_eq!(all.memory.working_set, Some(40_000_000));
        assert_eq!(
            all.events,
            MemoryEvents {
                high: 17,
                oom: 2,
                oom_kill: 1
            }
        );
        assert_eq!((all.cpu_limit, all.cpu_ns), (Some(0.5), Some(1_234_567_000)));
        assert_eq!(
            (all.periods, all.throttled_periods, all.throttled_ns),
            (40, 30, 900_000_000)
        );
        assert_eq!((all.pids_limit, all.pids), (Some(64), Some(3)));
        assert!(all.pressure.cpu.is_none());
    }

    #[test]
    fn the_root_has_no_limits() {
        let file = |name: &str| (name == "cpu.stat").then(|| "usage_usec 5\n".to_owned());
        let mut all = CgroupCounters::default();
        memory(&file, &mut all);
        cpu(&file, &mut all);
        pids(&file, &mut all);
        assert_eq!(
            all,
            CgroupCounters {
                cpu_ns: Some(5000),
                ..CgroupCounters::default()
            }
        );
        assert_eq!(
            (quota("max 100000\n"), quota("50000 0\n"), quota("")),
            (None, None, None)
        );
    }
}
