//! Streams of TCP connections. Each end has streams of its own, whose offsets are the connection's:
//! the agent joins the ends by address and offset.

use agent_abi::{Counter, DataRecord, StreamState, VerdictCode, VerdictEntry, flags};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_ktime_get_ns;

use crate::maps::{STREAMS, VERDICTS, count};
use crate::stream::{Sampling, Side, sample, verdict_on};
use crate::{scratch, socket, tcp};

/// Counts the record's bytes on one direction of the socket at `sock`, and completes the record with
/// what they are bytes of.
#[inline(always)]
pub(crate) fn advance(record: &mut DataRecord, side: Side, sock: u64) -> Option<Sampling> {
    let (len, ino) = (record.len, record.ino);
    let key = match side {
        Side::Writer => sock,
        Side::Reader => socket::reader_key(sock),
    };
    record.key = key;
    record.flags |= flags::TCP;
    let (verdict, grants) = verdict_on(key, ino);
    if verdict == VerdictCode::Ignore as u32 {
        return Some(Sampling::Ignored);
    }
    if verdict == VerdictCode::Sealed as u32 {
        return (len != 0).then_some(Sampling::Sealed);
    }
    let Some(state) = known(key, ino) else {
        return (len != 0).then_some(Sampling::New);
    };
    let timing = verdict == VerdictCode::Timing as u32;
    let judged = timing || verdict == VerdictCode::Watch as u32;
    // The end of the stream matters once the stream does.
    if len == 0 && !judged {
        return None;
    }
    // SAFETY: the pointer is to a map value, which lives as long as the program runs; fields are
    // machine words that are only counted up.
    let state = unsafe { &mut *state };
    record.stream = state.stream;
    record.pair = state.pair;
    let moved = match side {
        Side::Writer => &mut state.written,
        Side::Reader => &mut state.read,
    };
    // By what the connection says and not only by what was counted: a syscall that went unseen is a
    // gap then, and not an error in all that follows.
    record.offset = tcp::position(sock, side, state.sequence, *moved, len);
    *moved = (*moved).max(record.offset + len);
    if !judged {
        record.flags |= flags::UNJUDGED;
        return Some(sample(&mut state.sampled, grants, len));
    }
    Some(if timing { Sampling::Metadata } else { Sampling::Watched })
}

/// The stream's state, unless it is an earlier one's.
#[inline(always)]
fn known(key: u64, ino: u64) -> Option<*mut StreamState> {
    let state = STREAMS.get_ptr_mut(key)?;
    // SAFETY: as in `advance`.
    (unsafe { (*state).ino } == ino).then_some(state)
}

/// A direction of a socket comes into view with the record in the scratch memory at `depth`: tells
/// the agent of the socket and begins the stream's state, unless there is nothing to ship.
///
/// One after the other and not one in the other: 5.10 allows a chain of calls 512 bytes of stack.
#[inline(always)]
pub(crate) fn come_into_view(depth: u32) {
    let Some(scratch) = scratch::at(depth) else { return };
    let DataRecord { key, ino, len, .. } = scratch.record;
    if judge_by_endpoint(key, ino) == 0 {
        return;
    }
    let pair = socket::open_socket(key & !1, ino);
    if pair == 0 {
        // The stream begins later. Its offsets will say so.
        count(Counter::RingFullBytes, len);
        return;
    }
    begin(key, ino, pair, len);
}

/// Gives a new stream the verdict of its endpoint. 0 when that says to ship nothing.
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
extern "C" fn judge_by_endpoint(key: u64, ino: u64) -> u32 {
    let verdict = socket::endpoint_verdict(key & !1);
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
    1
}

/// Begins the state of a stream where the connection was before the syscall that moved `len` bytes.
///
/// Exported as above.
#[unsafe(no_mangle)]
extern "C" fn begin(key: u64, ino: u64, pair: u64, len: u64) -> u32 {
    let sock = key & !1;
    let side = if key == sock { Side::Writer } else { Side::Reader };
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
        sequence: tcp::first_sequence(sock, side, (written + read + len) as u32),
        reserved: 0,
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
