//! Streams of TCP connections. Each end has streams of its own, whose offsets are the connection's:
//! the agent joins the ends by address and offset.

use agent_abi::{Counter, DataRecord, StreamState, VerdictCode, VerdictEntry, flags};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_ktime_get_ns;

use crate::maps::{STREAMS, VERDICTS, add, count};
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
        return (side == Side::Writer).then_some(Sampling::Sealed);
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
    record.offset = match side {
        Side::Writer => add(&mut state.written, len),
        Side::Reader => add(&mut state.read, len),
    };
    if !judged {
        record.flags |= flags::UNJUDGED;
        return Some(sample(state, grants, len));
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

/// A direction of a socket comes into view with the record in the scratch memory at `depth`: takes
/// the verdict of its endpoint, and unless that says to ship nothing, tells the agent of the socket.
/// 0 when the stream is not to begin.
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn first_sight(depth: u32) -> u32 {
    let Some(scratch) = scratch::at(depth) else { return 0 };
    let DataRecord { key, ino, len, .. } = scratch.record;
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
        return 0;
    }
    scratch.record.pair = pair;
    1
}

/// Begins the state of the stream of the record in the scratch memory at `depth`, where the
/// connection was before the record's syscall.
///
/// Exported as above, and not called from there: 5.10 allows a chain of calls 512 bytes of stack.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn begin(depth: u32) -> u32 {
    let Some(scratch) = scratch::at(depth) else { return 0 };
    let DataRecord {
        key, ino, pair, len, ..
    } = scratch.record;
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
