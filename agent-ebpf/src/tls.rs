//! Plaintext at the boundary of OpenSSL and BoringSSL, and which socket its ciphertext goes to.
//!
//! A session is bound to the socket that its next TLS record is written to by the same thread: a
//! library writes what it was given before the thread gives another session anything. What a
//! thread has read says less, for clients queue it first.

use agent_abi::{
    BindRecord, Counter, DataRecord, Header, Kind, Tcp, TlsCall, TlsKey, TlsPending, TlsSession, Totals, VerdictCode,
    flags,
};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use crate::capture::{self, Segments, read_user};
use crate::emit::{Wake, emit};
use crate::maps::{TLS_CALLS, TLS_PENDING, TLS_SESSIONS, add, count};
use crate::scope::Thread;
use crate::scratch::{self, with_scratch};
use crate::stream::{Sampling, Side, sample, verdict_on};
use crate::{socket, tcp, time};

/// ssl_write(ssl, buffer, length) and ssl_write_ex(ssl, buffer, length, *written).
#[uprobe]
pub(crate) fn ssl_write(ctx: ProbeContext) -> u32 {
    enter(&ctx, Side::Writer)
}

/// ssl_read(ssl, buffer, length) and ssl_read_ex(ssl, buffer, length, *read).
#[uprobe]
pub(crate) fn ssl_read(ctx: ProbeContext) -> u32 {
    enter(&ctx, Side::Reader)
}

/// SSL_write returns the number of bytes.
#[uretprobe]
pub(crate) fn ssl_write_return(ctx: RetProbeContext) -> u32 {
    leave(i64::from(ctx.ret::<i32>()), Side::Writer, false)
}

/// SSL_write_ex returns 1 and tells the number of bytes elsewhere.
#[uretprobe]
pub(crate) fn ssl_write_ex_return(ctx: RetProbeContext) -> u32 {
    leave(i64::from(ctx.ret::<i32>()), Side::Writer, true)
}

/// As [`ssl_write_return`].
#[uretprobe]
pub(crate) fn ssl_read_return(ctx: RetProbeContext) -> u32 {
    leave(i64::from(ctx.ret::<i32>()), Side::Reader, false)
}

/// As [`ssl_write_ex_return`].
#[uretprobe]
pub(crate) fn ssl_read_ex_return(ctx: RetProbeContext) -> u32 {
    leave(i64::from(ctx.ret::<i32>()), Side::Reader, true)
}

/// SSL_do_handshake(ssl), SSL_connect(ssl), SSL_accept(ssl): what goes out next is the session's.
#[uprobe]
pub(crate) fn ssl_handshake(ctx: ProbeContext) -> u32 {
    if let (Some(thread), Some(ssl)) = (Thread::in_scope(), ctx.arg::<u64>(0)) {
        shaking_hands(thread, ssl);
    }
    0
}

/// SSL_new() returns a session that has not moved a byte.
#[uretprobe]
pub(crate) fn ssl_new_return(ctx: RetProbeContext) -> u32 {
    let ssl = ctx.ret::<u64>();
    if let Some(thread) = Thread::in_scope()
        && ssl != 0
    {
        begin(key_of(thread, ssl), 1);
    }
    0
}

/// SSL_free(ssl): the next session may be at the same address.
#[uprobe]
pub(crate) fn ssl_free(ctx: ProbeContext) -> u32 {
    if let (Some(thread), Some(ssl)) = (Thread::in_scope(), ctx.arg::<u64>(0)) {
        // Gone already is as good.
        TLS_SESSIONS.remove(key_of(thread, ssl)).unwrap_or_default();
    }
    0
}

#[inline(always)]
fn key_of(thread: Thread, ssl: u64) -> TlsKey {
    TlsKey {
        ssl,
        tgid: thread.tgid(),
        reserved: 0,
    }
}

#[inline(always)]
fn begin(key: TlsKey, fresh: u32) {
    let session = TlsSession {
        // SAFETY: the helper has no preconditions.
        id: unsafe { bpf_ktime_get_ns() },
        socket: 0,
        sock: 0,
        written: 0,
        read: 0,
        sampled: 0,
        fresh,
        ignored: 0,
    };
    // The table makes room by itself; under contention it may not, and the session stays unseen.
    if TLS_SESSIONS.insert(key, session, 0).is_err() {
        count(Counter::StreamTableFull, 1);
    }
}

/// Until a session is bound, what its thread writes next may be its own.
#[inline(always)]
fn expect(thread: Thread, ssl: u64, gave: u32) {
    let pending = TlsPending { ssl, gave, reserved: 0 };
    // Without room the session is bound by a later write.
    TLS_PENDING.insert(thread.pid_tgid, pending, 0).unwrap_or_default();
}

#[inline(always)]
fn shaking_hands(thread: Thread, ssl: u64) {
    let key = key_of(thread, ssl);
    if TLS_SESSIONS.get_ptr(key).is_none() {
        begin(key, 0);
    }
    // SAFETY: the pointer is to a map value; its fields are plain words.
    if let Some(session) = TLS_SESSIONS.get_ptr(key)
        && unsafe { (*session).socket } == 0
    {
        expect(thread, ssl, 0);
    }
}

#[inline(always)]
fn enter(ctx: &ProbeContext, side: Side) -> u32 {
    let Some(thread) = Thread::in_scope() else { return 0 };
    let (Some(ssl), Some(buffer)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else {
        return 0;
    };
    let key = key_of(thread, ssl);
    if TLS_SESSIONS.get_ptr(key).is_none() {
        begin(key, 0);
    }
    let Some(session) = TLS_SESSIONS.get_ptr(key) else {
        return 0;
    };
    // SAFETY: as in `shaking_hands`.
    let (bound, ignored) = unsafe { ((*session).socket, (*session).ignored) };
    if bound == 0 {
        expect(thread, ssl, u32::from(side == Side::Writer));
    }
    if ignored != 0 {
        return 0;
    }
    let call = TlsCall {
        ssl,
        buffer,
        moved: ctx.arg::<u64>(3).unwrap_or(0),
        // SAFETY: the helper has no preconditions.
        entered: unsafe { bpf_ktime_get_ns() },
    };
    // Without room the call goes unseen, and the session's offsets say so.
    TLS_CALLS.insert(thread.pid_tgid, call, 0).unwrap_or_default();
    0
}

#[inline(always)]
fn leave(result: i64, side: Side, indirect: bool) -> u32 {
    let thread = Thread::current();
    // SAFETY: a thread's entry is its own.
    let Some(call) = (unsafe { TLS_CALLS.get(thread.pid_tgid) }) else {
        return 0;
    };
    let (ssl, buffer, moved, entered) = (call.ssl, call.buffer, call.moved, call.entered);
    // Gone already is as good.
    TLS_CALLS.remove(thread.pid_tgid).unwrap_or_default();
    if result <= 0 {
        return 0;
    }
    let len = if indirect {
        read_user::<u64>(moved).unwrap_or(0)
    } else {
        result as u64
    };
    if len == 0 {
        return 0;
    }
    let Some(session) = TLS_SESSIONS.get_ptr_mut(key_of(thread, ssl)) else {
        return 0;
    };
    // SAFETY: the pointer is to a map value; its fields are plain words.
    moved_plaintext(thread, unsafe { &mut *session }, side, buffer, len, entered);
    0
}

#[inline(always)]
fn moved_plaintext(thread: Thread, session: &mut TlsSession, side: Side, buffer: u64, len: u64, entered: u64) {
    let reads = side == Side::Reader;
    // Of no kernel address: those have the topmost bit.
    let key = session.id << 1 | u64::from(reads);
    let (verdict, grants) = verdict_on(key, 0);
    if verdict == VerdictCode::Ignore as u32 {
        session.ignored = 1;
        return;
    }
    let offset = if reads {
        add(&mut session.read, len)
    } else {
        add(&mut session.written, len)
    };
    let judged = verdict == VerdictCode::Watch as u32 || verdict == VerdictCode::Timing as u32;
    let sampling = if verdict == VerdictCode::Timing as u32 {
        Sampling::Metadata
    } else if judged {
        Sampling::Watched
    } else {
        sample(&mut session.sampled, grants, len)
    };
    let fresh = if session.fresh != 0 { flags::FRESH } else { 0 };
    let unjudged = if judged { 0 } else { flags::UNJUDGED };
    let side = if reads { flags::READ } else { 0 };
    let done = with_scratch(|depth| {
        // Written in place: the stack has no room for a record.
        if let Some(scratch) = scratch::at(depth) {
            scratch.segments = Segments::contiguous(buffer, len);
            scratch.record = DataRecord {
                header: Header {
                    kind: Kind::Data as u32,
                    captured: 0,
                    tgid: thread.tgid(),
                    tid: thread.tid(),
                },
                stream: key,
                key,
                pair: session.id,
                ino: 0,
                entered,
                // SAFETY: the helper has no preconditions.
                exited: unsafe { bpf_ktime_get_ns() },
                offset,
                len,
                at: 0,
                flags: flags::TLS | fresh | unjudged | side,
                totals: Totals::default(),
                tcp: if session.sock == 0 {
                    Tcp::default()
                } else {
                    tcp::measured(session.sock)
                },
            };
        }
        time::account(depth);
        capture::ship(depth, sampling);
    });
    if !done {
        count(Counter::ScratchBusy, 1);
    }
}

/// First bytes of a TLS record (RFC 8446, section 5.1): its type and the version that it claims.
#[inline(always)]
fn is_record(first: u32) -> bool {
    let bytes = first.to_ne_bytes();
    matches!(bytes[0], 0x14..=0x17) && bytes[1] == 3 && bytes[2] <= 4
}

/// `thread` has written to the TCP socket `socket`, whose sock is at `sock`; the first of the bytes
/// are at `bytes` in its memory.
#[inline(always)]
pub(crate) fn sent(thread: Thread, socket: u64, sock: u64, bytes: u64) {
    if TLS_PENDING.get_ptr(thread.pid_tgid).is_some() {
        bind(thread.pid_tgid, socket, sock, bytes);
    }
}

/// Binds the session that `pid_tgid` has last given something to the socket that it now writes to.
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
extern "C" fn bind(pid_tgid: u64, socket: u64, sock: u64, bytes: u64) -> u32 {
    if !read_user::<u32>(bytes).is_some_and(is_record) {
        return 0;
    }
    // SAFETY: a thread's entry is its own.
    let Some(pending) = (unsafe { TLS_PENDING.get(pid_tgid) }) else {
        return 0;
    };
    let ssl = pending.ssl;
    // Gone already is as good.
    TLS_PENDING.remove(pid_tgid).unwrap_or_default();
    let thread = Thread { pid_tgid };
    let Some(session) = TLS_SESSIONS.get_ptr_mut(key_of(thread, ssl)) else {
        return 0;
    };
    // SAFETY: the pointer is to a map value; its fields are plain words.
    let session = unsafe { &mut *session };
    if session.socket != 0 {
        return 0;
    }
    session.socket = socket;
    session.sock = sock;
    session.ignored = u32::from(socket::endpoint_verdict(sock) == VerdictCode::Ignore as u32);
    let id = session.id;
    let told = emit::<BindRecord>(Wake::Later, 0, |to| {
        // SAFETY: `to` is a reserved ring entry of this type.
        unsafe {
            to.write(BindRecord {
                header: Header {
                    kind: Kind::Bind as u32,
                    captured: 0,
                    tgid: thread.tgid(),
                    tid: thread.tid(),
                },
                at: bpf_ktime_get_ns(),
                session: id,
                socket,
            })
        };
    });
    u32::from(told)
}
