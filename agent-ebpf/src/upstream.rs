//! Whom timed processes wait for: the other ends of connections that they have opened.
//!
//! What moves on such a connection is of no interest, but when: from the last byte of what was asked
//! to the first of the answer, and between the pieces of an answer. One record a wait, and a bounded
//! number in a given time for a process ([`time::may_tell`]). The same of lookups of names, with the
//! answer, which says what the addresses are called.

use core::ffi::c_void;

use agent_abi::{ANSWER_MAX, Header, Kind, LookupRecord, SocketState, UpstreamState, WaitKind, WaitRecord};
use aya_ebpf::helpers::generated::bpf_probe_read_user;

use crate::emit::{Wake, emit};
use crate::maps::{SOCKETS, UPSTREAMS};
use crate::scope::Thread;
use crate::stream::Side;
use crate::walk::{self, File};
use crate::{globals, socket, time};

/// Shorter waits for more of an answer are not told of: the bytes are counted with the next one.
const WORTH_TELLING_NS: u64 = 100_000;
/// Where name servers listen.
const DNS: u16 = 53;
/// Ports from here on are given to those who connect (net.ipv4.ip_local_port_range by default).
const EPHEMERAL: u16 = 32_768;

/// [`UpstreamState::phase`].
mod phase {
    pub(super) const QUIET: u32 = 0;
    pub(super) const ASKED: u32 = 1;
    pub(super) const ANSWERED: u32 = 2;
}

/// The current thread, of a timed process, has moved `len` bytes on `side` of a socket; `first` is the
/// address of the first of them.
#[inline(always)]
pub(crate) fn moved(file: &File, side: Side, len: u64, first: u64) {
    exchanged(file.socket, file.ino, len << 1 | side as u64, first);
}

/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn exchanged(file: u64, ino: u64, moved: u64, first: u64) -> u32 {
    let Some(sock) = walk::internet_sock(file) else {
        return 0;
    };
    let is_lookup = !walk::is_tcp(sock);
    if is_lookup && !(walk::is_udp(sock) && socket::remote_port(sock) == DNS) {
        return 0;
    }
    let (len, reads) = (moved >> 1, moved & 1 != 0);
    let Some(state) = state_of(sock, ino, reads) else {
        return 0;
    };
    let now = time::now();
    let since = state.since;
    state.tgid = Thread::current().tgid();
    if !reads {
        state.sent += len;
        state.since = now;
        state.phase = phase::ASKED;
        return 0;
    }
    state.received += len;
    state.since = now;
    let what = match (is_lookup, state.phase) {
        (_, phase::QUIET) => return 0,
        (true, _) => WaitKind::Lookup,
        (false, phase::ASKED) => WaitKind::Answer,
        // The end of an idle connection is no answer.
        _ if len == 0 || now - since < WORTH_TELLING_NS => return 0,
        _ => WaitKind::More,
    };
    state.phase = phase::ANSWERED;
    if is_lookup {
        tell_answer(sock, since, first, len)
    } else {
        tell(sock, since, what as u32)
    }
}

/// State of a connection that this process has opened; `None` of one that was opened to it.
#[inline(always)]
fn state_of<'a>(sock: u64, ino: u64, reads: bool) -> Option<&'a mut UpstreamState> {
    if let Some(state) = UPSTREAMS.get_ptr_mut(sock) {
        // SAFETY: the pointer is to a map value; its fields are plain words.
        let state = unsafe { &mut *state };
        if state.ino == ino {
            return Some(state);
        }
    }
    // An answer to nothing is nobody's.
    if reads || !is_outbound(sock) {
        return None;
    }
    let state = UpstreamState {
        ino,
        ..UpstreamState::default()
    };
    // The oldest give way; under contention none may, and the next write tries again.
    UPSTREAMS.insert(sock, state, 0).unwrap_or_default();
    let state = UPSTREAMS.get_ptr_mut(sock)?;
    // SAFETY: as above.
    Some(unsafe { &mut *state })
}

/// Whether this side has opened the connection: its SYN was seen, or its port says so.
#[inline(always)]
fn is_outbound(sock: u64) -> bool {
    // SAFETY: the value's fields are plain words.
    if unsafe { SOCKETS.get(sock) }.is_some_and(|known| known.connecting != 0) {
        return true;
    }
    let local: u16 = walk::read_optional(sock, &globals::SOCK_NUM).unwrap_or(0);
    local >= EPHEMERAL && socket::remote_port(sock) < EPHEMERAL
}

/// The connection of `sock` is there. In whatever the packet has interrupted.
#[inline(always)]
pub(crate) fn connected(sock: u64, known: &SocketState) {
    if time::is_timed(known.tgid) {
        opened(sock, known.tgid, known.connecting, known.ino);
    }
}

/// Exported as above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn opened(sock: u64, tgid: u32, since: u64, ino: u64) -> u32 {
    let state = UpstreamState {
        ino,
        tgid,
        ..UpstreamState::default()
    };
    UPSTREAMS.insert(sock, state, 0).unwrap_or_default();
    tell(sock, since, WaitKind::Connect as u32)
}

/// The connection of `sock` has ended: whoever still waits has waited in vain.
#[inline(always)]
pub(crate) fn ended(sock: u64, known: &SocketState) {
    if time::is_timed(known.tgid) {
        closed(sock, known.tgid, known.connecting, known.connect_us);
    }
}

/// Exported as above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn closed(sock: u64, tgid: u32, connecting: u64, connect_us: u32) -> u32 {
    if connecting != 0 && connect_us == 0 {
        return opened(sock, tgid, connecting, 0);
    }
    let Some(state) = UPSTREAMS.get_ptr_mut(sock) else {
        return 0;
    };
    // SAFETY: as in `state_of`.
    let state = unsafe { &mut *state };
    if state.phase == phase::ASKED {
        state.phase = phase::QUIET;
        tell(sock, state.since, WaitKind::Answer as u32);
    } else if state.sent | state.received != 0 {
        tell(sock, time::now(), WaitKind::End as u32);
    }
    // Gone already is as good.
    UPSTREAMS.remove(sock).unwrap_or_default();
    1
}

/// Tells the agent of a wait on `sock` from `since` to now.
///
/// Exported as above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell(sock: u64, since: u64, what: u32) -> u32 {
    let Some(state) = UPSTREAMS.get_ptr_mut(sock) else {
        return 0;
    };
    // SAFETY: as in `state_of`.
    let state = unsafe { &mut *state };
    let now = time::now();
    if !time::may_tell(state.tgid, now) {
        return 0;
    }
    let told = emit::<WaitRecord>(Wake::Later, 0, |to| put(to, sock, state, (since, now), what as u16, 0));
    u32::from(told)
}

/// As [`tell`], of a name server's answer: the `len` bytes at `answer`.
///
/// Exported as above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_answer(sock: u64, since: u64, answer: u64, len: u64) -> u32 {
    let Some(state) = UPSTREAMS.get_ptr_mut(sock) else {
        return 0;
    };
    // SAFETY: as in `state_of`.
    let state = unsafe { &mut *state };
    let now = time::now();
    if !time::may_tell(state.tgid, now) {
        return 0;
    }
    let told = emit::<LookupRecord>(Wake::Later, 0, |to| {
        // Masked, so that the verifier sees a bound.
        let bounded = if len >= ANSWER_MAX as u64 {
            ANSWER_MAX as u32
        } else {
            len as u32 & (ANSWER_MAX as u32 - 1)
        };
        // SAFETY: `to` is a reserved ring entry of this type.
        let room = unsafe { &raw mut (*to).answer }.cast::<c_void>();
        // SAFETY: `bounded` is at most the size of `room`; the helper checks the source.
        let failed = unsafe { bpf_probe_read_user(room, bounded, answer as *const c_void) } != 0;
        let captured = if failed { 0 } else { bounded };
        // SAFETY: as above.
        let wait = unsafe { &raw mut (*to).wait };
        put(wait, sock, state, (since, now), WaitKind::Lookup as u16, captured);
    });
    u32::from(told)
}

/// Writes a record in place: the stack has no room for one.
#[inline(always)]
fn put(to: *mut WaitRecord, sock: u64, state: &mut UpstreamState, span: (u64, u64), what: u16, captured: u32) {
    // SAFETY: every caller's `to` is a reserved ring entry.
    unsafe {
        (&raw mut (*to).header).write(Header {
            kind: Kind::Wait as u32,
            captured,
            tgid: state.tgid,
            tid: Thread::current().tid(),
        });
        (&raw mut (*to).from).write(span.0);
        (&raw mut (*to).to).write(span.1);
        (&raw mut (*to).sent).write(state.sent);
        (&raw mut (*to).received).write(state.received);
        (&raw mut (*to).remote_port).write(socket::remote_port(sock));
        (&raw mut (*to).what).write(what);
        (&raw mut (*to).netns).write(socket::netns(sock));
    }
    // SAFETY: as above.
    let remote = unsafe { &raw mut (*to).remote };
    socket::address(sock, &globals::SOCK_DADDR, &globals::SOCK_V6_DADDR, remote);
    state.sent = 0;
    state.received = 0;
}
