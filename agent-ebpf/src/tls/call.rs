//! Calls into a library that have not returned.

use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;

/// Calls under way at once; the oldest give way.
const MAX_CALLS: u32 = 4096;

/// A call's frame. Calls nest where TLS is tunnelled in TLS, so the thread alone is not enough.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Frame {
    /// The thread, as `bpf_get_current_pid_tgid` gives it; of Go the goroutine, which changes threads.
    pub(super) runs: u64,
    /// The stack pointer; of Go, which moves stacks, the process.
    pub(super) at: u64,
}

/// What the way out needs to know of the way in.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Call {
    /// The connection object.
    pub(super) object: u64,
    /// Where the plaintext is, or will be.
    pub(super) buffer: u64,
    /// Buffers described at `buffer`; 0 when it is one itself.
    pub(super) buffers: u64,
    /// Where the library says how much it was; 0 when it returns that.
    pub(super) counted_at: u64,
    /// When it began.
    pub(super) entered: u64,
    /// 1 for a read.
    pub(super) read: u64,
}

#[map]
static CALLS: LruHashMap<Frame, Call> = LruHashMap::with_max_entries(MAX_CALLS, 0);

impl Frame {
    /// Keeps `call` until it returns. A call that finds no room is not seen to return.
    #[inline(always)]
    pub(super) fn enter(self, call: &Call) {
        CALLS.insert(self, call, 0).unwrap_or_default();
    }

    /// The call that returns from this frame, if its beginning was seen.
    #[inline(always)]
    pub(super) fn leave(self) -> Option<Call> {
        // SAFETY: one thread is in the frame.
        let call = *unsafe { CALLS.get(self) }?;
        CALLS.remove(self).unwrap_or_default();
        Some(call)
    }
}
