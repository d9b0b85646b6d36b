//! rustls 0.23 where its symbols remain. Writes are seen where the connection takes them. Reads are
//! inlined; what they will find is seen where the connection appends decrypted bytes to a buffer
//! inside of it, on the thread that has just read ciphertext for it.
//!
//! A connection is moved in memory once its handshake is done, and by then may have received
//! plaintext. It is known again by what does not move: the storage of that buffer.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{map, uprobe, uretprobe};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use super::bind::{Act, begins_tls, touch_session};
use super::call::{Call, Frame};
use super::session::Object;
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

/// Storages and processes that are kept.
const MAX_STORAGES: u32 = 2048;
/// Words of a buffer: of these its storage's address is the only one that is large.
const BUFFER_WORDS: usize = 7;
const LARGE: u64 = 1 << 32;

/// The storage of a buffer of received plaintext.
#[repr(C)]
#[derive(Clone, Copy)]
struct Storage {
    address: u64,
    tgid: u64,
}

/// Connections whose plaintext nobody has read yet, by the storage of its buffer.
#[map]
static UNSETTLED: LruHashMap<Storage, u64> = LruHashMap::with_max_entries(MAX_STORAGES, 0);

/// Where the buffer is in the connections of a process, of clients and of servers.
#[map]
static BUFFERS: LruHashMap<u64, [u64; 2]> = LruHashMap::with_max_entries(MAX_STORAGES, 0);

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
        settle(thread, connection);
    }
    0
}

/// ChunkVecBuffer::append(buffer, vector): of plaintext that was received, or of records to send.
#[uprobe]
pub(crate) fn rustls_append(ctx: ProbeContext) -> u32 {
    // None: not plaintext, or not of a connection that is known.
    received(&ctx).unwrap_or_default();
    0
}

#[inline(always)]
fn received(ctx: &ProbeContext) -> Option<()> {
    let thread = Thread::in_scope()?;
    let (buffer, vector): (u64, u64) = (ctx.arg(0)?, ctx.arg(1)?);
    // SAFETY: only this thread's programs touch its entry.
    let connection = *unsafe { READERS.get(thread.pid_tgid) }?;
    if buffer.wrapping_sub(connection) >= CONNECTION_SIZE {
        return None;
    }
    let Vector { capacity, address, len } = read_user::<Vector>(vector)?;
    if len == 0 || len > MAX_PLAINTEXT || len > capacity || begins_tls(address) {
        return None;
    }
    plaintext::moved(
        &Call {
            object: connection,
            buffer: address,
            buffers: 0,
            counted_at: 0,
            // SAFETY: the helper has no preconditions.
            entered: unsafe { bpf_ktime_get_ns() },
            read: 1,
        },
        len,
    );
    // Until it writes it may be moved.
    if session::known(Object::of(thread, connection)).is_some_and(|session| session.written == 0) {
        note_buffer(thread, buffer - connection);
        frame(ctx, thread).enter(&Call {
            object: connection,
            buffer,
            buffers: 0,
            counted_at: 0,
            entered: 0,
            read: 1,
        });
    }
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
        && let Some(storage) = storage_of(thread, call.buffer)
    {
        UNSETTLED.insert(storage, call.object, 0).unwrap_or_default();
    }
    0
}

/// The storage of the buffer at `address`.
#[inline(always)]
fn storage_of(thread: Thread, address: u64) -> Option<Storage> {
    let words = read_user::<[u64; BUFFER_WORDS]>(address)?;
    let address = words.into_iter().find(|word| *word >= LARGE)?;
    Some(Storage {
        address,
        tgid: u64::from(thread.tgid()),
    })
}

/// Notes where the buffer is in connections of this process.
#[inline(always)]
fn note_buffer(thread: Thread, offset: u64) {
    let tgid = u64::from(thread.tgid());
    // SAFETY: the value is only replaced whole.
    let [first, _] = unsafe { BUFFERS.get(tgid) }.copied().unwrap_or([offset; 2]);
    BUFFERS.insert(tgid, [offset, first], 0).unwrap_or_default();
}

/// A connection is used: if it is not known here, it may be one that was moved.
#[inline(always)]
fn settle(thread: Thread, connection: u64) {
    if session::known(Object::of(thread, connection)).is_none() {
        settle_connection(connection);
    }
}

/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn settle_connection(connection: u64) -> u32 {
    let thread = Thread::current();
    // SAFETY: as in `note_buffer`.
    let Some(&[first, second]) = (unsafe { BUFFERS.get(u64::from(thread.tgid())) }) else {
        return 0;
    };
    settle_at(thread, connection, first);
    if second != first {
        settle_at(thread, connection, second);
    }
    0
}

#[inline(always)]
fn settle_at(thread: Thread, connection: u64, offset: u64) {
    let Some(storage) = storage_of(thread, connection + offset) else {
        return;
    };
    // SAFETY: the value is one word.
    let Some(&before) = (unsafe { UNSETTLED.get(storage) }) else {
        return;
    };
    UNSETTLED.remove(storage).unwrap_or_default();
    if before != connection {
        session::move_session(before, connection);
    }
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
    settle(thread, object);
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
