//! Calls that a process passes on, until the call that they are for comes out.

use std::collections::{HashMap, VecDeque};

use crate::calls::{CallRecord, ShortId, TraceId};

/// Calls passed on that are remembered; the oldest are forgotten.
const MAX_HOPS: usize = 4096;

/// The requester's span of a call that passes another one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) trace_id: TraceId,
    pub(super) span_id: ShortId,
}

/// The latest hop of each call that was passed on. It ends before the call does, so its span is known
/// when the call's is made. That the two share a trace cannot be: whoever sees the far end only does
/// not know that it is a hop.
#[derive(Debug, Default)]
pub(super) struct Hops {
    by_call: HashMap<ShortId, Hop>,
    order: VecDeque<ShortId>,
}

impl Hops {
    /// Remembers the call, if it passes one on. Returns the hop that has passed this one on.
    pub(super) fn take(&mut self, call: &CallRecord) -> Option<Hop> {
        let requester = call.operations().into_iter().flatten().next();
        if let (Some(passes_on), Some(requester)) = (call.parent_call, requester) {
            let hop = Hop {
                trace_id: call.trace_id,
                span_id: requester.span_id,
            };
            if self.by_call.insert(passes_on, hop).is_none() {
                self.order.push_back(passes_on);
            }
            if self.order.len() > MAX_HOPS
                && let Some(oldest) = self.order.pop_front()
            {
                self.by_call.remove(&oldest);
            }
        }
        // The order keeps the id until it is the oldest: an id comes once.
        self.by_call.remove(&call.call)
    }
}
