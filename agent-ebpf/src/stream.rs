//! Streams: identity, counters and verdicts.

use agent_abi::{Counter, DataRecord, StreamState, VerdictCode, flags};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_ktime_get_ns;

use crate::maps::{QUIET, STREAMS, VERDICTS, add, count};
use crate::walk::{self, Family, File};
use crate::{connection, scratch};

/// Which end of a stream a syscall used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Writer = 0,
    Reader = 1,
}

/// How much of the bytes the agent wants.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sampling {
    /// None of these.
    Nothing = 0,
    /// None of the stream.
    Ignored = 1,
    /// None: they are ciphertext. But which TLS session wrote them is worth knowing.
    Sealed = 2,
    /// That they moved, not what they are.
    Metadata = 3,
    /// A sample, for a verdict.
    Unjudged = 4,
    /// All, up to the budget.
    Watched = 5,
    /// Yet to be said: the stream comes into view.
    New = 6,
}

impl Sampling {
    /// What an exported function can give: the verifier knows nothing of its result.
    #[inline(always)]
    pub(crate) fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Ignored,
            2 => Self::Sealed,
            3 => Self::Metadata,
            4 => Self::Unjudged,
            5 => Self::Watched,
            6 => Self::New,
            _ => Self::Nothing,
        }
    }
}

/// Bytes captured of a stream before its first verdict, and again with every grant.
const ALLOWANCE: u64 = 64 * 1024;

/// Whether nobody wants what `side` of the file moves. Cheap, for it comes before everything else.
#[inline(always)]
pub(crate) fn is_quiet(file: &File, side: Side) -> bool {
    // SAFETY: the value is one word, only ever replaced whole.
    unsafe { QUIET.get(quiet_key(file.inode, side)) }.is_some_and(|&ino| ino == file.ino)
}

/// An inode's address is even: its last bit is free to tell the sides apart.
#[inline(always)]
fn quiet_key(inode: u64, side: Side) -> u64 {
    inode | side as u64
}

/// Finds the stream that the bytes of the record in the scratch memory at `depth` moved on, counts
/// them on it, and completes the record with what they are bytes of. Gives a [`Sampling`].
///
/// `inode` is the address of the file's inode, `socket` that of a socket's file and 0 for a pipe.
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn advance(depth: u32, inode: u64, socket: u64) -> u32 {
    let Some(scratch) = scratch::at(depth) else {
        return Sampling::Nothing as u32;
    };
    let record = &mut scratch.record;
    let side = if record.flags & flags::READ == 0 {
        Side::Writer
    } else {
        Side::Reader
    };
    let sampling = locate(record, side, inode, socket).unwrap_or(Sampling::Nothing);
    if sampling == Sampling::Ignored {
        // Without room the next syscall comes here again.
        QUIET.insert(quiet_key(inode, side), record.ino, 0).unwrap_or_default();
    }
    sampling as u32
}

#[inline(always)]
fn locate(record: &mut DataRecord, side: Side, inode: u64, socket: u64) -> Option<Sampling> {
    if socket == 0 {
        return advance_local(record, side, &Key::of_pipe(inode, record.ino));
    }
    let sock = walk::sock(socket)?;
    match walk::family(sock)? {
        Family::Unix => advance_local(record, side, &Key::of_unix(sock, record.ino, side)?),
        Family::Tcp => connection::advance(record, side, sock),
    }
}

/// A stream that both its ends share: a pipe, or one direction of a unix socket.
struct Key {
    key: u64,
    /// Inode number that tells a reused key; 0 when it cannot be known any more.
    ino: u64,
    /// Key of the opposite direction; 0 for pipes.
    reverse: u64,
    flags: u32,
}

impl Key {
    #[inline(always)]
    fn of_pipe(inode: u64, ino: u64) -> Self {
        Self {
            key: inode,
            ino,
            reverse: 0,
            flags: 0,
        }
    }

    /// A stream is known by its writer's sock: it outlives the writer's file.
    #[inline(always)]
    fn of_unix(sock: u64, ino: u64, side: Side) -> Option<Self> {
        let peer = walk::unix_peer(sock)?;
        let named = if walk::is_named(sock, peer) { flags::NAMED } else { 0 };
        let flags = flags::SOCKET | named;
        match side {
            Side::Writer => Some(Self {
                key: sock,
                ino,
                reverse: peer,
                flags,
            }),
            Side::Reader if peer == 0 => None,
            Side::Reader => Some(Self {
                key: peer,
                ino: walk::socket_ino(peer),
                reverse: sock,
                flags,
            }),
        }
    }
}

/// As [`advance`], for a stream that both ends share.
#[inline(always)]
fn advance_local(record: &mut DataRecord, side: Side, found: &Key) -> Option<Sampling> {
    let (verdict, grants) = verdict_on(found.key, found.ino);
    if verdict == VerdictCode::Ignore as u32 {
        return Some(Sampling::Ignored);
    }
    let len = record.len;
    if len == 0 && verdict != VerdictCode::Watch as u32 {
        return None;
    }
    // SAFETY: the pointer is to a map value, which lives as long as the program runs; fields are
    // machine words that are only counted up.
    let state = unsafe { &mut *state_of(found)? };
    let (offset, mut sampling) = match side {
        Side::Writer => {
            // A writer that comes into view late starts where its reader is, unless its very
            // first write is the one that was read.
            if state.written == 0 && state.read != 0 && record.entered > state.last_read {
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
    record.flags |= found.flags;
    if verdict != VerdictCode::Watch as u32 {
        record.flags |= flags::UNJUDGED;
        if sampling == Sampling::Watched {
            sampling = sample(&mut state.sampled, grants, len);
        }
    }
    record.key = found.key;
    record.stream = state.stream;
    record.pair = if found.reverse == 0 { 0 } else { state.pair };
    record.ino = state.ino;
    record.offset = offset;
    Some(sampling)
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
        sequence: 0,
        reserved: 0,
    };
    // Both ends may arrive here at once, on two CPUs: the first one's state is everybody's.
    let inserted = STREAMS.insert(found.key, state, u64::from(BPF_NOEXIST));
    let current = STREAMS.get_ptr_mut(found.key);
    if inserted.is_err() && current.is_none() {
        count(Counter::StreamTableFull, 1);
    }
    current
}
