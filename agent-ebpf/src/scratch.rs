//! Memory for what does not fit on a program's stack.

use agent_abi::DataRecord;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;

use crate::capture::{Extent, Segments};

/// The state of one transfer on its way into the ring.
#[repr(C)]
pub(crate) struct Scratch {
    pub(crate) record: DataRecord,
    pub(crate) segments: Segments,
    pub(crate) extent: Extent,
    busy: u64,
}

/// Programs of different syscalls can preempt each other on a CPU where trampolines leave
/// preemption on; this deep at most.
const DEPTH: u32 = 3;

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(DEPTH, 0);

/// The scratch memory of this CPU at `depth`. Not to be held across a call that may take it again.
#[inline(always)]
pub(crate) fn at<'a>(depth: u32) -> Option<&'a mut Scratch> {
    let scratch = SCRATCH.get_ptr_mut(depth)?;
    // SAFETY: the slot belongs to this CPU, and `busy` keeps preempting programs off it.
    Some(unsafe { &mut *scratch })
}

/// Runs `with` on the depth of scratch memory that is its own. `false` when none is free.
#[inline(always)]
pub(crate) fn with_scratch(with: impl FnOnce(u32)) -> bool {
    for depth in 0..DEPTH {
        if let Some(scratch) = at(depth)
            && scratch.busy == 0
        {
            scratch.busy = 1;
            with(depth);
            release(depth);
            return true;
        }
    }
    false
}

#[inline(always)]
fn release(depth: u32) {
    if let Some(scratch) = at(depth) {
        scratch.busy = 0;
    }
}
