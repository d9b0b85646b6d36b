//! rustls 0.23 where its symbols remain. Writes are seen where the connection takes them. Reads are
//! inlined; what they will find is seen where the connection appends decrypted bytes to a buffer
//! inside of it, on the thread that has just read ciphertext for it.
//!
//! A connection is moved in memory once its handshake is done, and where it ends is not seen. It is
//! known again by what does not move: the storage of its buffer of records to send.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{map, uprobe, uretprobe};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use super::bind::{Act, is_handshake, record_type, touch_session};
use super::call::{Call, Frame};
use super::{plaintext, registers, session};
use crate::capture::read_user;
use crate::scope::Thread;

/// Threads whose last connection is kept.
const MAX_READERS: u32 = 4096;
/// A `ConnectionCommon` is smaller than this.
const CONNECTION_SIZE: u64 = 4096;
/// A record's plaintext is at most this long (RFC 8446, section 5.1).
const MAX_PLAINTEXT: u64 = 1 << 14;

/// The connection that a thread has last read ciphertext for.
#[map]
static READERS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(MAX_READERS, 0);

/// Storages, connections and processes that are kept.
const MAX_KEPT: u32 = 4096;
/// Words of a buffer: of these its storage's address is the only one that is large.
const BUFFER_WORDS: usize = 7;
const LARGE: u64 = 1 << 32;

/// Something in the memory of a process.
#[repr(C)]
#[derive(Clone, Copy)]
struct Place {
    address: u64,
    tgid: u64,
}

/// Connections that have not written yet: the connection by its buffer's storage, and the storage by the
/// connection.
#[map]
static UNSETTLED: LruHashMap<Place, u64> = LruHashMap::with_max_entries(MAX_KEPT, 0);

/// Where the buffer is in the connections of a process, of clients and of servers.
#[map]
static BUFFERS: LruHashMap<u64, [u64; 2]> = LruHashMap::with_max_entries(MAX_KEPT, 0);

/// A `Vec<u8>`, as far as its fields have had this order since 2023.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Vector {
    capacity: u64,
    address: u64,
    len: u64,
}

/// PlaintextSink::write(connection, bytes, length)
#[uprobe]
pub(crate) fn rustls_write(ctx: ProbeContext) -> u32 {
    entered(&ctx, 0)
}

/// PlaintextSink::write_vectored(connection, slices, count); an `IoSlice` is a `struct iovec`.
#[uprobe]
pub(crate) fn rustls_write_vectored(ctx: ProbeContext) -> u32 {
    entered(&ctx, ctx.arg(2).unwrap_or(0))
}

/// The return of both: `io::Result<usize>`, which is 0 and a number when all is well.
#[uretprobe]
pub(crate) fn rustls_return(ctx: RetProbeContext) -> u32 {
    let frame = Frame {
        runs: Thread::current().pid_tgid,
        at: registers::stack_pointer(&ctx) - registers::RETURN_ADDRESS,
    };
    if let Some(call) = frame.leave()
        && ctx.ret::<u64>() == 0
    {
        let len = registers::second_result(&ctx);
        if len != 0 {
            plaintext::moved(&call, len);
        }
    }
    0
}

/// ConnectionCommon::read_tls(connection, reader)
#[uprobe]
pub(crate) fn rustls_read_tls(ctx: ProbeContext) -> u32 {
    if let (Some(connection), Some(thread)) = (ctx.arg::<u64>(0), Thread::in_scope()) {
        READERS.insert(thread.pid_tgid, connection, 0).unwrap_or_default();
        settle(connection, 0);
    }
    0
}

/// ChunkVecBuffer::append(buffer, vector): of plaintext that was received, or of records to send.
#[uprobe]
pub(crate) fn rustls_append(ctx: ProbeContext) -> u32 {
    // None: not of a connection that is known, or of no interest.
    appended(&ctx).unwrap_or_default();
    0
}

#[inline(always)]
fn appended(ctx: &ProbeContext) -> Option<()> {
    let thread = Thread::in_scope()?;
    let (buffer, vector): (u64, u64) = (ctx.arg(0)?, ctx.arg(1)?);
    // SAFETY: only this thread's programs touch its entry.
    let connection = *unsafe { READERS.get(thread.pid_tgid) }?;
    let offset = buffer.wrapping_sub(connection);
    if offset >= CONNECTION_SIZE {
        return None;
    }
    let Vector { capacity, address, len } = read_user::<Vector>(vector)?;
    let record = record_type(address);
    let mut call = Call {
        object: connection,
        buffer,
        buffers: 0,
        counted_at: 0,
        // SAFETY: the helper has no preconditions.
        entered: unsafe { bpf_ktime_get_ns() },
        read: 1,
    };
    if record == 0 {
        if len == 0 || len > MAX_PLAINTEXT || len > capacity {
            return None;
        }
        call.buffer = address;
        plaintext::moved(&call, len);
        return Some(());
    }
    if is_handshake(record) {
        // Whatever was here before has ended.
        session::end(thread, connection);
        note_buffer(thread, offset);
    } else {
        // SAFETY: as in `note_buffer`.
        let known = unsafe { BUFFERS.get(u64::from(thread.tgid())) }?;
        // A buffer elsewhere is that of a neighbour.
        if known[0] != offset && known[1] != offset {
            return None;
        }
        UNSETTLED.get_ptr(place(thread, connection))?;
    }
    frame(ctx, thread).enter(&call);
    Some(())
}

/// The return of ChunkVecBuffer::append: now the buffer has storage.
#[uretprobe]
pub(crate) fn rustls_append_return(ctx: RetProbeContext) -> u32 {
    let thread = Thread::current();
    let returned = Frame {
        runs: thread.pid_tgid,
        at: registers::stack_pointer(&ctx) - registers::RETURN_ADDRESS,
    };
    if let Some(call) = returned.leave()
        && let Some(storage) = storage_of(call.buffer)
    {
        // It grows by moving.
        forget(thread, call.object);
        UNSETTLED
            .insert(place(thread, storage), call.object, 0)
            .unwrap_or_default();
        UNSETTLED
            .insert(place(thread, call.object), storage, 0)
            .unwrap_or_default();
    }
    0
}

#[inline(always)]
fn place(thread: Thread, address: u64) -> Place {
    Place {
        address,
        tgid: u64::from(thread.tgid()),
    }
}

/// The connection at `address`, which may be moved, has this storage.
#[inline(always)]
fn remember(thread: Thread, address: u64, storage: u64) {
    UNSETTLED.insert(place(thread, storage), address, 0).unwrap_or_default();
    UNSETTLED.insert(place(thread, address), storage, 0).unwrap_or_default();
}

/// The connection at `address` is moved no more, or has a new storage.
#[inline(always)]
fn forget(thread: Thread, address: u64) {
    // SAFETY: the value is one word.
    if let Some(&storage) = unsafe { UNSETTLED.get(place(thread, address)) } {
        UNSETTLED.remove(place(thread, storage)).unwrap_or_default();
        UNSETTLED.remove(place(thread, address)).unwrap_or_default();
    }
}

/// Address of the storage of the buffer at `address`.
#[inline(always)]
fn storage_of(address: u64) -> Option<u64> {
    let words = read_user::<[u64; BUFFER_WORDS]>(address)?;
    words.into_iter().find(|word| *word >= LARGE)
}

/// Notes where the buffer is in connections of this process.
#[inline(always)]
fn note_buffer(thread: Thread, offset: u64) {
    let tgid = u64::from(thread.tgid());
    // SAFETY: the value is only replaced whole.
    let [first, second] = unsafe { BUFFERS.get(tgid) }.copied().unwrap_or([offset; 2]);
    if offset != first && offset != second {
        BUFFERS.insert(tgid, [offset, first], 0).unwrap_or_default();
    } else if BUFFERS.get_ptr(tgid).is_none() {
        BUFFERS.insert(tgid, [offset; 2], 0).unwrap_or_default();
    }
}

/// The connection at `address` is used, to write when `writes` is 1: it may be one that was moved
/// here after its handshake.
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn settle(address: u64, writes: u32) -> u32 {
    let thread = Thread::current();
    // SAFETY: as in `note_buffer`.
    let Some(&[first, second]) = (unsafe { BUFFERS.get(u64::from(thread.tgid())) }) else {
        return 0;
    };
    settle_by(address, first, writes);
    if second != first {
        settle_by(address, second, writes);
    }
    0
}

/// As `settle`, where the buffer is at `offset`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn settle_by(address: u64, offset: u64, writes: u32) -> u32 {
    let thread = Thread::current();
    let Some(storage) = storage_of(address + offset) else {
        return 0;
    };
    // SAFETY: the value is one word.
    let Some(&before) = (unsafe { UNSETTLED.get(place(thread, storage)) }) else {
        return 0;
    };
    if before == address {
        // It reads while it shakes hands, too.
        if writes != 0 {
            forget(thread, address);
        }
        return 0;
    }
    forget(thread, before);
    session::move_session(before, address);
    if writes == 0 {
        // A server that looks at the first bytes to tell the protocol may move it again.
        remember(thread, address, storage);
    }
    1
}

/// The end of a connection.
#[uprobe]
pub(crate) fn rustls_drop(ctx: ProbeContext) -> u32 {
    if let (Some(connection), Some(thread)) = (ctx.arg::<u64>(0), Thread::in_scope()) {
        session::end(thread, connection);
    }
    0
}

#[inline(always)]
fn frame(ctx: &ProbeContext, thread: Thread) -> Frame {
    Frame {
        runs: thread.pid_tgid,
        at: registers::stack_pointer(ctx),
    }
}

#[inline(always)]
fn entered(ctx: &ProbeContext, buffers: u64) -> u32 {
    let Some(thread) = Thread::in_scope() else { return 0 };
    let (Some(object), Some(buffer)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else {
        return 0;
    };
    settle(object, 1);
    if touch_session(object, Act::Write as u32) == 0 {
        return 0;
    }
    frame(ctx, thread).enter(&Call {
        object,
        buffer,
        buffers,
        counted_at: 0,
        // SAFETY: the helper has no preconditions.
        entered: unsafe { bpf_ktime_get_ns() },
        read: 0,
    });
    0
}
