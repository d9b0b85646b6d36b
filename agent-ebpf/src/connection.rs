//! Streams of TCP connections. Each end has streams of its own, whose offsets are the connection's:
//! the agent joins the ends by address and offset.

use agent_abi::{Counter, StreamState, VerdictCode, VerdictEntry, flags};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_ktime_get_ns;

use crate::maps::{STREAMS, VERDICTS, add, count};
use crate::stream::{Position, Sampling, Side, sample, verdict_on};
use crate::{socket, tcp};

/// Counts `len` bytes on one direction of the socket at `sock`, whose inode number is `ino`.
#[inline(always)]
pub(crate) fn advance(sock: u64, ino: u64, side: Side, len: u64) -> Option<Position> {
    let key = match side {
        Side::Writer => sock,
        Side::Reader => socket::reader_key(sock),
    };
    let (mut verdict, mut grants) = verdict_on(key, ino);
    if verdict == VerdictCode::Ignore as u32 {
        return None;
    }
    let mut state = known(key, ino);
    if state.is_none() && len != 0 && verdict != VerdictCode::Sealed as u32 {
        // One after the other, not one in the other: 5.10 allows a chain of calls 512 bytes of stack.
        let pair = first_sight(key, ino, len);
        if pair != 0 {
            begin(key, ino, pair, len);
        }
        (verdict, grants) = verdict_on(key, ino);
        state = known(key, ino);
    }
    if verdict == VerdictCode::Sealed as u32 {
        return match side {
            Side::Writer => sealed(sock, ino),
            Side::Reader => None,
        };
    }
    let timing = verdict == VerdictCode::Timing as u32;
    let judged = timing || verdict == VerdictCode::Watch as u32;
    // The end of the stream matters once the stream does.
    if len == 0 && !judged {
        return None;
    }
    // SAFETY: `state` points into a map value, which lives as long as the program runs; fields are
    // machine words that are only counted up.
    let state = unsafe { &mut *state? };
    let offset = match side {
        Side::Writer => add(&mut state.written, len),
        Side::Reader => add(&mut state.read, len),
    };
    let sampling = match (judged, timing) {
        (true, true) => Sampling::Metadata,
        (true, false) => Sampling::Watched,
        (false, _) => sample(&mut state.sampled, grants, len),
    };
    Some(Position {
        key,
        stream: state.stream,
        pair: state.pair,
        ino,
        offset,
        flags: flags::TCP | if judged { 0 } else { flags::UNJUDGED },
        sampling,
    })
}

/// What is told of a write of ciphertext.
#[inline(always)]
fn sealed(sock: u64, ino: u64) -> Option<Position> {
    let pair = socket::open_socket(sock, ino);
    (pair != 0).then_some(Position {
        key: sock,
        stream: 0,
        pair,
        ino,
        offset: 0,
        flags: flags::TCP,
        sampling: Sampling::Sealed,
    })
}

/// The stream's state, unless it is an earlier one's.
#[inline(always)]
fn known(key: u64, ino: u64) -> Option<*mut StreamState> {
    let state = STREAMS.get_ptr_mut(key)?;
    // SAFETY: as in `advance`.
    (unsafe { (*state).ino } == ino).then_some(state)
}

/// A direction of a socket comes into view with a syscall that has moved `len` bytes: takes the
/// verdict of its endpoint and, unless there is nothing to ship, tells the agent of the socket. Its
/// identity, or 0.
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
extern "C" fn first_sight(key: u64, ino: u64, len: u64) -> u64 {
    let sock = key & !1;
    let verdict = socket::endpoint_verdict(sock);
    if verdict != VerdictCode::LookAgain as u32 && verdict_on(key, ino).0 == VerdictCode::LookAgain as u32 {
        let entry = VerdictEntry {
            stream: 0,
            ino,
            verdict,
            grants: 0,
        };
        // Without room the next syscall asks again.
        VERDICTS.insert(key, entry, 0).unwrap_or_default();
        if verdict == VerdictCode::Ignore as u32 || verdict == VerdictCode::Sealed as u32 {
            return 0;
        }
    }
    let pair = socket::open_socket(sock, ino);
    if pair == 0 {
        // The stream begins later. Its offsets will say so.
        count(Counter::RingFullBytes, len);
    }
    pair
}

/// Begins the stream's state where the connection was before the syscall that has moved `len` bytes.
///
/// Exported as above.
#[unsafe(no_mangle)]
extern "C" fn begin(key: u64, ino: u64, pair: u64, len: u64) -> u32 {
    let sock = key & !1;
    let (written, read) = if key == sock {
        (tcp::written(sock).saturating_sub(len), 0)
    } else {
        (0, tcp::read(sock).saturating_sub(len))
    };
    let state = StreamState {
        // SAFETY: the helper has no preconditions.
        stream: unsafe { bpf_ktime_get_ns() },
        ino,
        pair,
        written,
        read,
        last_read: 0,
        sampled: 0,
    };
    // Two threads may arrive here at once: the first one's state is everybody's.
    if known(key, ino).is_some() {
        return 1;
    }
    // What is here is an earlier socket's. Gone already is as good.
    STREAMS.remove(key).unwrap_or_default();
    if STREAMS.insert(key, state, u64::from(BPF_NOEXIST)).is_err() && known(key, ino).is_none() {
        count(Counter::StreamTableFull, 1);
    }
    1
}
