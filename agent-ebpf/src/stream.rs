//! Streams: identity, counters and verdicts.

use agent_abi::{Counter, StreamState, VerdictCode, flags};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_ktime_get_ns;

use crate::connection;
use crate::maps::{STREAMS, VERDICTS, add, count};
use crate::walk::{self, Carrier};

/// Which end of a stream a syscall used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Writer,
    Reader,
}

/// The stream that a syscall moved bytes on, and where in it.
pub(crate) struct Position {
    pub(crate) key: u64,
    pub(crate) stream: u64,
    pub(crate) pair: u64,
    pub(crate) ino: u64,
    pub(crate) offset: u64,
    /// Flags of the data record that the stream determines.
    pub(crate) flags: u32,
    pub(crate) sampling: Sampling,
}

impl Position {
    /// Address of the TCP sock.
    #[inline(always)]
    pub(crate) fn sock(&self) -> Option<u64> {
        (self.flags & flags::TCP != 0).then_some(self.key & !1)
    }

    /// Whether it may be ciphertext whose TLS session is not known.
    #[inline(always)]
    pub(crate) fn may_be_tls(&self) -> bool {
        self.flags & flags::TCP != 0 && (self.sampling == Sampling::Sealed || self.flags & flags::UNJUDGED != 0)
    }
}

/// How much of the bytes the agent wants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sampling {
    /// All, up to the budget.
    Watched,
    /// A sample, for a verdict.
    Unjudged,
    /// That they moved, not what they are.
    Metadata,
    /// Nothing: it is ciphertext. But which TLS session wrote it is worth knowing.
    Sealed,
}

/// Bytes captured of a stream before its first verdict, and again with every grant.
const ALLOWANCE: u64 = 64 * 1024;

struct Key {
    key: u64,
    /// Inode number that tells a reused key; 0 when it cannot be known any more.
    ino: u64,
    /// Key of the opposite direction; 0 for pipes.
    reverse: u64,
    flags: u32,
}

#[inline(always)]
fn key_of(carrier: Carrier, side: Side) -> Option<Key> {
    match carrier {
        Carrier::Pipe { inode, ino } => Some(Key {
            key: inode,
            ino,
            reverse: 0,
            flags: 0,
        }),
        Carrier::Socket { sock, ino, peer } => {
            let named = if walk::is_named(sock, peer) { flags::NAMED } else { 0 };
            let flags = flags::SOCKET | named;
            // A stream is known by its writer's sock: it outlives the writer's file.
            match side {
                Side::Writer => Some(Key {
                    key: sock,
                    ino,
                    reverse: peer,
                    flags,
                }),
                Side::Reader if peer == 0 => None,
                Side::Reader => Some(Key {
                    key: peer,
                    ino: walk::socket_ino(peer),
                    reverse: sock,
                    flags,
                }),
            }
        }
        Carrier::Tcp { .. } => None,
    }
}

/// Finds the stream of `fd`, counts `len` bytes on it and says where they are. `None` when the
/// descriptor cannot carry MCP or nobody wants the stream.
#[inline(always)]
pub(crate) fn advance(fd: u32, side: Side, len: u64, entered: u64) -> Option<Position> {
    // A write of nothing is nothing; a read of nothing is the end of the stream.
    if len == 0 && side == Side::Writer {
        return None;
    }
    match walk::carrier(fd)? {
        Carrier::Tcp { sock, ino } => connection::advance(sock, ino, side, len),
        local => advance_local(local, side, len, entered),
    }
}

/// As [`advance`], for a stream that both ends share: a pipe or one direction of a unix socket.
#[inline(always)]
fn advance_local(carrier: Carrier, side: Side, len: u64, entered: u64) -> Option<Position> {
    let found = key_of(carrier, side)?;
    let (verdict, grants) = verdict_on(found.key, found.ino);
    if verdict == VerdictCode::Ignore as u32 || (len == 0 && verdict != VerdictCode::Watch as u32) {
        return None;
    }
    let state = state_of(&found)?;
    // SAFETY: `state` points into a map value, which lives as long as the program runs; fields are
    // machine words that are only counted up.
    let state = unsafe { &mut *state };
    let (offset, sampling) = match side {
        Side::Writer => {
            // A writer that comes into view late starts where its reader is, unless its very
            // first write is the one that was read.
            if state.written == 0 && state.read != 0 && entered > state.last_read {
                add(&mut state.written, state.read);
            }
            (add(&mut state.written, len), Sampling::Watched)
        }
        Side::Reader => {
            // The writer's end is the vantage for content; the reader's only where that end is not seen.
            if state.written == 0 {
                // SAFETY: the helper has no preconditions.
                state.last_read = unsafe { bpf_ktime_get_ns() };
                (add(&mut state.read, len), Sampling::Watched)
            } else {
                (add(&mut state.read, len), Sampling::Metadata)
            }
        }
    };
    let mut position = Position {
        key: found.key,
        stream: state.stream,
        pair: if found.reverse == 0 { 0 } else { state.pair },
        ino: state.ino,
        offset,
        flags: found.flags,
        sampling,
    };
    if verdict != VerdictCode::Watch as u32 {
        position.flags |= flags::UNJUDGED;
        if sampling == Sampling::Watched {
            position.sampling = sample(&mut state.sampled, grants, len);
        }
    }
    Some(position)
}

/// What is captured of the next `len` bytes of a stream without a verdict, of which so many have
/// been `sampled`.
#[inline(always)]
pub(crate) fn sample(sampled: &mut u64, grants: u32, len: u64) -> Sampling {
    let allowed = ALLOWANCE * (1 + u64::from(grants));
    let sampling = if *sampled < allowed {
        Sampling::Unjudged
    } else {
        Sampling::Metadata
    };
    *sampled += len;
    sampling
}

/// The verdict's code and its grants.
#[inline(always)]
pub(crate) fn verdict_on(key: u64, ino: u64) -> (u32, u32) {
    // SAFETY: user space replaces the value whole; a torn read is a verdict of another instant.
    match unsafe { VERDICTS.get(key) } {
        Some(entry) if entry.ino == ino || ino == 0 => (entry.verdict, entry.grants),
        _ => (VerdictCode::LookAgain as u32, 0),
    }
}

/// The stream's state, new when the key is new or belongs to a later stream.
#[inline(always)]
fn state_of(found: &Key) -> Option<*mut StreamState> {
    if let Some(state) = STREAMS.get_ptr_mut(found.key) {
        // SAFETY: as in `advance`.
        let known = unsafe { &mut *state };
        if known.ino == found.ino || found.ino == 0 {
            return Some(state);
        }
        if known.ino == 0 {
            known.ino = found.ino;
            return Some(state);
        }
        // Another stream's, which has ended. Gone already is as good.
        STREAMS.remove(found.key).unwrap_or_default();
    }
    // SAFETY: the helper has no preconditions.
    let stream = unsafe { bpf_ktime_get_ns() };
    let mut pair = stream;
    if found.reverse != 0 {
        // SAFETY: as in `advance`.
        if let Some(reverse) = unsafe { STREAMS.get(found.reverse) } {
            let reverse_ino = walk::socket_ino(found.reverse);
            if reverse_ino == 0 || reverse.ino == 0 || reverse.ino == reverse_ino {
                pair = reverse.pair;
            }
        }
    }
    let state = StreamState {
        stream,
        ino: found.ino,
        pair,
        written: 0,
        read: 0,
        last_read: 0,
        sampled: 0,
    };
    // Both ends may arrive here at once, on two CPUs: the first one's state is everybody's.
    let inserted = STREAMS.insert(found.key, state, u64::from(BPF_NOEXIST));
    let current = STREAMS.get_ptr_mut(found.key);
    if inserted.is_err() && current.is_none() {
        count(Counter::StreamTableFull, 1);
    }
    current
}
