//! Pressure on the host and on control groups.

use std::sync::Arc;

use crate::flags::board::{Weighing, as_f64};
use crate::flags::limits::MAX_CGROUPS;
use crate::flags::{Engine, Evidence, Flag, Subject};
use crate::host::{CgroupSample, HostSample, Resource, Stalls};

/// What of the host's latest sample other rules need.
#[derive(Clone, Debug, Default)]
pub(in crate::flags) struct HostState {
    pub(super) cpu: Option<f64>,
    pub(super) cores: Option<f64>,
    pub(super) memory_total: u64,
    pub(super) memory_available: Option<u64>,
}

/// What of a control group's latest sample other rules need.
#[derive(Clone, Debug, Default)]
pub(in crate::flags) struct CgroupState {
    pub(super) cpu_limit: Option<f64>,
    pub(super) memory: Option<f64>,
    pub(super) memory_left: Option<u64>,
}

impl Engine {
    pub(in crate::flags) fn weigh_host(&mut self, sample: &HostSample) {
        self.host = HostState {
            cpu: sample.cpu,
            cores: (!sample.cores.is_empty()).then(|| as_f64(sample.cores.len() as u64)),
            memory_total: sample.memory_total,
            memory_available: sample.memory_available,
        };
        let host = |flag, value| Weighing {
            level: self.levels.of(flag, None, None),
            subject: Subject::Host,
            name: None,
            value,
        };
        if let Some(cpu) = sample.cpu {
            let busiest = sample.cores.iter().copied().reduce(f64::max);
            self.board.weigh(host(Flag::HostCpu, cpu), sample.at, || {
                Evidence::default()
                    .with("cpu", cpu.into_value())
                    .with("busiest_core", busiest.map(Into::into))
                    .with("cores", (sample.cores.len() as u64).into_value())
                    .with("load", f64::from(sample.load[0]).into_value())
            });
        }
        if let Some(memory) = sample.memory() {
            self.board.weigh(host(Flag::HostMemory, memory), sample.at, || {
                Evidence::default()
                    .with("memory", memory.into_value())
                    .with("available_bytes", sample.memory_available.map(Into::into))
                    .with("total_bytes", sample.memory_total.into_value())
                    .with("swap_used_bytes", sample.swap_used.into_value())
            });
        }
        for disk in &sample.disks {
            let weighing = Weighing {
                subject: Subject::Device {
                    device: disk.device.as_str().into(),
                },
                ..host(Flag::DiskBusy, disk.busy)
            };
            self.board.weigh(weighing, sample.at, || {
                Evidence::default()
                    .with("busy", disk.busy.into_value())
                    .with("io_stall", sample.stalls.io.map(|stall| stall.some.into()))
            });
        }
        self.weigh_stalls(&sample.stalls, &Subject::Host, sample.at);
    }

    pub(in crate::flags) fn weigh_cgroup(&mut self, sample: &CgroupSample) {
        let memory = sample.memory;
        let limited = memory.working_set.zip(memory.limit.filter(|&limit| limit > 0));
        let share = limited.map(|(used, limit)| as_f64(used) / as_f64(limit));
        let state = CgroupState {
            cpu_limit: sample.cpu_limit,
            memory: share,
            memory_left: limited.map(|(used, limit)| limit.saturating_sub(used)),
        };
        if self.cgroups.len() < MAX_CGROUPS || self.cgroups.contains_key(&sample.path) {
            self.cgroups.insert(Arc::clone(&sample.path), state);
        }
        let subject = Subject::Cgroup {
            path: Arc::clone(&sample.path),
        };
        let of = |flag, value| Weighing {
            level: self.levels.of(flag, None, None),
            subject: subject.clone(),
            name: None,
            value,
        };
        if let Some(share) = share {
            self.board.weigh(of(Flag::MemoryLimit, share), sample.at, || {
                Evidence::default()
                    .with("memory", share.into_value())
                    .with("working_set_bytes", memory.working_set.map(Into::into))
                    .with("limit_bytes", memory.limit.map(Into::into))
                    .with("reclaims", sample.events.high.into_value())
            });
        }
        if let Some((tasks, limit)) = sample.pids.zip(sample.pids_limit.filter(|&limit| limit > 0)) {
            let weighing = of(Flag::TaskLimit, as_f64(tasks) / as_f64(limit));
            self.board.weigh(weighing, sample.at, || {
                Evidence::default()
                    .with("tasks", tasks.into_value())
                    .with("limit", limit.into_value())
            });
        }
        let throttled = sample.throttled.unwrap_or(0.0);
        self.board.weigh(of(Flag::CpuThrottled, throttled), sample.at, || {
            Evidence::default()
                .with("throttled", throttled.into_value())
                .with("throttled_ms", (as_f64(sample.throttled_ns) / 1e6).into_value())
                .with("cores_used", sample.cpu.map(Into::into))
                .with("cores_allowed", sample.cpu_limit.map(Into::into))
        });
        let kills = sample.events.oom_kill;
        let weighing = of(Flag::OomKilled, 0.0);
        if kills > 0 && as_f64(kills) >= weighing.level.parameter("min_kills") {
            self.board.strike(weighing, kills, sample.at, |kills| {
                Evidence::default()
                    .with("kills", kills.into_value())
                    .with("limit_bytes", memory.limit.unwrap_or(0).into_value())
            });
        }
        self.weigh_stalls(&sample.stalls, &subject, sample.at);
    }

    fn weigh_stalls(&mut self, stalls: &Stalls, subject: &Subject, at: mcp_proto::Nanos) {
        for (resource, stall) in stalls.iter() {
            let flag = match resource {
                Resource::Cpu => Flag::CpuStall,
                Resource::Memory => Flag::MemoryStall,
                Resource::Io => Flag::IoStall,
            };
            let weighing = Weighing {
                level: self.levels.of(flag, None, None),
                subject: subject.clone(),
                name: None,
                value: stall.some,
            };
            self.board.weigh(weighing, at, || {
                Evidence::default()
                    .with("some", stall.some.into_value())
                    .with("full", stall.full.into_value())
            });
        }
    }
}

/// A figure as evidence.
pub(super) trait IntoValue {
    /// The value of it.
    fn into_value(self) -> crate::flags::Value;
}

impl<T: Into<crate::flags::Value>> IntoValue for T {
    fn into_value(self) -> crate::flags::Value {
        self.into()
    }
}
