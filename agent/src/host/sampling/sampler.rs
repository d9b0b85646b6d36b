//! Which process is looked at when, and how closely.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use mcp_proto::Nanos;
use serde::Serialize;

use super::limits::{
    FAST_FOR, IDLE_INTERVALS, LOOK_EVERY, MAX_CGROUPS, MAX_CGROUPS_PER_TICK, MAX_PER_TICK, MAX_WATCHED, MEASURE_EVERY,
    TOGETHER,
};
use super::{Depth, HostCounters, HostSample, ProcessCounters, ProcessSample, Source};
use crate::host::{CgroupCounters, CgroupSample, thread_cpu};

/// Cores below which a process is idle.
const IDLE_CORES: f64 = 0.005;
/// Share of the time lost to waiting from which the host is under pressure.
const PRESSED_STALL: f64 = 0.1;
/// Share of the memory in use from which it is.
const PRESSED_MEMORY: f64 = 0.8;

/// How often to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Pause between two looks, in nanoseconds.
    pub interval: Nanos,
    /// Pause under pressure.
    pub fast: Nanos,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: 5_000_000_000,
            fast: 1_000_000_000,
        }
    }
}

/// What one tick has found.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// The host, when it was its turn.
    pub host: Option<HostSample>,
    /// Processes whose turn it was.
    pub processes: Vec<ProcessSample>,
    /// Control groups whose turn it was.
    pub cgroups: Vec<CgroupSample>,
    /// Watched processes that are gone, or whose pid is another's now.
    pub gone: Vec<u32>,
}

/// What sampling itself has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// CPU time, in nanoseconds.
    pub cpu_ns: u64,
    /// Ticks that had something to do.
    pub ticks: u64,
    /// Processes of which one file was read.
    pub glances: u64,
    /// Processes of which more were.
    pub looks: u64,
    /// Control groups that were read.
    pub cgroups: u64,
    /// Processes that had to wait for the next tick.
    pub deferred: u64,
    /// Processes that are not watched for want of room.
    pub refused: u64,
}

/// A process that is watched.
#[derive(Debug, Default)]
struct Watched {
    last: Option<(ProcessCounters, Nanos)>,
    cgroup: Option<Arc<str>>,
    due: Nanos,
    rounds: u32,
    idle: u32,
}

/// Looks at the host and at the processes that it is told to watch: each in its turn, the busy
/// ones more often, a bounded number in one tick.
#[derive(Debug)]
pub struct Sampler<S> {
    source: S,
    settings: Settings,
    watched: BTreeMap<u32, Watched>,
    /// By when the next look is due.
    queue: BTreeSet<(Nanos, u32)>,
    host: Option<(HostCounters, Nanos)>,
    host_due: Nanos,
    cgroups: BTreeMap<Arc<str>, Option<(CgroupCounters, Nanos)>>,
    cgroup_queue: VecDeque<Arc<str>>,
    /// Processes that have something to do, and are no sooner idle for doing nothing about it.
    attended: BTreeSet<u32>,
    fast_until: Nanos,
    cost: Cost,
}

impl<S: Source> Sampler<S> {
    /// A sampler that watches nobody yet.
    pub fn new(source: S, settings: Settings) -> Self {
        Self {
            source,
            settings,
            watched: BTreeMap::new(),
            queue: BTreeSet::new(),
            host: None,
            host_due: 0,
            cgroups: BTreeMap::new(),
            cgroup_queue: VecDeque::new(),
            attended: BTreeSet::new(),
            fast_until: 0,
            cost: Cost::default(),
        }
    }

    /// Watches a process from `now` on. Its first look is soon, later ones are spread over the interval.
    pub fn watch(&mut self, pid: u32, now: Nanos) {
        if self.watched.contains_key(&pid) {
            return;
        }
        if self.watched.len() >= MAX_WATCHED {
            self.cost.refused += 1;
            return;
        }
        let due = now;
        self.queue.insert((due, pid));
        let watched = Watched {
            due,
            ..Watched::default()
        };
        self.watched.insert(pid, watched);
    }

    /// Watches a process no longer.
    pub fn forget(&mut self, pid: u32) {
        if let Some(watched) = self.watched.remove(&pid) {
            self.source.forget_process(pid);
            self.queue.remove(&(watched.due, pid));
            if let Some(path) = watched.cgroup {
                self.leave(&path);
            }
        }
    }

    /// These of the watched processes have something to do: they are looked at every interval,
    /// whatever they do.
    pub fn attend(&mut self, pids: BTreeSet<u32>, now: Nanos) {
        let soon = now + self.settings.interval;
        for pid in pids.difference(&self.attended) {
            if let Some(watched) = self.watched.get_mut(pid)
                && watched.due > soon
            {
                self.queue.remove(&(watched.due, *pid));
                watched.due = soon;
                self.queue.insert((soon, *pid));
            }
        }
        self.attended = pids;
    }

    /// Something is under pressure: look more often for a while.
    pub fn hurry(&mut self, now: Nanos) {
        if now >= self.fast_until {
            self.host_due = self.host_due.min(now);
        }
        self.fast_until = now + FAST_FOR;
    }

    /// When there is something to do next.
    #[must_use]
    pub fn poll_timeout(&self) -> Nanos {
        self.queue
            .first()
            .map_or(self.host_due, |&(due, _)| due.min(self.host_due))
    }

    /// Looks at whatever is due at `now`.
    pub fn tick(&mut self, now: Nanos) -> Samples {
        let mut samples = Samples::default();
        if self.poll_timeout() > now {
            return samples;
        }
        let began = thread_cpu();
        if self.host_due <= now {
            self.look_at_host(now, &mut samples);
            self.look_at_cgroups(now, &mut samples);
            self.host_due = self.together(now + self.interval(now));
        }
        for _ in 0..MAX_PER_TICK {
            let Some(&(due, pid)) = self.queue.first() else { break };
            if due > now {
                break;
            }
            self.queue.pop_first();
            self.look_at(pid, now, &mut samples);
        }
        self.cost.deferred += count(self.queue.range(..=(now, u32::MAX)).count());
        self.cost.ticks += 1;
        self.cost.cpu_ns += thread_cpu().saturating_sub(began);
        samples
    }

    /// What sampling has cost so far.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// How many processes are watched.
    #[must_use]
    pub fn watching(&self) -> usize {
        self.watched.len()
    }

    fn interval(&self, now: Nanos) -> Nanos {
        if now < self.fast_until {
            self.settings.fast
        } else {
            self.settings.interval
        }
    }

    /// Whether intervals are long enough for looks to be gathered.
    fn is_slow(&self) -> bool {
        self.settings.interval >= 2 * TOGETHER
    }

    fn together(&self, due: Nanos) -> Nanos {
        if self.is_slow() {
            due.next_multiple_of(TOGETHER)
        } else {
            due
        }
    }

    fn look_at_host(&mut self, now: Nanos, samples: &mut Samples) {
        let counters = self.source.host();
        if let Some((before, from)) = &self.host
            && *from < now
        {
            let sample = HostSample::between((before, *from), &counters, now);
            let stalled = sample.stalls.iter().any(|(_, stall)| stall.some >= PRESSED_STALL);
            if stalled || sample.memory().is_some_and(|memory| memory >= PRESSED_MEMORY) {
                self.fast_until = now + FAST_FOR;
            }
            samples.host = Some(sample);
        }
        self.host = Some((counters, now));
    }

    fn look_at_cgroups(&mut self, now: Nanos, samples: &mut Samples) {
        for _ in 0..self.cgroup_queue.len().min(MAX_CGROUPS_PER_TICK) {
            let Some(path) = self.cgroup_queue.pop_front() else {
                break;
            };
            let Some(counters) = self.source.cgroup(&path) else {
                self.cgroups.remove(&path);
                continue;
            };
            self.cost.cgroups += 1;
            if let Some(Some((before, from))) = self.cgroups.get(&path)
                && *from < now
            {
                let sample = CgroupSample::between(Arc::clone(&path), (before, *from), (&counters, now));
                samples.cgroups.push(sample);
            }
            self.cgroups.insert(Arc::clone(&path), Some((counters, now)));
            self.cgroup_queue.push_back(path);
        }
    }

    fn look_at(&mut self, pid: u32, now: Nanos, samples: &mut Samples) {
        let interval = self.interval(now);
        let is_slow = self.is_slow();
        let Some(watched) = self.watched.get_mut(&pid) else {
            return;
        };
        let round = watched.rounds;
        let before = watched.last.as_ref().map(|(before, _)| before);
        let mut depth = Depth::Glance;
        let read = self.source.process(pid, &mut |glance| {
            depth = depth_of(round, before, glance);
            depth
        });
        let same = |now: &ProcessCounters| before.is_none_or(|before| before.start_time == now.start_time);
        let Some(counters) = read.filter(|now| same(now) && now.state != 'Z') else {
            samples.gone.push(pid);
            self.forget(pid);
            return;
        };
        if depth == Depth::Glance {
            self.cost.glances += 1;
        } else {
            self.cost.looks += 1;
        }
        let earlier = watched.last.as_ref().map(|(before, at)| (before, *at));
        let mut sample = ProcessSample::between(earlier, &counters, now);
        let idle = sample.cpu.is_some_and(|cpu| cpu < IDLE_CORES) && !self.attended.contains(&pid);
        watched.idle = if idle {
            (watched.idle + 1).min(IDLE_INTERVALS - 1)
        } else {
            0
        };
        // An idle process is no sooner looked at for the host's being under pressure.
        let pause = if idle {
            self.settings.interval * u64::from(watched.idle + 1)
        } else {
            interval
        };
        // The first pause is shortened by another amount for each, so that they do not all come at once.
        let spread = if round == 0 {
            pause * u64::from(pid % 64) / 64
        } else {
            0
        };
        let due = now + pause - spread;
        watched.due = if is_slow { due.next_multiple_of(TOGETHER) } else { due };
        watched.rounds = round.wrapping_add(1);
        let ask_cgroup = round.is_multiple_of(LOOK_EVERY);
        let mut kept = counters;
        if let Some((before, _)) = watched.last.take() {
            kept.more = kept.more.or(before.more);
            kept.pss = kept.pss.or(before.pss);
        }
        watched.last = Some((kept, now));
        self.queue.insert((watched.due, pid));
        if ask_cgroup {
            self.ask_cgroup(pid, now);
        }
        sample.cgroup = self.watched.get(&pid).and_then(|watched| watched.cgroup.clone());
        samples.processes.push(sample);
    }

    /// Notes the control group that a process is in, which may be another than before.
    fn ask_cgroup(&mut self, pid: u32, now: Nanos) {
        let path = self.source.cgroup_of(pid);
        let Some(watched) = self.watched.get_mut(&pid) else {
            return;
        };
        if watched.cgroup == path {
            return;
        }
        let before = std::mem::replace(&mut watched.cgroup, path.clone());
        if let Some(path) = path
            && !self.cgroups.contains_key(&path)
            && self.cgroups.len() < MAX_CGROUPS
        {
            self.cgroup_queue.push_back(Arc::clone(&path));
            let counters = self.source.cgroup(&path).map(|counters| (counters, now));
            self.cgroups.insert(path, counters);
        }
        if let Some(before) = before {
            self.leave(&before);
        }
    }

    /// Forgets a control group when nobody who is watched is in it.
    fn leave(&mut self, path: &Arc<str>) {
        if !self
            .watched
            .values()
            .any(|watched| watched.cgroup.as_ref() == Some(path))
        {
            self.cgroups.remove(path);
            self.cgroup_queue.retain(|queued| queued != path);
            self.source.forget_cgroup(path);
        }
    }
}

/// A process that used no CPU time since the last look has changed nothing that a closer look
/// would show, but for what is rounded off.
fn depth_of(round: u32, before: Option<&ProcessCounters>, glance: &ProcessCounters) -> Depth {
    if round % MEASURE_EVERY == 1 {
        return Depth::Measure;
    }
    let idle = before.is_some_and(|before| before.cpu_ns == glance.cpu_ns && before.more.is_some());
    if idle && !round.is_multiple_of(LOOK_EVERY) {
        Depth::Glance
    } else {
        Depth::Look
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
