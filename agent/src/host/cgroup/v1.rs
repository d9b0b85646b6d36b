//! The files of the separate hierarchies.
//!
//! Formats: Documentation/admin-guide/cgroup-v1/memory.rst and Documentation/scheduler/sched-bwc.rst
//! of the kernel.

use super::{CgroupCounters, MemoryEvents, MemoryUse, ReadFile, keyed, limit};

/// Memory of a group and what happened for want of it.
pub(super) fn memory(file: ReadFile<'_>, into: &mut CgroupCounters) {
    let number = |name: &str| file(name).as_deref().and_then(limit);
    let usage = number("memory.usage_in_bytes");
    let stat = file("memory.stat").unwrap_or_default();
    let inactive = keyed(&stat, "total_inactive_file").or_else(|| keyed(&stat, "inactive_file"));
    into.memory = MemoryUse {
        limit: number("memory.limit_in_bytes"),
        // The soft limit is a wish that slows nobody: not what `memory.high` is.
        high: None,
        usage,
        working_set: usage.map(|usage| usage.saturating_sub(inactive.unwrap_or(0))),
        swap: keyed(&stat, "total_swap").or_else(|| keyed(&stat, "swap")),
    };
    let control = file("memory.oom_control").unwrap_or_default();
    into.events = MemoryEvents {
        high: 0,
        oom: keyed(&control, "under_oom").unwrap_or(0),
        oom_kill: keyed(&control, "oom_kill").unwrap_or(0),
    };
}

/// CPU of a group: its quota and how it was throttled.
#[expect(clippy::cast_precision_loss, reason = "microseconds of a period")]
pub(super) fn cpu(file: ReadFile<'_>, into: &mut CgroupCounters) {
    let number = |name: &str| file(name).as_deref().and_then(limit);
    let period = number("cpu.cfs_period_us").filter(|&period| period > 0);
    into.cpu_limit = number("cpu.cfs_quota_us")
        .zip(period)
        .map(|(quota, period)| quota as f64 / period as f64);
    if let Some(text) = file("cpu.stat") {
        let count = |key| keyed(&text, key).unwrap_or(0);
        into.periods = count("nr_periods");
        into.throttled_periods = count("nr_throttled");
        into.throttled_ns = count("throttled_time");
    }
}

/// CPU time that a group used, from the hierarchy that accounts for it.
pub(super) fn cpu_accounting(file: ReadFile<'_>, into: &mut CgroupCounters) {
    into.cpu_ns = file("cpuacct.usage").as_deref().and_then(limit);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// As docker on a v1 host has it with `--memory 64m --cpus 1.5`, after a kill.
    const RECORDED: [(&str, &str); 8] = [
        ("memory.limit_in_bytes", "67108864\n"),
        ("memory.soft_limit_in_bytes", "9223372036854771712\n"),
        ("memory.usage_in_bytes", "20971520\n"),
        (
            "memory.stat",
            "cache 4096000\nrss 16000000\nswap 0\ninactive_file 7\nhierarchical_memory_limit 67108864\ntotal_swap 8192\ntotal_inactive_file 971520\n",
        ),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
        ("cpu.cfs_quota_us", "150000\n"),
        ("cpu.cfs_period_us", "100000\n"),
        (
            "cpu.stat",
            "nr_periods 100\nnr_throttled 25\nthrottled_time 1250000000\n",
        ),
    ];

    #[test]
    fn a_limited_container() {
        let files: HashMap<&str, &str> = RECORDED.into_iter().collect();
        let file = |name: &str| files.get(name).map(|&text| text.to_owned());
        let mut all = CgroupCounters::default();
        memory(&file, &mut all);
        cpu(&file, &mut all);
        cpu_accounting(&file, &mut all);
        assert_eq!((all.memory.limit, all.memory.high), (Some(64 << 20), None));
        assert_eq!(
            (all.memory.working_set, all.memory.swap),
            (Some(20_000_000), Some(8192))
        );
        assert_eq!(all.events.oom_kill, 1);
        assert_eq!((all.cpu_limit, all.cpu_ns), (Some(1.5), None));
        assert_eq!((all.throttled_periods, all.throttled_ns), (25, 1_250_000_000));
        cpu_accounting(&|_| Some("42\n".to_owned()), &mut all);
        assert_eq!(all.cpu_ns, Some(42));
    }

    #[test]
    fn no_quota_is_no_limit() {
        let file = |name: &str| {
            match name {
                "cpu.cfs_quota_us" => Some("-1\n"),
                "cpu.cfs_period_us" => Some("100000\n"),
                "memory.limit_in_bytes" => Some("9223372036854771712\n"),
                _ => None,
            }
            .map(str::to_owned)
        };
        let mut all = CgroupCounters::default();
        memory(&file, &mut all);
        cpu(&file, &mut all);
        assert_eq!(all, CgroupCounters::default());
    }
}
