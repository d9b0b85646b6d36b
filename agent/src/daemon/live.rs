//! The last calls, whole, and those that listen for the next ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::{Receiver, Sender, channel};

use crate::calls::CallRecord;
use crate::flags::FlagEvent;

/// Calls that are remembered.
const LAST: usize = 1000;
/// Calls that a listener may be behind before it misses some.
const BEHIND: usize = 1024;

/// The last calls and the next ones.
#[derive(Debug)]
pub(super) struct Live {
    last: Mutex<VecDeque<Arc<CallRecord>>>,
    next: Sender<Arc<CallRecord>>,
    flags: Sender<Arc<FlagEvent>>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            last: Mutex::default(),
            next: channel(BEHIND).0,
            flags: channel(BEHIND).0,
        }
    }
}

impl Live {
    pub(super) fn push(&self, call: Arc<CallRecord>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= LAST {
            last.pop_front();
        }
        last.push_back(Arc::clone(&call));
        drop(last);
        // Nobody listens: nothing is missed.
        self.next.send(call).map(|_| ()).unwrap_or_default();
    }

    /// The last ones, the oldest first.
    pub(super) fn last(&self) -> Vec<Arc<CallRecord>> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    pub(super) fn flag(&self, event: FlagEvent) {
        self.flags.send(Arc::new(event)).map(|_| ()).unwrap_or_default();
    }

    pub(super) fn listen_to_flags(&self) -> Receiver<Arc<FlagEvent>> {
        self.flags.subscribe()
    }

    pub(super) fn listen(&self) -> Receiver<Arc<CallRecord>> {
        self.next.subscribe()
    }
}
