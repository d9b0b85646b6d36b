//! Which calls of a conversation were worked on at the same time.

use crate::connection::InFlight;
use crate::slab::Slab;
use crate::{Direction, Nanos};

/// Requests of one direction that the responder has had, and of those the answered or ended ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    received: u64,
    answered: u64,
    /// When it had the last one.
    last: Nanos,
}

impl Served {
    /// The responder has had all of a request, at this time. How many had been answered before.
    pub(crate) fn receive(&mut self, at: Nanos) -> u64 {
        self.received += 1;
        self.last = self.last.max(at);
        self.answered
    }

    /// The responder began at `began` to answer a request, before whose arrival so many had been answered.
    /// Whether it had another one to work on meanwhile.
    ///
    /// A write is known when it has returned. Whoever reads what it wrote can have sent the next request by
    /// then, and that one came after the answer: it overlaps nothing.
    pub(crate) fn answer(
        &mut self,
        direction: Direction,
        before: u64,
        began: Nanos,
        calls: &mut Slab<InFlight>,
    ) -> bool {
        let mut later = 0;
        if self.last > began {
            let came_after =
                |it: &&mut InFlight| it.call.direction == direction && it.call.request.last_read > Some(began);
            for it in calls.iter_mut().filter(came_after) {
                if let Some(answered) = &mut it.answered_before {
                    *answered += 1;
                    later += 1;
                }
            }
        }
        self.answered += 1;
        self.received - later - before > 1
    }

    /// A request has ended without an answer.
    pub(crate) fn end(&mut self) {
        self.answered += 1;
    }
}
