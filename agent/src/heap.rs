//! Memory that the agent has freed goes back to the system: a burst of calls or the reading of
//! kernel types must not count against it for ever.

use mcp_proto::Nanos;

/// How often what is free is given back while the agent runs. A look at a heap of some MiB takes
/// less than a millisecond.
const EVERY: Nanos = 10_000_000_000;

/// When it is time to give memory back.
#[derive(Debug, Default)]
pub(crate) struct Tide {
    due: Nanos,
}

impl Tide {
    /// Lets time pass.
    pub(crate) fn tick(&mut self, now: Nanos) {
        if now < self.due {
            return;
        }
        self.due = now.saturating_add(EVERY);
        // The allocator of glibc keeps what is free, and has to be told; that of musl does not.
        #[cfg(target_env = "gnu")]
        // SAFETY: the call has no preconditions.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}
