//! Pressure on processes: what each uses of what it may.

use mcp_proto::Nanos;

use super::growth::Growth;
use super::pressure::IntoValue;
use crate::flags::board::{Weighing, as_f64};
use crate::flags::limits::SECOND;
use crate::flags::{Engine, Evidence, Flag, Subject};
use crate::host::ProcessSample;

/// Time constant of the averages, and how long they take to mean anything.
const AVERAGED: Nanos = 300 * SECOND;
/// Cores below which a process does nothing.
const NOTHING: f64 = 0.005;

/// What a process uses.
#[derive(Debug, Default)]
pub(in crate::flags) struct Usage {
    /// When it was last looked at.
    pub(super) at: Nanos,
    /// Share of the CPU that it may have.
    pub(super) cpu: Option<f64>,
    /// Share of its group's memory limit, or of the host's memory.
    pub(super) memory: Option<f64>,
    /// Whether its group has a limit of its own.
    pub(super) is_limited: bool,
    pub(super) rss: u64,
    pub(super) state: char,
    pub(super) cores: f64,
    /// Since when it has used no CPU.
    pub(super) quiet_since: Option<Nanos>,
    growth: Growth,
    averages: Averages,
}

/// Exponential averages, which need two numbers where five minutes of samples need sixty.
#[derive(Debug, Default)]
struct Averages {
    since: Option<Nanos>,
    cpu: Option<f64>,
    memory: Option<f64>,
}

impl Averages {
    /// Takes one sample; the averages, once they mean something.
    fn feed(&mut self, at: Nanos, interval: Nanos, cpu: Option<f64>, memory: Option<f64>) -> [Option<f64>; 2] {
        let weight = 1.0 - (-as_f64(interval) / as_f64(AVERAGED)).exp();
        for (average, now) in [(&mut self.cpu, cpu), (&mut self.memory, memory)] {
            if let Some(now) = now {
                let before = average.unwrap_or(now);
                *average = Some(before + (now - before) * weight);
            }
        }
        let since = *self.since.get_or_insert(at);
        let meaningful = at.saturating_sub(since) >= AVERAGED;
        [self.cpu, self.memory].map(|average| average.filter(|_| meaningful))
    }
}

impl Engine {
    pub(in crate::flags) fn weigh_process(&mut self, sample: &ProcessSample) {
        let group = sample.cgroup.as_ref().and_then(|path| self.cgroups.get(path));
        let quota = group.and_then(|group| group.cpu_limit);
        let allowed = match (quota, self.host.cores) {
            (Some(quota), Some(cores)) => Some(quota.min(cores)),
            (quota, cores) => quota.or(cores),
        };
        let group_memory = group.and_then(|group| group.memory);
        let of_host = || {
            let total = self.host.memory_total;
            (total > 0).then(|| as_f64(sample.rss) / as_f64(total))
        };
        let memory = group_memory.or_else(of_host);
        let group_left = group.and_then(|group| group.memory_left);
        let left = match (group_left, self.host.memory_available) {
            (Some(group), Some(host)) => Some(group.min(host)),
            (group, host) => group.or(host),
        };
        let Some(known) = self.processes.get_mut(&sample.pid) else {
            return;
        };
        let share = sample.cpu.zip(allowed).map(|(used, allowed)| used / allowed.max(0.001));
        // An event loop can use no more than one processor, however many there are.
        let loop_share = sample
            .main_thread
            .zip(share)
            .map(|(main, _)| main / allowed.unwrap_or(1.0).min(1.0));
        let cpu = share.map(|share| share.max(loop_share.unwrap_or(0.0)).min(1.0));
        let usage = &mut known.usage;
        let began = sample.at.saturating_sub(sample.interval);
        usage.quiet_since = match sample.cpu {
            Some(cpu) if cpu < NOTHING => Some(usage.quiet_since.unwrap_or(began)),
            Some(_) => None,
            None => Some(sample.at),
        };
        usage.at = sample.at;
        usage.cpu = cpu;
        usage.memory = memory;
        usage.is_limited = quota.is_some() || group_memory.is_some();
        usage.rss = sample.rss;
        usage.state = sample.state;
        usage.cores = sample.cpu.unwrap_or(0.0);
        let averages = usage.averages.feed(sample.at, sample.interval, cpu, group_memory);
        let name = known.name.clone();
        let of = |flag, value| Weighing {
            level: self.levels.of(flag, Some(&name), None),
            subject: Subject::Process { pid: sample.pid },
            name: Some(&name),
            value,
        };
        let trend = of(Flag::MemoryGrowth, 0.0).level;
        let least = trend.parameter("min_growth_mib") * 1_048_576.0;
        let slope = usage.growth.feed(sample.at, sample.rss, least);
        if let Some(cpu) = cpu {
            self.board.weigh(of(Flag::ProcessCpu, cpu), sample.at, || {
                Evidence::default()
                    .with("cpu", share.map(Into::into))
                    .with("main_thread", sample.main_thread.map(Into::into))
                    .with("cores_used", sample.cpu.map(Into::into))
                    .with("cores_allowed", allowed.map(Into::into))
                    .with("threads", sample.threads.into_value())
            });
        }
        if let Some(waited) = sample.run_queue {
            self.board.weigh(of(Flag::RunQueueDelay, waited), sample.at, || {
                Evidence::default()
                    .with("run_queue", waited.into_value())
                    .with("cores_used", sample.cpu.map(Into::into))
                    .with("host_cpu", self.host.cpu.map(Into::into))
            });
        }
        if let Some((open, limit)) = sample.fds.zip(sample.fd_limit.filter(|&limit| limit > 0)) {
            let weighing = of(Flag::DescriptorsExhausted, as_f64(open) / as_f64(limit));
            self.board.weigh(weighing, sample.at, || {
                Evidence::default()
                    .with("descriptors", open.into_value())
                    .with("limit", limit.into_value())
            });
        }
        // Without a trend there is all the time in the world.
        let until = slope
            .zip(left)
            .map_or(f64::INFINITY, |(slope, left)| as_f64(left) / slope);
        self.board.weigh(of(Flag::MemoryGrowth, until), sample.at, || {
            Evidence::default()
                .with("seconds_to_oom", until.into_value())
                .with("growth_bytes_per_s", slope.map(Into::into))
                .with("rss_bytes", sample.rss.into_value())
                .with("left_bytes", left.map(Into::into))
        });
        for (flag, average, now) in [
            (Flag::CpuTarget, averages[0], cpu),
            (Flag::MemoryTarget, averages[1], group_memory),
        ] {
            if let Some((average, now)) = average.zip(now) {
                self.board.weigh(of(flag, average), sample.at, || {
                    Evidence::default()
                        .with("average", average.into_value())
                        .with("now", now.into_value())
                });
            }
        }
        if self.is_without_client(sample.pid) {
            let weighing = of(Flag::Spinning, sample.cpu.unwrap_or(0.0));
            self.board.weigh(weighing, sample.at, || {
                Evidence::default()
                    .with("cores_used", sample.cpu.map(Into::into))
                    .with("cpu_s", (as_f64(sample.cpu_ns) / 1e9).into_value())
            });
        }
    }
}
