//! Putting records into the ring.

use agent_abi::Counter;
use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};

use crate::globals;
use crate::maps::{EVENTS, count};

/// Whether the agent is to look at the ring at once or at its next turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// At once: something waits for its answer.
    Now,
    /// At its next turn, or when the ring fills: waking it for every record costs the traced
    /// process more than the record.
    Later,
}

/// Reserves a record of type `T`, has `fill` write it and submits it. Counts it when there is no room.
///
/// `fill` must write every byte of the record that user space reads.
#[inline(always)]
pub(crate) fn emit<T: 'static>(wake: Wake, payload: u64, fill: impl FnOnce(*mut T)) -> bool {
    let Some(mut entry) = EVENTS.reserve::<T>(0) else {
        count(Counter::RingFull, 1);
        count(Counter::RingFullBytes, payload);
        return false;
    };
    fill(entry.as_mut_ptr());
    count(Counter::Records, 1);
    let urgent = wake == Wake::Now || EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) >= u64::from(globals::WAKE_AT.load());
    entry.submit(u64::from(if urgent { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }));
    true
}
