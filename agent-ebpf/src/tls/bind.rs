//! Which socket a session runs over: the first TLS record that a thread sends after it has written
//! to a session, or taken part in its handshake, is that session's.

use agent_abi::{BindRecord, Header, Kind, VerdictCode};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;

use super::rustls;
use super::session::{self, Object};
use crate::capture::read_user;
use crate::emit::{Wake, emit};
use crate::scope::Thread;
use crate::socket::endpoint_verdict;
use crate::stream::verdict_on;

/// What a thread does with a session.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Anything that moves no plaintext.
    Handshake = 0,
    Write = 1,
    /// Which may be part of the handshake too.
    Read = 2,
}

/// The last session that a thread has touched, while its socket is not known.
#[repr(C)]
#[derive(Clone, Copy)]
struct Note {
    address: u64,
    session: u64,
    /// An [`Act`].
    act: u64,
}

/// Threads whose note is kept.
const MAX_NOTES: u32 = 4096;

/// Notes by thread.
#[map]
static NOTES: LruHashMap<u64, Note> = LruHashMap::with_max_entries(MAX_NOTES, 0);

/// Notes that the current thread does `act` with its process's object at `address`, and whether
/// anybody wants what that moves: 0 when not.
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn touch_session(address: u64, act: u32) -> u32 {
    let thread = Thread::current();
    let Some(session) = session::of(thread, address) else {
        return 0;
    };
    if session.socket == 0 {
        let note = Note {
            address,
            session: session.id,
            act: u64::from(act),
        };
        NOTES.insert(thread.pid_tgid, note, 0).unwrap_or_default();
    } else {
        // What this thread sends next may be this session's: no other one's note is worth keeping.
        NOTES.remove(thread.pid_tgid).unwrap_or_default();
    }
    let stream = session.stream(act == Act::Read as u32);
    u32::from(session.ignored == 0 && verdict_on(stream, 0).0 != VerdictCode::Ignore as u32)
}

/// `thread` has written to the TCP socket `socket`, whose sock is at `sock`; the first of the bytes
/// are at `bytes` in its memory.
#[inline(always)]
pub(crate) fn sent(thread: Thread, socket: u64, sock: u64, bytes: u64) {
    // SAFETY: only this thread's programs touch its note.
    if unsafe { NOTES.get(thread.pid_tgid) }.is_some() {
        // One after the other and not one in the other: 5.10 allows a chain of calls 512 bytes of stack.
        let address = session_of(bytes);
        if address != 0 {
            carry(socket, sock, address);
        }
    }
}

/// Address of the object whose session the current thread sends for, when its first record is at
/// `bytes`; 0 when it is nobody's.
///
/// Exported as above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn session_of(bytes: u64) -> u64 {
    let thread = Thread::current();
    // SAFETY: as in `sent`.
    let Some(&note) = (unsafe { NOTES.get(thread.pid_tgid) }) else {
        return 0;
    };
    if !begins_record(bytes, note.act == Act::Write as u64) {
        return 0;
    }
    NOTES.remove(thread.pid_tgid).unwrap_or_default();
    let Some(session) = session::known(Object::of(thread, note.address)) else {
        return 0;
    };
    if session.id == note.session { note.address } else { 0 }
}

/// The current process's object at `address` runs over this socket from now on, which the agent is
/// told, unless it knows.
///
/// Exported as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn carry(socket: u64, sock: u64, address: u64) -> u32 {
    let thread = Thread::current();
    let Some(session) = session::known(Object::of(thread, address)) else {
        return 0;
    };
    if session.socket == socket {
        return 0;
    }
    session.socket = socket;
    session.sock = sock;
    session.ignored = u32::from(endpoint_verdict(sock) == VerdictCode::Ignore as u32);
    let id = session.id;
    let before = if session.moves == 0 {
        [0; 2]
    } else {
        rustls::go_on(thread, session, address)
    };
    emit::<BindRecord>(Wake::Later, 0, |to| {
        let header = Header {
            kind: Kind::Bind as u32,
            captured: 0,
            tgid: thread.tgid(),
            tid: thread.tid(),
        };
        // SAFETY: the helper has no preconditions.
        let at = unsafe { bpf_ktime_get_ns() };
        // SAFETY: `to` is a reserved ring entry of this type.
        unsafe {
            to.write(BindRecord {
                header,
                at,
                session: id,
                socket,
                written: before[0],
                read: before[1],
                fresh: session.fresh,
                moves: session.moves,
            })
        };
    });
    1
}

/// Content types of TLS records (RFC 8446, section 5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// The content type of the TLS record that begins at `bytes`; 0 when none does.
#[inline(always)]
pub(super) fn record_type(bytes: u64) -> u8 {
    let [kind, major, minor, _] = read_user::<[u8; 4]>(bytes).unwrap_or_default();
    let plausible = kind >= CHANGE_CIPHER_SPEC && kind <= APPLICATION_DATA && major == 3 && minor <= 4;
    if plausible { kind } else { 0 }
}

/// Whether records of this content type are of a handshake that is not encrypted yet.
#[inline(always)]
pub(super) fn is_handshake(record_type: u8) -> bool {
    record_type == HANDSHAKE || record_type == CHANGE_CIPHER_SPEC
}

/// Whether a TLS record begins at `bytes` that a handshake sends, or a write. An alert says nothing:
/// a session that closes sends one.
#[inline(always)]
fn begins_record(bytes: u64, after_write: bool) -> bool {
    let kind = record_type(bytes);
    is_handshake(kind) || (after_write && kind == APPLICATION_DATA)
}
