//! Totals of processes at the instants between which calls are served, until the calls are known.

use std::collections::{BTreeMap, HashMap, VecDeque};

use agent_abi::{DataRecord, flags};
use mcp_proto::{Call, Direction, Nanos, ProcessId};

use super::causes::{Account, Snapshot, Window, account};
use super::children::Children;
use super::syscalls::Syscalls;
use super::upstreams::Upstreams;

/// Snapshots that are kept; the oldest give way, and the calls that began with them have no causes.
const MAX_SNAPSHOTS: usize = 16_384;
/// How long they are kept at least: the request that one belongs to may not have been found yet.
const KEEP: Nanos = 10_000_000_000;
/// Windows that are kept of one process, to tell which ones overlap.
const MAX_WINDOWS: usize = 64;
/// Processes of which they are kept.
const MAX_PROCESSES: usize = 4096;

/// One end of a window: which process it was, at which instant. No thread makes two at once, and two
/// threads of a process hardly do.
type Instant = (u32, Nanos);

/// The ends and the lengths of the windows in which calls are served.
#[derive(Debug, Default)]
pub(super) struct Windows {
    snapshots: HashMap<Instant, Snapshot>,
    ages: VecDeque<Instant>,
    pub(super) syscalls: Syscalls,
    served: BTreeMap<ProcessId, VecDeque<(Nanos, Nanos)>>,
    /// Calls whose totals had given way.
    pub(super) evicted: u64,
    next_tick: Nanos,
}

impl Windows {
    /// Keeps the totals of a record that may end a request or begin an answer.
    pub(super) fn note(&mut self, record: &DataRecord) {
        if record.flags & flags::TIMED == 0 {
            return;
        }
        let reads = record.flags & flags::READ != 0;
        let at = if reads || record.entered == 0 {
            record.exited
        } else {
            record.entered
        };
        let instant = (record.header.tgid, at);
        let snapshot = Snapshot {
            at,
            tid: record.header.tid,
            totals: record.totals,
        };
        if self.snapshots.insert(instant, snapshot).is_none() {
            self.ages.push_back(instant);
        }
        if self.ages.len() > MAX_SNAPSHOTS
            && let Some(oldest) = self.ages.pop_front()
        {
            self.snapshots.remove(&oldest);
        }
    }

    /// Forgets totals of before the oldest call in flight, which is asked for now and then.
    pub(super) fn tick(&mut self, now: Nanos, oldest_call: impl FnOnce() -> Option<Nanos>) {
        if self.next_tick > now || self.ages.is_empty() {
            return;
        }
        self.next_tick = now.saturating_add(KEEP);
        let needed = oldest_call().unwrap_or(now).saturating_sub(KEEP);
        while let Some(instant) = self.ages.pop_front_if(|(_, at)| *at < needed) {
            self.snapshots.remove(&instant);
        }
        if self.ages.len() < self.ages.capacity() / 4 {
            self.ages.shrink_to_fit();
            self.snapshots.shrink_to_fit();
        }
    }

    /// What the responder of a call, which has this pid, spent its time on, and whether it shared it
    /// with other calls. `None` where that was not measured.
    pub(super) fn account(
        &mut self,
        call: &Call,
        pid: u32,
        children: &Children,
        upstreams: &Upstreams,
    ) -> Option<(Account, bool)> {
        let responder = match call.direction {
            Direction::ClientToServer => call.server.process,
            Direction::ServerToClient => call.client.process,
        };
        let (from, to) = (call.request.last_read?, call.response?.first_written?);
        let shared = self.serve(responder?, from, to) || call.overlapped;
        let ends = self.snapshots.get(&(pid, from)).zip(self.snapshots.get(&(pid, to)));
        let Some((&from, &to)) = ends else {
            let measured = !self.snapshots.is_empty();
            self.evicted += u64::from(measured && self.ages.len() == MAX_SNAPSHOTS);
            return None;
        };
        let mut waits = children.between(pid, from.at, to.at);
        waits.extend(upstreams.between(pid, from.at, to.at));
        let window = Window {
            from,
            to,
            shared,
            waits: &waits,
        };
        let syscalls = self.syscalls.within(pid, from.at, to.at);
        let account = Account {
            syscalls,
            ..account(&window)
        };
        Some((account, shared))
    }

    /// Notes a window, and says whether an earlier one of the process overlaps it.
    fn serve(&mut self, process: ProcessId, from: Nanos, to: Nanos) -> bool {
        let windows = self.served.entry(process).or_default();
        let overlaps = windows.iter().any(|&(begin, end)| begin < to && end > from);
        windows.push_back((from, to));
        if windows.len() > MAX_WINDOWS {
            windows.pop_front();
        }
        if self.served.len() > MAX_PROCESSES {
            self.served.pop_first();
        }
        overlaps
    }
}
