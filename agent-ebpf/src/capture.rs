//! Shipping what moved: one record per captured piece, in size classes, whole up to a budget and
//! beyond it head and tail.

use agent_abi::{Chunk, Counter, DataRecord, flags};
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use core::ffi::c_void;

use crate::emit::{Wake, emit};
use crate::globals;
use crate::maps::count;
use crate::scratch::{self, Scratch};
use crate::stream::Sampling;

/// Bytes kept of the end of a message that exceeds its budget: an SDK may put the id last.
const TAIL: u64 = 4096;
/// Budget of one syscall on a stream without a verdict.
const UNJUDGED_BUDGET: u64 = 16 * 1024;
/// Steps through segments and pieces: two for each of 128 small buffers. Servers that frame events write as many as 64
/// at once; the default budget needs 25 for one contiguous buffer.
const MAX_STEPS: u32 = 256;

/// Where a syscall's bytes lie in user memory: one buffer, an iovec of them, or several messages
/// with an iovec each.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Segments {
    /// Address of the current buffer.
    base: u64,
    /// Bytes left in it.
    left: u64,
    /// Address of the next `struct iovec`.
    iov: u64,
    /// Entries left there.
    iovs: u64,
    /// Bytes left in the current message.
    message_left: u64,
    /// Address of the next `struct mmsghdr`.
    message: u64,
    /// Messages left there.
    messages: u64,
}

impl Segments {
    const NONE: Self = Self {
        base: 0,
        left: 0,
        iov: 0,
        iovs: 0,
        message_left: u64::MAX,
        message: 0,
        messages: 0,
    };

    /// One buffer.
    #[inline(always)]
    pub(crate) fn contiguous(base: u64, len: u64) -> Self {
        Self {
            base,
            left: len,
            ..Self::NONE
        }
    }

    /// `count` buffers described at `iov`.
    #[inline(always)]
    pub(crate) fn vector(iov: u64, count: u64) -> Self {
        Self {
            iov,
            iovs: count,
            ..Self::NONE
        }
    }

    /// The buffers of the `struct msghdr` at `header`.
    #[inline(always)]
    pub(crate) fn message(header: u64) -> Self {
        let header = read_user::<MsgHdr>(header).unwrap_or_default();
        Self::vector(header.iov, header.iov_len)
    }

    /// The buffers of `count` `struct mmsghdr` at `headers`.
    #[inline(always)]
    pub(crate) fn messages(headers: u64, count: u64) -> Self {
        Self {
            message: headers,
            messages: count,
            ..Self::NONE
        }
    }

    /// Moves on to the next buffer. `false` when there is none.
    #[inline(always)]
    fn next(&mut self) -> Option<()> {
        if self.iovs == 0 {
            self.messages = self.messages.checked_sub(1)?;
            let header = read_user::<MsgHdr>(self.message)?;
            self.message_left = u64::from(read_user::<u32>(self.message + MMSGHDR_LEN)?);
            self.message += MMSGHDR_SIZE;
            self.iov = header.iov;
            self.iovs = header.iov_len;
            return Some(());
        }
        let next = read_user::<IoVec>(self.iov)?;
        self.iov += size_of::<IoVec>() as u64;
        self.iovs -= 1;
        self.base = next.base;
        self.left = next.len.min(self.message_left);
        Some(())
    }

    #[inline(always)]
    fn advance(&mut self, by: u64) {
        self.base += by;
        self.left -= by;
        self.message_left -= by;
    }
}

/// Bytes in the first messages of a recvmmsg or sendmmsg: as many as are followed.
#[inline(always)]
pub(crate) fn bytes_in_messages(headers: u64, count: u64) -> u64 {
    let mut sum = 0;
    for i in 0..MAX_MESSAGES {
        if i >= count {
            break;
        }
        sum += u64::from(read_user::<u32>(headers + i * MMSGHDR_SIZE + MMSGHDR_LEN).unwrap_or(0));
    }
    sum
}

/// Address of the first of the bytes that the `struct iovec` at `iov` describes; 0 when it is not resident.
#[inline(always)]
pub(crate) fn first_of_vector(iov: u64) -> u64 {
    read_user::<IoVec>(iov).map_or(0, |first| first.base)
}

/// As [`first_of_vector`], for the `struct msghdr` at `header`.
#[inline(always)]
pub(crate) fn first_of_message(header: u64) -> u64 {
    read_user::<MsgHdr>(header).map_or(0, |header| first_of_vector(header.iov))
}

/// Messages of one recvmmsg or sendmmsg that are followed.
const MAX_MESSAGES: u64 = 8;
/// Size of `struct mmsghdr`, and where its `msg_len` is.
const MMSGHDR_SIZE: u64 = 64;
const MMSGHDR_LEN: u64 = 56;

/// `struct msghdr` of user space up to the iovec's length.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct MsgHdr {
    name: u64,
    name_len: u64,
    iov: u64,
    iov_len: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct IoVec {
    base: u64,
    len: u64,
}

/// Reads a value of user memory. `None` when it is not resident.
#[inline(always)]
pub(crate) fn read_user<T: Copy + Default>(address: u64) -> Option<T> {
    let mut value = T::default();
    // SAFETY: the destination is valid for the size, and the helper checks the source.
    let result = unsafe {
        bpf_probe_read_user(
            (&raw mut value).cast::<c_void>(),
            size_of::<T>() as u32,
            address as *const c_void,
        )
    };
    (result == 0).then_some(value)
}

/// The parts of a transfer that are captured: `[0, head)` and `[tail, end)`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    /// Bytes that have been dealt with.
    at: u64,
    head: u64,
    tail: u64,
    end: u64,
    /// FIRST until a record has been shipped.
    first: u32,
    /// A record with LAST has been shipped.
    complete: u32,
    /// Whether the agent waits for this.
    urgent: u32,
    _padding: u32,
}

impl Extent {
    #[inline(always)]
    fn of(len: u64, sampling: Sampling) -> Self {
        let budget = match sampling {
            Sampling::Watched => u64::from(globals::BUDGET.load()),
            Sampling::Unjudged => UNJUDGED_BUDGET,
            _ => 0,
        };
        let (head, tail, end) = match (budget, len <= budget) {
            (0, _) => (0, 0, 0),
            (_, true) => (len, len, len),
            (_, false) => (budget - TAIL, len - TAIL, len),
        };
        let urgent = u32::from(sampling == Sampling::Unjudged);
        Self {
            at: 0,
            head,
            tail,
            end,
            first: flags::FIRST,
            complete: 0,
            urgent,
            _padding: 0,
        }
    }

    /// Bytes that are to be captured yet.
    #[inline(always)]
    fn left(&self) -> u64 {
        if self.at < self.head {
            (self.head - self.at) + (self.end - self.tail)
        } else {
            self.end - self.at.max(self.tail).min(self.end)
        }
    }
}

/// Ships the bytes of the record in the scratch memory at `depth` that lie in its segments, as
/// `sampling` says.
#[inline(always)]
pub(crate) fn ship(depth: u32, sampling: Sampling) {
    let Some(scratch) = scratch::at(depth) else { return };
    let extent = Extent::of(scratch.record.len, sampling);
    scratch.extent = extent;
    if sampling != Sampling::Metadata {
        count(Counter::OverBudget, extent.tail - extent.head);
        for _ in 0..MAX_STEPS {
            if ship_step(depth) == 0 {
                break;
            }
        }
    }
    let Some(Scratch { record, extent, .. }) = scratch::at(depth) else {
        return;
    };
    if extent.complete == 0 {
        // Metadata only, or the pieces ended early: say that no more will come.
        if sampling != Sampling::Metadata {
            count(Counter::Scattered, extent.left());
        }
        record.at = extent.at as u32;
        record.flags |= extent.first | flags::LAST;
        record.header.captured = 0;
        emit::<DataRecord>(wake(extent.urgent), 0, |to| {
            // SAFETY: `to` is a reserved ring entry of this type.
            unsafe { to.write(*record) }
        });
    }
}

/// Ships that the bytes of the record in the scratch memory at `depth` moved, unseen.
#[inline(always)]
pub(crate) fn ship_opaque(depth: u32) {
    let Some(Scratch { record, .. }) = scratch::at(depth) else {
        return;
    };
    record.flags |= flags::OPAQUE | flags::FIRST | flags::LAST;
    emit::<DataRecord>(Wake::Later, 0, |to| {
        // SAFETY: `to` is a reserved ring entry of this type.
        unsafe { to.write(*record) }
    });
}

/// Takes the next segment, ships the next piece or jumps over the part that is left out. 0 when
/// there is nothing to go on with.
///
/// Exported, and so a function of its own to the verifier, which checks it once for any scratch
/// memory instead of once for each path that leads here.
#[unsafe(no_mangle)]
extern "C" fn ship_step(depth: u32) -> u32 {
    scratch::at(depth).and_then(step).map_or(0, |()| 1)
}

#[inline(always)]
fn wake(urgent: u32) -> Wake {
    if urgent == 0 { Wake::Later } else { Wake::Now }
}

#[inline(always)]
fn step(scratch: &mut Scratch) -> Option<()> {
    let Extent {
        at, head, tail, end, ..
    } = scratch.extent;
    if at >= end {
        return None;
    }
    if scratch.segments.left == 0 {
        let next = scratch.segments.next();
        if next.is_none() {
            count(Counter::Unreadable, 1);
        }
        return next;
    }
    let boundary = if at < head {
        head
    } else if at < tail {
        tail
    } else {
        end
    };
    let run = scratch.segments.left.min(boundary - at);
    let moved = if at >= head && at < tail {
        run
    // More than half of a class takes that class; less goes in smaller pieces.
    } else if run > 8192 {
        piece::<16384>(scratch, run)
    } else if run > 2048 {
        piece::<4096>(scratch, run)
    } else if run > 512 {
        piece::<1024>(scratch, run)
    } else {
        piece::<256>(scratch, run)
    };
    scratch.extent.at += moved;
    scratch.segments.advance(moved);
    Some(())
}

/// Ships up to `N` of the next `run` bytes and gives how many.
#[inline(always)]
fn piece<const N: usize>(scratch: &mut Scratch, run: u64) -> u64 {
    let size = run.min(N as u64);
    let extent = &mut scratch.extent;
    let record = &mut scratch.record;
    record.at = extent.at as u32;
    record.flags &= !(flags::FIRST | flags::LAST);
    record.flags |= extent.first;
    extent.first = 0;
    if extent.at + size >= extent.end {
        record.flags |= flags::LAST;
        extent.complete = 1;
    }
    let base = scratch.segments.base;
    emit::<Chunk<N>>(wake(extent.urgent), size, |to| {
        // Bounded in the expression that passes it: 5.10's verifier forgets bounds of spilled values.
        let bounded = if size >= N as u64 {
            N as u32
        } else {
            size as u32 & (N as u32 - 1)
        };
        // SAFETY: `to` is a reserved ring entry of this type.
        let payload = unsafe { &raw mut (*to).payload }.cast::<c_void>();
        // SAFETY: `bounded` is at most N, the size of the payload; the helper checks the source.
        let failed = unsafe { bpf_probe_read_user(payload, bounded, base as *const c_void) } != 0;
        if failed {
            count(Counter::Unreadable, 1);
        }
        record.header.captured = if failed { 0 } else { bounded };
        // SAFETY: as above.
        unsafe { (&raw mut (*to).record).write(*record) };
    });
    size
}
