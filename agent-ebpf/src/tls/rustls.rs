//! rustls 0.23 where its symbols remain. Writes are seen where the connection takes them. Reads are
//! inlined; what they will find is seen where the connection appends decrypted bytes to a buffer
//! inside of it, on the thread that has just read ciphertext for it.
//!
//! A connection is a value that moves: into the task of its handshake, from there to an HTTP
//! implementation that guesses the version, and on to the one that speaks it. What stays is its
//! socket: a connection at a new address goes on where the last one on its socket was.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{map, uprobe, uretprobe};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use super::bind::{Act, carry, is_handshake, record_type, touch_session};
use super::call::{Call, Frame};
use super::session::{self, Object, Session};
use super::{plaintext, registers};
use crate::capture::read_user;
use crate::scope::Thread;

/// Threads whose last reading is kept, and sockets.
const MAX_KEPT: u32 = 8192;
/// A record's plaintext is at most this long (RFC 8446, section 5.1).
const MAX_PLAINTEXT: u64 = 1 << 14;
/// A TLS record's type, version and length.
const RECORD_HEADER: u64 = 5;

/// What a thread has last read ciphertext for.
#[repr(C)]
#[derive(Clone, Copy)]
struct Reading {
    /// Address of the connection.
    connection: u64,
    /// When it began.
    entered: u64,
    /// The socket that was read since; 0 when none was.
    socket: u64,
    /// Address of that socket's sock.
    sock: u64,
}

/// Readings by thread.
#[map]
static READINGS: LruHashMap<u64, Reading> = LruHashMap::with_max_entries(MAX_KEPT, 0);

/// Which connection a socket carries.
#[repr(C)]
#[derive(Clone, Copy)]
struct Carried {
    /// Identity of the socket: the sock's address is used again.
    socket: u64,
    /// Address of the connection; 0 while there has been a handshake only.
    connection: u64,
}

/// Connections by their socket's sock.
#[map]
static CARRIED: LruHashMap<u64, Carried> = LruHashMap::with_max_entries(MAX_KEPT, 0);

/// A `Vec<u8>`: the compiler may put capacity and address in either order.
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
        let reading = Reading {
            connection,
            // SAFETY: the helper has no preconditions.
            entered: unsafe { bpf_ktime_get_ns() },
            socket: 0,
            sock: 0,
        };
        READINGS.insert(thread.pid_tgid, reading, 0).unwrap_or_default();
    }
    0
}

/// `thread` has read from the TCP socket `socket`, whose sock is at `sock`.
#[inline(always)]
pub(crate) fn received(thread: Thread, socket: u64, sock: u64) {
    if let Some(reading) = READINGS.get_ptr_mut(thread.pid_tgid) {
        // SAFETY: only this thread's programs touch its entry.
        let reading = unsafe { &mut *reading };
        reading.socket = socket;
        reading.sock = sock;
    }
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
    let vector: u64 = ctx.arg(1)?;
    // SAFETY: only this thread's programs touch its entry.
    let &reading = unsafe { READINGS.get(thread.pid_tgid) }?;
    let Vector { capacity, address, len } = read_user::<Vector>(vector)?;
    // No buffer is as long as addresses are high.
    let (address, capacity) = (address.max(capacity), address.min(capacity));
    if len == 0 || len > capacity {
        return None;
    }
    let record = record_type(address);
    if record != 0 && is_whole_record(address, len) {
        if is_handshake(record) {
            // Whatever was here before has ended.
            session::end(thread, reading.connection);
            if reading.socket != 0 {
                shook_hands(&reading);
            }
        }
        return None;
    }
    if len > MAX_PLAINTEXT {
        return None;
    }
    if reading.socket != 0 {
        resume(reading.socket, reading.sock, reading.connection);
    }
    plaintext::moved(
        &Call {
            object: reading.connection,
            buffer: address,
            buffers: 0,
            counted_at: 0,
            entered: reading.entered,
            read: 1,
        },
        len,
    );
    Some(())
}

/// Whether the TLS record that begins at `address` is `len` bytes long.
#[inline(always)]
fn is_whole_record(address: u64, len: u64) -> bool {
    let [high, low] = read_user::<[u8; 2]>(address + 3).unwrap_or_default();
    u64::from(u16::from_be_bytes([high, low])) + RECORD_HEADER == len
}

/// Nothing has been told yet over the socket that is read.
#[inline(always)]
fn shook_hands(reading: &Reading) {
    let carried = Carried {
        socket: reading.socket,
        connection: 0,
    };
    // Without room the session counts as one that was joined midway.
    CARRIED.insert(reading.sock, carried, 0).unwrap_or_default();
}

/// The current process's connection at `address` reads from this socket: goes on with what the socket
/// has carried at another address.
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn resume(socket: u64, sock: u64, address: u64) -> u32 {
    let thread = Thread::current();
    if let Some(session) = session::known(Object::of(thread, address)) {
        if session.socket == socket {
            return 0;
        }
        if session.socket != 0 {
            // An earlier one's, which has moved on.
            session::end(thread, address);
        }
    }
    if session::known(Object::of(thread, address)).is_none() {
        // SAFETY: the value is replaced whole.
        let before = match unsafe { CARRIED.get(sock) } {
            Some(carried) if carried.socket == socket => carried.connection,
            _ => 0,
        };
        if before != 0 && before != address && session::move_session(before, address) != 0 {
            note_carried(socket, sock, address);
            return 1;
        }
        session::begin_session(address, session::MOVES);
    }
    carry(socket, sock, address)
}

#[inline(always)]
fn note_carried(socket: u64, sock: u64, connection: u64) {
    // Without room the session begins anew when it has moved.
    CARRIED
        .insert(sock, Carried { socket, connection }, 0)
        .unwrap_or_default();
}

/// The connection at `address` has just been bound to the socket of its session: goes on with what
/// that has carried at another address, and gives how much was written and read there.
#[inline(always)]
pub(super) fn go_on(thread: Thread, session: &mut Session, address: u64) -> [u64; 2] {
    let mut moved = [0; 2];
    // SAFETY: the value is replaced whole.
    if let Some(&carried) = unsafe { CARRIED.get(session.sock) }
        && carried.socket == session.socket
    {
        let before = carried.connection;
        if before == 0 {
            session.fresh = 1;
        } else if before != address
            && let Some(earlier) = session::known(Object::of(thread, before))
            && earlier.socket == session.socket
        {
            moved = [earlier.written, earlier.read];
            session.id = earlier.id;
            session.written += moved[0];
            session.read += moved[1];
            session.written_unjudged += earlier.written_unjudged;
            session.read_unjudged += earlier.read_unjudged;
            session.fresh = earlier.fresh;
            session::forget(thread, before);
        }
    }
    note_carried(session.socket, session.sock, address);
    moved
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
    // What a connection appends while it is written to, it sends.
    READINGS.remove(thread.pid_tgid).unwrap_or_default();
    if session::known(Object::of(thread, object)).is_none() {
        session::begin_session(object, session::MOVES);
    }
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
