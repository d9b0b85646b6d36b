//! Where everything that comes out is queued and counted.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::hash::Seeded;
use crate::limits::Limits;
use crate::slab::Slot;
use crate::stats::Stats;
use crate::{Call, ConnectionId, Event, Fault, ProcessId, StreamId, Verdict};

#[derive(Debug)]
pub(crate) struct Output {
    /// Shared, so that they can be read while the rest changes.
    pub(crate) limits: Arc<Limits>,
    pub(crate) stats: Stats,
    /// Calls in flight, over all connections.
    pub(crate) in_flight: usize,
    /// Processes that have answered requests: what they ask may be passed on.
    pub(crate) servers: HashSet<ProcessId, Seeded>,
    /// Requests of such processes that have just come.
    pub(crate) asked: Vec<(ConnectionId, Slot)>,
    events: VecDeque<Event>,
}

impl Output {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits: Arc::new(limits),
            stats: Stats::default(),
            in_flight: 0,
            servers: HashSet::default(),
            asked: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// A process answers requests.
    pub(crate) fn serves(&mut self, process: ProcessId) {
        if self.servers.len() < self.limits.streams {
            self.servers.insert(process);
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn push(&mut self, event: Event) {
        if self.events.len() >= self.limits.queued_events {
            self.stats.events_dropped += 1;
        } else {
            self.events.push_back(event);
        }
    }

    pub(crate) fn verdict(&mut self, stream: StreamId, verdict: Verdict) {
        self.push(Event::Verdict { stream, verdict });
    }

    pub(crate) fn call(&mut self, call: Box<Call>) {
        self.stats.calls += 1;
        self.push(Event::Call(call));
    }

    /// Reports a fault unless its stream has reported enough.
    pub(crate) fn fault(&mut self, reported: &mut u32, fault: Fault) {
        if *reported >= self.limits.faults_per_stream {
            self.stats.faults_suppressed += 1;
            return;
        }
        *reported += 1;
        self.push(Event::Fault(fault));
    }
}
