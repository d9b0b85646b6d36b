//! Which calls of a conversation were worked on at the same time.

use crate::connection::InFlight;
use crate::slab::{Slab, Slot};
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
    /// Whether it had another one to work on meanwhile. `calls` are found by `newest_first`.
    ///
    /// A write is known when it has returned. Whoever reads what it wrote can have sent the next request by
    /// then, and that one came after the answer: it overlaps nothing.
    pub(crate) fn answer<'a>(
        &mut self,
        direction: Direction,
        before: u64,
        began: Nanos,
        newest_first: impl Iterator<Item = &'a Slot>,
        calls: &mut Slab<InFlight>,
    ) -> bool {
        let mut later = 0;
        if self.last > began {
            for slot in newest_first {
                let Some(it) = calls.get_mut(*slot).filter(|it| it.call.direction == direction) else {
                    continue;
                };
                match (it.call.request.last_read, &mut it.answered_before) {
                    (Some(at), Some(answered)) if at > began => {
                        *answered += 1;
                        later += 1;
                    }
                    // Thousands may be in flight, and those before this one came earlier.
                    (Some(_), _) => break,
                    (None, _) => {}
                }
            }
        }
        self.answered += 1;
        // Instants of two streams may contradict each other.
        self.received.saturating_sub(later + before) > 1
    }

    /// A request has ended without an answer.
    pub(crate) fn end(&mut self) {
        self.answered += 1;
    }
}
