//! What the host as a whole uses.

use std::fs;

use mcp_proto::Nanos;
use procfs::{Current, CurrentSI, DiskStats, FromBufRead, KernelStats, LoadAverage, Meminfo, ProcResult};
use serde::Serialize;

use super::{PressureTotals, Stalls};
use crate::host::cgroup::ratio;

/// Devices that are kept; a host with more has virtual ones.
const MAX_DISKS: usize = 64;

/// What the host's files say at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostCounters {
    /// Time that each processor worked and existed, in clock ticks.
    pub cores: Vec<CoreTicks>,
    /// Memory, in bytes.
    pub memory_total: u64,
    /// What programs could still have without swapping, in bytes.
    pub memory_available: Option<u64>,
    /// Swap space, in bytes.
    pub swap_total: u64,
    /// What of it is free, in bytes.
    pub swap_free: u64,
    /// Whole devices with how long each was busy, in milliseconds.
    pub disks: Vec<(String, u64)>,
    /// Time lost to waiting.
    pub pressure: PressureTotals,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: [f32; 3],
}

/// One processor's time, in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreTicks {
    /// Doing something, a hypervisor's share included: it is not ours to use either.
    pub busy: u64,
    /// In all.
    pub total: u64,
}

/// The host over the time between two looks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HostSample {
    /// When it was looked at, CLOCK_MONOTONIC.
    pub at: Nanos,
    /// Since the look before, in nanoseconds.
    pub interval: Nanos,
    /// Share of each processor's time that was used, 0 to 1.
    pub cores: Vec<f64>,
    /// Share of all of them.
    pub cpu: Option<f64>,
    /// Memory, in bytes.
    pub memory_total: u64,
    /// What programs could still have, in bytes.
    pub memory_available: Option<u64>,
    /// Swap in use, in bytes.
    pub swap_used: u64,
    /// Swap space, in bytes.
    pub swap_total: u64,
    /// Devices that did something, with the share of the time that they were busy.
    pub disks: Vec<DiskUse>,
    /// Time lost to waiting.
    pub stalls: Stalls,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: [f32; 3],
}

/// One device's use.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DiskUse {
    /// Name of the device.
    pub device: String,
    /// Share of the time that it had something to do, 0 to 1.
    pub busy: f64,
}

impl HostCounters {
    /// What the host's files say now. What cannot be read is nought or `None`.
    #[must_use]
    pub fn read() -> Self {
        let cpu = KernelStats::current();
        let memory = Meminfo::current();
        let disks = fs::read("/proc/diskstats")
            .ok()
            .and_then(|text| DiskStats::from_buf_read(text.as_slice()).ok());
        let pressure = PressureTotals::read(|resource| fs::read_to_string(format!("/proc/pressure/{resource}")).ok());
        Self::of(cpu, memory, disks.as_ref(), pressure, LoadAverage::current())
    }

    fn of(
        cpu: ProcResult<KernelStats>,
        memory: ProcResult<Meminfo>,
        disks: Option<&DiskStats>,
        pressure: PressureTotals,
        load: ProcResult<LoadAverage>,
    ) -> Self {
        let mut all = Self {
            pressure,
            disks: disks.map(busy_of_disks).unwrap_or_default(),
            ..Self::default()
        };
        if let Ok(cpu) = cpu {
            all.cores = cpu.cpu_time.iter().map(CoreTicks::of).collect();
        }
        if let Ok(memory) = memory {
            all.memory_total = memory.mem_total;
            all.memory_available = memory.mem_available;
            all.swap_total = memory.swap_total;
            all.swap_free = memory.swap_free;
        }
        if let Ok(load) = load {
            all.load = [load.one, load.five, load.fifteen];
        }
        all
    }
}

impl CoreTicks {
    fn of(time: &procfs::CpuTime) -> Self {
        let idle = time.idle + time.iowait.unwrap_or(0);
        let others = [time.irq, time.softirq, time.steal].into_iter().flatten().sum::<u64>();
        let busy = time.user + time.nice + time.system + others;
        Self {
            busy,
            total: busy + idle,
        }
    }
}

impl HostSample {
    /// What lies between two looks.
    #[must_use]
    pub fn between(before: (&HostCounters, Nanos), after: &HostCounters, at: Nanos) -> Self {
        let (before, from) = before;
        let interval = at.saturating_sub(from);
        let mut all = CoreTicks::default();
        // A processor that went off or came on has no share: the lists no longer match.
        let pairs = before.cores.iter().zip(&after.cores);
        let cores = pairs.map(|(before, after)| {
            let busy = after.busy.saturating_sub(before.busy);
            let total = after.total.saturating_sub(before.total);
            all.busy += busy;
            all.total += total;
            ratio(busy, total).unwrap_or(0.0).min(1.0)
        });
        let cores = if before.cores.len() == after.cores.len() {
            cores.collect()
        } else {
            Vec::new()
        };
        let disks = after.disks.iter().filter_map(|(device, busy)| {
            let (_, earlier) = before.disks.iter().find(|(name, _)| name == device)?;
            let busy = busy.saturating_sub(*earlier).saturating_mul(1_000_000);
            Some(DiskUse {
                device: device.clone(),
                busy: ratio(busy, interval)?.min(1.0),
            })
        });
        Self {
            at,
            interval,
            cores,
            cpu: ratio(all.busy, all.total),
            memory_total: after.memory_total,
            memory_available: after.memory_available,
            swap_used: after.swap_total.saturating_sub(after.swap_free),
            swap_total: after.swap_total,
            disks: disks.filter(|disk| disk.busy > 0.0).collect(),
            stalls: after.pressure.since(&before.pressure, interval),
            load: after.load,
        }
    }

    /// Share of the memory that is taken, 0 to 1.
    #[must_use]
    pub fn memory(&self) -> Option<f64> {
        ratio(
            self.memory_total.saturating_sub(self.memory_available?),
            self.memory_total,
        )
    }
}

/// Whole devices that have ever done something, and how long each was busy in milliseconds.
fn busy_of_disks(stats: &DiskStats) -> Vec<(String, u64)> {
    let names: Vec<&str> = stats.0.iter().map(|disk| disk.name.as_str()).collect();
    let whole = |name: &str| {
        let virtual_device = name.starts_with("loop") || name.starts_with("ram");
        !virtual_device && !names.iter().any(|disk| is_partition(name, disk))
    };
    let busy = stats
        .0
        .iter()
        .filter(|disk| disk.time_in_progress > 0 && whole(&disk.name));
    busy.take(MAX_DISKS)
        .map(|disk| (disk.name.clone(), disk.time_in_progress))
        .collect()
}

/// Whether `name` is a part of `disk`: sda1 of sda, nvme0n1p1 of nvme0n1.
fn is_partition(name: &str, disk: &str) -> bool {
    let Some(rest) = name.strip_prefix(disk) else {
        return false;
    };
    let number = if disk.ends_with(|c: char| c.is_ascii_digit()) {
        rest.strip_prefix('p').unwrap_or("")
    } else {
        rest
    };
    !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISKS: &str = "   7       0 loop0 9 0 0 0 0 0 0 0 0 7 0 0 0 0 0 0 0\n\
         259       0 nvme0n1 100 0 0 0 0 0 0 0 0 2500 0 0 0 0 0 0 0\n\
         259       1 nvme0n1p1 100 0 0 0 0 0 0 0 0 2500 0 0 0 0 0 0 0\n\
           8       0 sda 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn whole_devices_only() {
        let stats = DiskStats::from_buf_read(DISKS.as_bytes()).unwrap();
        assert_eq!(busy_of_disks(&stats), [("nvme0n1".to_owned(), 2500)]);
        assert!(is_partition("sda12", "sda") && is_partition("mmcblk0p2", "mmcblk0"));
        assert!(!is_partition("sdaa", "sda") && !is_partition("sda", "sda") && !is_partition("dm-10", "dm-1"));
    }

    #[test]
    fn between_two_looks() {
        let core = |busy, total| CoreTicks { busy, total };
        let before = HostCounters {
            cores: vec![core(0, 0), core(50, 100)],
            disks: vec![("sda".into(), 100), ("sdb".into(), 7)],
            ..HostCounters::default()
        };
        let after = HostCounters {
            cores: vec![core(100, 100), core(50, 200)],
            memory_total: 1000,
            memory_available: Some(250),
            swap_total: 10,
            swap_free: 4,
            disks: vec![("sda".into(), 600), ("sdb".into(), 7), ("new".into(), 9)],
            ..HostCounters::default()
        };
        let sample = HostSample::between((&before, 0), &after, 1_000_000_000);
        assert_eq!(
            (sample.cores.as_slice(), sample.cpu),
            ([1.0, 0.0].as_slice(), Some(0.5))
        );
        assert_eq!((sample.memory(), sample.swap_used), (Some(0.75), 6));
        assert_eq!(sample.disks.len(), 1);
        assert_eq!((sample.disks[0].device.as_str(), sample.disks[0].busy), ("sda", 0.5));
        let plugged = HostSample::between((&HostCounters::default(), 0), &after, 5);
        assert_eq!((plugged.cores.len(), plugged.cpu), (0, None));
    }

    #[test]
    fn this_host() {
        let counters = HostCounters::read();
        assert!(!counters.cores.is_empty() && counters.cores[0].total > 0);
        assert!(counters.memory_total > 1 << 20 && counters.memory_available.is_some());
    }
}
