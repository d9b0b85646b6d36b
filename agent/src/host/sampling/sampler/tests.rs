use std::collections::HashMap;

use super::*;
use crate::host::sampling::{LiveSource, Totals};

const SECOND: Nanos = 1_000_000_000;

/// A host that does what a test says, and counts what it is asked.
#[derive(Default)]
struct Fake {
    processes: HashMap<u32, ProcessCounters>,
    closely: HashMap<u32, u32>,
    host: HostCounters,
}

impl Fake {
    fn with(pids: std::ops::RangeInclusive<u32>) -> Self {
        let process = |pid| ProcessCounters {
            pid,
            start_time: 1,
            state: 'S',
            ..ProcessCounters::default()
        };
        Self {
            processes: pids.map(|pid| (pid, process(pid))).collect(),
            ..Self::default()
        }
    }
}

impl Source for Fake {
    fn host(&mut self) -> HostCounters {
        self.host.clone()
    }

    fn process(&mut self, pid: u32, depth: &mut dyn FnMut(&ProcessCounters) -> Depth) -> Option<ProcessCounters> {
        let mut counters = self.processes.get(&pid)?.clone();
        if depth(&counters) > Depth::Glance {
            *self.closely.entry(pid).or_default() += 1;
            counters.more = Some(Default::default());
        }
        Some(counters)
    }

    fn forget_process(&mut self, _: u32) {}

    fn cgroup_of(&mut self, pid: u32) -> Option<Arc<str>> {
        Some(format!("/group{}", pid % 2).into())
    }

    fn cgroup(&mut self, _: &Arc<str>) -> Option<CgroupCounters> {
        Some(CgroupCounters::default())
    }

    fn forget_cgroup(&mut self, _: &Arc<str>) {}
}

/// Runs the sampler by its own timeouts until `end`.
fn run(sampler: &mut Sampler<Fake>, from: Nanos, end: Nanos, mut each: impl FnMut(&mut Fake, Nanos, Samples)) {
    let mut now = from;
    while now < end {
        let samples = sampler.tick(now);
        each(&mut sampler.source, now, samples);
        now = sampler.poll_timeout().max(now + 1_000_000);
    }
}

#[test]
fn the_busy_every_interval_and_the_idle_seldom() {
    let mut sampler = Sampler::new(Fake::with(1..=2), Settings::default());
    sampler.watch(1, 0);
    sampler.watch(2, 0);
    let mut seen = HashMap::<u32, u32>::new();
    run(&mut sampler, 0, 600 * SECOND, |source, now, samples| {
        source.processes.get_mut(&1).unwrap().cpu_ns = now / 2;
        for sample in samples.processes {
            *seen.entry(sample.pid).or_default() += 1;
        }
    });
    assert!((119..=122).contains(&seen[&1]), "{seen:?}");
    assert!((40..=43).contains(&seen[&2]), "{seen:?}");
    assert!(sampler.source.closely[&2] <= 6, "{:?}", sampler.source.closely);
    assert_eq!(sampler.source.closely[&1], seen[&1]);
}

#[test]
fn whoever_has_something_to_do_is_not_idle() {
    let mut sampler = Sampler::new(Fake::with(1..=1), Settings::default());
    sampler.watch(1, 0);
    run(&mut sampler, 0, 60 * SECOND, |_, _, _| {});
    sampler.attend([1].into(), 60 * SECOND);
    let mut seen = 0;
    run(&mut sampler, 60 * SECOND, 120 * SECOND, |_, _, samples| {
        seen += samples.processes.len();
    });
    assert!((11..=12).contains(&seen), "{seen}");
    sampler.attend(BTreeSet::new(), 120 * SECOND);
    run(&mut sampler, 120 * SECOND, 240 * SECOND, |_, _, samples| {
        seen += samples.processes.len();
    });
    assert!((18..=24).contains(&seen), "{seen}");
}

#[test]
fn pressure_makes_it_fast_and_calm_slow_again() {
    let mut sampler = Sampler::new(Fake::default(), Settings::default());
    let mut hosts = Vec::new();
    run(&mut sampler, 0, 120 * SECOND, |source, now, samples| {
        hosts.extend(samples.host.map(|host| host.at / SECOND));
        // From the 20th to the 30th second, four tenths of the time, in microseconds.
        let lost = now.clamp(20 * SECOND, 30 * SECOND) / 2500;
        source.host.pressure.memory = Some(Totals { some: lost, full: 0 });
    });
    let within = |from, to| hosts.iter().filter(|&&at| at >= from && at < to).count();
    assert!(
        within(0, 20) <= 4 && within(31, 56) >= 24 && within(80, 120) <= 8,
        "{hosts:?}"
    );
    sampler.hurry(121 * SECOND);
    assert!(sampler.poll_timeout() <= 121 * SECOND);
}

#[test]
fn a_tick_is_bounded_and_everybody_gets_a_turn() {
    let mut sampler = Sampler::new(Fake::with(1..=1000), Settings::default());
    for pid in 1..=1000 {
        sampler.watch(pid, 0);
    }
    let mut seen = BTreeSet::new();
    run(&mut sampler, 0, 20 * SECOND, |_, now, samples| {
        assert!(samples.processes.len() <= MAX_PER_TICK);
        if now > 0 {
            assert!(samples.cgroups.len() <= 2);
        }
        seen.extend(samples.processes.iter().map(|sample| sample.pid));
    });
    assert_eq!(seen.len(), 1000);
    assert!(sampler.cost().deferred > 0);
}

#[test]
fn the_gone_and_the_reused_are_told_and_forgotten() {
    let mut sampler = Sampler::new(Fake::with(1..=3), Settings::default());
    (1..=3).for_each(|pid| sampler.watch(pid, 0));
    assert_eq!(sampler.tick(0).processes.len(), 3);
    sampler.source.processes.remove(&1);
    sampler.source.processes.get_mut(&2).unwrap().start_time = 9;
    sampler.source.processes.get_mut(&3).unwrap().state = 'Z';
    let mut gone = BTreeSet::new();
    run(&mut sampler, SECOND, 20 * SECOND, |_, _, samples| {
        gone.extend(samples.gone);
    });
    assert_eq!(gone, [1, 2, 3].into());
    assert_eq!(
        (sampler.watching(), sampler.queue.len(), sampler.cgroups.len()),
        (0, 0, 0)
    );
}

#[test]
fn no_more_than_there_is_room_for() {
    let mut sampler = Sampler::new(Fake::default(), Settings::default());
    let limit = u32::try_from(MAX_WATCHED).unwrap();
    (0..limit + 5).for_each(|pid| sampler.watch(pid, 0));
    assert_eq!((sampler.watching(), sampler.cost().refused), (MAX_WATCHED, 5));
    (0..limit).for_each(|pid| sampler.forget(pid));
    assert!(sampler.queue.is_empty());
}

#[test]
fn this_process_on_this_host() {
    let mut sampler = Sampler::new(LiveSource::default(), Settings::default());
    let own = std::process::id();
    sampler.watch(own, 0);
    assert_eq!(sampler.tick(0).processes.len(), 1);
    std::hint::black_box((0..3_000_000u64).fold(0, |a, b| a ^ b));
    let samples = sampler.tick(6 * SECOND);
    let sample = &samples.processes[0];
    assert!(
        sample.fds.is_some() && sample.pss.is_some() && sample.cgroup.is_some(),
        "{sample:?}"
    );
    let host = samples.host.unwrap();
    assert!(host.cpu.is_some() && host.memory().is_some(), "{host:?}");
    assert_eq!(
        samples.cgroups.len(),
        1,
        "read at the first tick of the host after it was found"
    );
    assert!(sampler.cost().cpu_ns > 0);
}
