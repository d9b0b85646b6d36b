//! TCP sockets: identity, what the agent is told of them, and verdicts by endpoint.

use agent_abi::{EndpointKey, Header, Kind, SocketEvent, SocketRecord, SocketState, VerdictCode};
use aya_ebpf::Global;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;

use crate::emit::{Wake, emit};
use crate::maps::{ENDPOINTS, SOCKETS, STREAMS, VERDICTS};
use crate::scope::Thread;
use crate::{globals, tcp, upstream, walk};

/// States of include/net/tcp_states.h, which are ABI.
mod state {
    pub(super) const ESTABLISHED: u32 = 1;
    pub(super) const SYN_SENT: u32 = 2;
    pub(super) const SYN_RECV: u32 = 3;
    pub(super) const CLOSE: u32 = 7;
    pub(super) const CLOSE_WAIT: u32 = 8;
}

/// The key of what is read from the socket at `sock`; what is written to it goes by `sock` itself.
#[inline(always)]
pub(crate) const fn reader_key(sock: u64) -> u64 {
    sock | 1
}

/// inet_sock_set_state(sk, old state, new state): in the process that connects or closes, or in
/// whatever the packet has interrupted.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub(crate) fn socket_state(ctx: RawTracePointContext) -> i32 {
    let sock: u64 = ctx.arg(0);
    let new: u32 = ctx.arg(2);
    if new == state::SYN_SENT {
        if Thread::in_scope().is_some() && walk::is_tcp(sock) {
            connecting(sock);
        }
    } else if let Some(known) = SOCKETS.get_ptr_mut(sock) {
        // SAFETY: the pointer is to a map value; its fields are plain words.
        changed(sock, unsafe { &mut *known }, new);
    }
    0
}

#[inline(always)]
fn connecting(sock: u64) {
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    insert(sock, walk::socket_ino(sock), now);
}

#[inline(always)]
fn changed(sock: u64, known: &mut SocketState, new: u32) {
    match new {
        // A new connection where an old one's sock was.
        state::SYN_RECV => forget(sock),
        state::ESTABLISHED if known.connecting != 0 => {
            // SAFETY: the helper has no preconditions.
            let took = unsafe { bpf_ktime_get_ns() } - known.connecting;
            known.connect_us = (took / 1000).clamp(1, u64::from(u32::MAX)) as u32;
            upstream::connected(sock, known);
            if endpoint_verdict(sock) != VerdictCode::Ignore as u32 {
                tell_socket(sock, SocketEvent::Connected as u32);
            }
        }
        state::CLOSE_WAIT if known.seen != 0 => {
            tell_socket(sock, SocketEvent::PeerClosed as u32);
        }
        state::CLOSE => {
            upstream::ended(sock, known);
            if known.seen != 0 {
                tell_socket(sock, SocketEvent::Closed as u32);
            }
            // While its file is open, what has been received can still be read. Then the state
            // lasts until the next connection at this address, or until it gives way.
            if walk::follow(sock, &globals::SOCK_SOCKET).is_none() {
                forget(sock);
            }
        }
        _ => {}
    }
}

#[inline(always)]
fn forget(sock: u64) {
    for key in [sock, reader_key(sock)] {
        // Gone already is as good.
        STREAMS.remove(key).unwrap_or_default();
        VERDICTS.remove(key).unwrap_or_default();
    }
    SOCKETS.remove(sock).unwrap_or_default();
}

#[inline(always)]
fn insert(sock: u64, ino: u64, connecting: u64) {
    let state = SocketState {
        // SAFETY: the helper has no preconditions.
        id: unsafe { bpf_ktime_get_ns() },
        ino,
        connecting,
        connect_us: 0,
        seen: 0,
        tgid: Thread::current().tgid(),
        port: 0,
        reserved: 0,
    };
    // The table makes room by itself; under contention it may not, and the next transfer tries again.
    SOCKETS.insert(sock, state, 0).unwrap_or_default();
}

/// Identity of the socket at `sock`, whose inode number is `ino`, once the agent has been told of
/// it; 0 when the agent cannot be told now.
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn open_socket(sock: u64, ino: u64) -> u64 {
    let current = known(sock, ino);
    if current.is_none() {
        insert(sock, ino, 0);
    }
    let Some(state) = current.or_else(|| known(sock, ino)) else {
        return 0;
    };
    // SAFETY: the pointer is to a map value; its fields are plain words.
    let state = unsafe { &mut *state };
    if state.seen == 0 {
        if tell_socket(sock, SocketEvent::Seen as u32) == 0 {
            return 0;
        }
        state.seen = 1;
    }
    state.id
}

/// State of the socket at `sock`, unless it is an earlier one's.
#[inline(always)]
fn known(sock: u64, ino: u64) -> Option<*mut SocketState> {
    let state = SOCKETS.get_ptr_mut(sock)?;
    // SAFETY: as in `open_socket`.
    (unsafe { (*state).ino } == ino).then_some(state)
}

/// The verdict on either end of the connection of `sock`: `LookAgain` when there is none.
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn endpoint_verdict(sock: u64) -> u32 {
    // Aligned, so that it is cleared word by word: memset would take stack of its own.
    #[repr(align(8))]
    struct Aligned(EndpointKey);
    let Aligned(key) = &mut Aligned(EndpointKey {
        address: [0; 16],
        netns: netns(sock),
        port: walk::read_optional(sock, &globals::SOCK_NUM).unwrap_or(0),
        reserved: 0,
    });
    address(
        sock,
        &globals::SOCK_RCV_SADDR,
        &globals::SOCK_V6_RCV_SADDR,
        &raw mut key.address,
    );
    // SAFETY: user space replaces the value whole.
    if let Some(&verdict) = unsafe { ENDPOINTS.get(*key) } {
        return verdict;
    }
    address(
        sock,
        &globals::SOCK_DADDR,
        &globals::SOCK_V6_DADDR,
        &raw mut key.address,
    );
    key.port = remote_port(sock);
    // SAFETY: as above.
    match unsafe { ENDPOINTS.get(*key) } {
        Some(&verdict) => verdict,
        None => VerdictCode::LookAgain as u32,
    }
}

/// Writes fields of a reserved ring entry in place: the stack has no room for a record.
macro_rules! put {
    ($to:ident, $($field:ident: $value:expr,)*) => {
        // SAFETY: the pointer is to a reserved ring entry of the record's type.
        $(unsafe { (&raw mut (*$to).$field).write($value) };)*
    };
}

/// Tells the agent what became of the socket at `sock`. 0 when the ring has no room.
///
/// Exported as above.
#[unsafe(no_mangle)]
extern "C" fn tell_socket(sock: u64, event: u32) -> u32 {
    let Some(state) = SOCKETS.get_ptr_mut(sock) else {
        return 0;
    };
    // SAFETY: as in `open_socket`.
    let state = unsafe { &mut *state };
    if state.port == 0 {
        state.port = walk::read_optional(sock, &globals::SOCK_NUM).unwrap_or(0);
    }
    // What a member connects to may have to be brought into scope first.
    let wake = if event == SocketEvent::Connected as u32 && globals::HOST_SCOPE.load() == 0 {
        Wake::Now
    } else {
        Wake::Later
    };
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let told = emit::<SocketRecord>(wake, 0, |to| {
        put! { to,
            header: Header {
                kind: Kind::Socket as u32,
                captured: 0,
                tgid: state.tgid,
                tid: Thread::current().tid(),
            },
            at: now,
            socket: state.id,
            ino: state.ino,
            local_port: state.port,
            remote_port: remote_port(sock),
            event: event,
            netns: netns(sock),
            connect_us: state.connect_us,
            sent: tcp::sent(sock).unwrap_or(0),
            received: tcp::received(sock).unwrap_or(0),
            tcp: tcp::measured(sock),
        }
        // SAFETY: `to` is a reserved ring entry of this type.
        let (local, remote) = unsafe { (&raw mut (*to).local, &raw mut (*to).remote) };
        address(sock, &globals::SOCK_RCV_SADDR, &globals::SOCK_V6_RCV_SADDR, local);
        address(sock, &globals::SOCK_DADDR, &globals::SOCK_V6_DADDR, remote);
    });
    u32::from(told)
}

/// Writes an address of `sock` to `to`: IPv4 in its IPv6 form, zeros when it is not known.
#[inline(always)]
pub(crate) fn address(sock: u64, v4: &Global<u32>, v6: &Global<u32>, to: *mut [u8; 16]) {
    let family: u16 = walk::read_field(sock, &globals::SOCK_FAMILY).unwrap_or(0);
    if family == walk::AF_INET6 {
        walk::copy_optional(sock, v6, to);
        return;
    }
    // SAFETY: every caller's `to` is writable.
    unsafe { to.write([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]) };
    walk::copy_optional(sock, v4, to.wrapping_byte_add(12).cast::<[u8; 4]>());
}

#[inline(always)]
pub(crate) fn remote_port(sock: u64) -> u16 {
    u16::from_be(walk::read_optional(sock, &globals::SOCK_DPORT).unwrap_or(0))
}

/// Inode number of the network namespace of `sock`; 0 when it is not known.
#[inline(always)]
pub(crate) fn netns(sock: u64) -> u32 {
    let offset = u64::from(globals::NET_NS.load());
    walk::read_optional::<u64>(sock, &globals::SOCK_NET)
        .and_then(|net| walk::read_optional(net + offset, &globals::NS_INUM))
        .unwrap_or(0)
}
