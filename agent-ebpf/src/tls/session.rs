//! TLS sessions: one for each life of a library's connection object.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;

use crate::maps::VERDICTS;
use crate::scope::Thread;
use crate::{globals, walk};

/// Sessions that state is kept of; the least recently used give way.
const MAX_SESSIONS: u32 = 8192;

/// A connection object of a library.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Object {
    address: u64,
    tgid: u64,
}

impl Object {
    #[inline(always)]
    pub(super) fn of(thread: Thread, address: u64) -> Self {
        Self {
            address,
            tgid: u64::from(thread.tgid()),
        }
    }
}

/// One life of an object.
#[repr(C)]
pub(super) struct Session {
    /// Identity: unique while the agent runs.
    pub(super) id: u64,
    /// The address space that the object is in: an address means another object after an exec.
    mm: u64,
    /// Identity of its socket; 0 until it is known.
    pub(super) socket: u64,
    /// Address of that socket's sock.
    pub(super) sock: u64,
    /// Plaintext written, since observation began.
    pub(super) written: u64,
    /// Plaintext read, since observation began.
    pub(super) read: u64,
    /// Bytes written while there was no verdict: each direction has an allowance of its own.
    pub(super) written_unjudged: u64,
    /// Bytes read while there was no verdict.
    pub(super) read_unjudged: u64,
    /// Whether it was seen from its handshake on.
    pub(super) fresh: u32,
    /// Whether nobody wants what its socket carries.
    pub(super) ignored: u32,
    /// Whether its object may move in memory, as values of Rust do.
    pub(super) moves: u32,
    reserved: u32,
}

/// Begun with its handshake.
pub(super) const FRESH: u32 = 1;
/// Of an object that moves.
pub(super) const MOVES: u32 = 2;

impl Session {
    /// Identity of one direction's stream, and the key of its verdict: no kernel address, for those
    /// have the topmost bit.
    #[inline(always)]
    pub(super) fn stream(&self, read: bool) -> u64 {
        self.id << 1 | u64::from(read)
    }
}

#[map]
static SESSIONS: LruHashMap<Object, Session> = LruHashMap::with_max_entries(MAX_SESSIONS, 0);

/// The session of an object, if one is known.
#[inline(always)]
pub(super) fn known<'a>(object: Object) -> Option<&'a mut Session> {
    let session = SESSIONS.get_ptr_mut(object)?;
    // SAFETY: the pointer is to a map value, which lives as long as the program runs; its fields
    // are words, and a library lets one thread at a time use an object.
    Some(unsafe { &mut *session })
}

/// The session of an object, begun here if need be.
#[inline(always)]
pub(super) fn of<'a>(thread: Thread, address: u64) -> Option<&'a mut Session> {
    let object = Object::of(thread, address);
    if let Some(session) = known(object)
        && session.mm == mm()
    {
        return Some(session);
    }
    begin_session(address, 0);
    known(object)
}

/// The current thread's address space.
#[inline(always)]
fn mm() -> u64 {
    walk::follow(walk::current_task(), &globals::TASK_MM).unwrap_or(0)
}

/// Begins a session of the current process's object at `address`, whatever was known of it. `kind` is
/// made of [`FRESH`] and [`MOVES`].
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn begin_session(address: u64, kind: u32) -> u32 {
    let session = Session {
        // SAFETY: the helper has no preconditions.
        id: unsafe { bpf_ktime_get_ns() },
        mm: mm(),
        socket: 0,
        sock: 0,
        written: 0,
        read: 0,
        written_unjudged: 0,
        read_unjudged: 0,
        fresh: kind & FRESH,
        ignored: 0,
        moves: u32::from(kind & MOVES != 0),
        reserved: 0,
    };
    let object = Object::of(Thread::current(), address);
    // The table makes room by itself; under contention it may not, and the next call tries again.
    SESSIONS.insert(object, session, 0).unwrap_or_default();
    0
}

/// The current process's object at `from` is at `to` now.
///
/// Exported as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn move_session(from: u64, to: u64) -> u32 {
    let thread = Thread::current();
    let moved = Object::of(thread, from);
    let Some(session) = known(moved) else { return 0 };
    SESSIONS
        .insert(Object::of(thread, to), &*session, 0)
        .unwrap_or_default();
    // Its streams go on: their verdicts stay.
    SESSIONS.remove(moved).unwrap_or_default();
    1
}

/// The object at `address` forgets what it has moved: another session, unless that is nothing.
#[inline(always)]
pub(super) fn renew(thread: Thread, address: u64) {
    match known(Object::of(thread, address)) {
        Some(session) if session.mm == mm() && session.written == 0 && session.read == 0 => session.fresh = 1,
        _ => {
            begin_session(address, FRESH);
        }
    }
}

/// Ends the session of the object at `address`, which the library is about to free.
#[inline(always)]
pub(super) fn end(thread: Thread, address: u64) {
    let object = Object::of(thread, address);
    if let Some(session) = known(object) {
        for key in [session.stream(false), session.stream(true)] {
            // Gone already is as good.
            VERDICTS.remove(key).unwrap_or_default();
        }
    }
    SESSIONS.remove(object).unwrap_or_default();
}

/// The session of the object at `address` goes on at another.
#[inline(always)]
pub(super) fn forget(thread: Thread, address: u64) {
    // Gone already is as good.
    SESSIONS.remove(Object::of(thread, address)).unwrap_or_default();
}
