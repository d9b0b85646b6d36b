//! Sampling beside whatever must not wait for it: a thread with the sampler, the scan for other
//! ends, and the pressure trigger.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use mcp_proto::Nanos;

use super::{Cost, LiveSource, PressureTrigger, Sampler, Samples, Settings};
use crate::host::{Ends, EndsScanner, monotonic};

/// Pause between two scans for other ends, in nanoseconds: two of them within 30 s.
const SCAN_EVERY: Nanos = 10_000_000_000;
/// Reports and orders that wait at most. A reader that is slow loses samples, which is counted.
const WAITING: usize = 256;
/// The longest sleep, so that an order is taken soon.
const NAP: Duration = Duration::from_millis(500);

/// What was found since the report before.
#[derive(Debug)]
pub struct Report {
    /// When, CLOCK_MONOTONIC.
    pub at: Nanos,
    /// Samples whose turn it was.
    pub samples: Samples,
    /// Other ends, when they were scanned for.
    pub ends: Vec<(u32, Ends)>,
    /// What sampling has cost so far.
    pub cost: Cost,
    /// Reports before this one that found no room.
    pub lost: u64,
}

enum Order {
    Watch(u32),
    Forget(u32),
    Attend(BTreeSet<u32>),
}

/// A sampler in a thread of its own. It ends when this is dropped.
#[derive(Debug)]
pub struct SamplerThread {
    orders: SyncSender<Order>,
    reports: Receiver<Report>,
    watched: BTreeSet<u32>,
    attended: BTreeSet<u32>,
}

impl SamplerThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn spawn(settings: Settings) -> io::Result<Self> {
        let (orders, inbox) = sync_channel(WAITING);
        let (outbox, reports) = sync_channel(WAITING);
        thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(move || run(settings, &inbox, &outbox))?;
        Ok(Self {
            orders,
            reports,
            watched: BTreeSet::new(),
            attended: BTreeSet::new(),
        })
    }

    /// Watches a process. Asking again costs nothing; when the thread is behind, ask again.
    pub fn watch(&mut self, pid: u32) {
        if !self.watched.contains(&pid) && self.orders.try_send(Order::Watch(pid)).is_ok() {
            self.watched.insert(pid);
        }
    }

    /// Watches a process no longer.
    pub fn forget(&mut self, pid: u32) {
        // A thread that is behind will find by itself that the process is gone.
        if self.watched.remove(&pid) {
            self.orders.try_send(Order::Forget(pid)).unwrap_or_default();
        }
    }

    /// Looks more closely at those of the watched processes that have something to do.
    pub fn attend(&mut self, pids: BTreeSet<u32>) {
        if self.attended != pids && self.orders.try_send(Order::Attend(pids.clone())).is_ok() {
            self.attended = pids;
        }
    }

    /// The next report, if there is one.
    pub fn poll(&mut self) -> Option<Report> {
        let report = self.reports.try_recv().ok()?;
        for pid in &report.samples.gone {
            self.watched.remove(pid);
        }
        Some(report)
    }
}

fn run(settings: Settings, inbox: &Receiver<Order>, outbox: &SyncSender<Report>) {
    let mut sampler = Sampler::new(LiveSource::default(), settings);
    let mut scanner = EndsScanner::default();
    // Without a trigger the next sample sees the stall.
    let trigger = PressureTrigger::on(Path::new("/proc/pressure/memory")).ok();
    let mut watched = BTreeSet::new();
    let mut scan_due = 0;
    let mut lost = 0;
    loop {
        let now = monotonic();
        if trigger.as_ref().is_some_and(|trigger| trigger.wait(0).unwrap_or(false)) {
            sampler.hurry(now);
        }
        let mut samples = sampler.tick(now);
        for pid in &samples.gone {
            watched.remove(pid);
        }
        let mut ends = Vec::new();
        if scan_due <= now && !watched.is_empty() {
            scan_due = now + SCAN_EVERY;
            ends = scanner.scan(&watched.iter().copied().collect::<Vec<_>>());
            // Those that are idle would be missed later only.
            let found: BTreeSet<u32> = ends.iter().map(|(pid, _)| *pid).collect();
            let is_gone = |pid: &&u32| !found.contains(*pid) && !Path::new("/proc").join(pid.to_string()).exists();
            let gone: Vec<u32> = watched.iter().filter(is_gone).copied().collect();
            for &pid in &gone {
                watched.remove(&pid);
                sampler.forget(pid);
            }
            samples.gone.extend(gone);
        }
        let is_news = samples.host.is_some() || !samples.processes.is_empty() || !samples.gone.is_empty();
        if is_news || !ends.is_empty() {
            let cost = sampler.cost();
            let report = Report {
                at: now,
                samples,
                ends,
                cost,
                lost,
            };
            match outbox.try_send(report) {
                Ok(()) => lost = 0,
                Err(TrySendError::Full(_)) => lost += 1,
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
        let pause = Duration::from_nanos(sampler.poll_timeout().saturating_sub(monotonic()));
        let order = match inbox.recv_timeout(pause.min(NAP)) {
            Ok(order) => Ok(order),
            Err(RecvTimeoutError::Timeout) => Err(TryRecvError::Empty),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        for order in order.into_iter().chain(inbox.try_iter()) {
            match order {
                Order::Watch(pid) => {
                    watched.insert(pid);
                    sampler.watch(pid, monotonic());
                }
                Order::Forget(pid) => {
                    watched.remove(&pid);
                    sampler.forget(pid);
                }
                Order::Attend(pids) => sampler.attend(pids, monotonic()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::host::End;

    #[test]
    fn watches_scans_and_tells_the_end() {
        let mut server = Command::new("sleep").arg("60").stdin(Stdio::piped()).spawn().unwrap();
        let settings = Settings {
            interval: 50_000_000,
            fast: 50_000_000,
        };
        let mut thread = SamplerThread::spawn(settings).unwrap();
        thread.watch(server.id());
        let mut wait = |until: &dyn Fn(&Report) -> bool| {
            (0..500).any(|_| {
                thread::sleep(Duration::from_millis(10));
                thread.poll().is_some_and(|report| until(&report))
            })
        };
        assert!(wait(&|report| report
            .ends
            .iter()
            .any(|(_, ends)| ends.stdin == End::Open)));
        assert!(wait(&|report| !report.samples.processes.is_empty()));
        server.kill().unwrap();
        server.wait().unwrap();
        assert!(wait(&|report| !report.samples.gone.is_empty()));
    }
}
