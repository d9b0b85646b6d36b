//! Where everything that comes out is queued and counted.

use std::collections::VecDeque;

use crate::limits::Limits;
use crate::stats::Stats;
use crate::{Call, Event, Fault, StreamId, Verdict};

#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) limits: Limits,
    pub(crate) stats: Stats,
    /// Calls in flight, over all connections.
    pub(crate) in_flight: usize,
    events: VecDeque<Event>,
}

impl Output {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            stats: Stats::default(),
            in_flight: 0,
            events: VecDeque::new(),
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
