//! TCP connections as the kernel keeps them: how many bytes they have moved, and how that went.

use agent_abi::Tcp;

use crate::stream::Side;
use crate::walk::read_optional;
use crate::{globals, scratch};

/// SOCK_DONE of `enum sock_flags`, which `tcp_fin` sets: the other side will send no more.
const FIN_RECEIVED: u64 = 1 << 1;
/// Tries to see counters that belong together while another CPU moves them on.
const TRIES: u32 = 8;

/// Bytes that have been written to `sock`; 0 when this kernel does not tell.
///
/// What was sent for the first time, and what waits to be. A segment is counted as sent a little
/// before `snd_nxt` moves past it. So the sum is held against what was acknowledged and what waits
/// to be, which is the same, or more by the SYN on the side that connected.
#[inline(always)]
pub(crate) fn written(sock: u64) -> u64 {
    for _ in 0..TRIES {
        let Some(by_ack) = written_by_ack(sock) else { return 0 };
        let Some(by_send) = written_by_send(sock) else { return 0 };
        if by_ack.wrapping_sub(by_send) <= 1 {
            return by_send;
        }
    }
    written_by_send(sock).unwrap_or(0)
}

#[inline(always)]
fn written_by_send(sock: u64) -> Option<u64> {
    let unsent = sequence(sock, &globals::TCP_WRITE_SEQ)?.wrapping_sub(sequence(sock, &globals::TCP_SND_NXT)?);
    Some(sent(sock)?.wrapping_add(u64::from(unsent)))
}

#[inline(always)]
fn written_by_ack(sock: u64) -> Option<u64> {
    let acked: u64 = read_optional(sock, &globals::TCP_BYTES_ACKED)?;
    Some(acked.wrapping_add(u64::from(in_flight(sock)?)))
}

/// Bytes that `sock` has sent, each once.
#[inline(always)]
pub(crate) fn sent(sock: u64) -> Option<u64> {
    let sent: u64 = read_optional(sock, &globals::TCP_BYTES_SENT)?;
    let again: u64 = read_optional(sock, &globals::TCP_BYTES_RETRANS)?;
    Some(sent.wrapping_sub(again))
}

/// Bytes that have been read from `sock`; 0 when this kernel does not tell.
///
/// `bytes_received` moves with `rcv_nxt`: it counts no SYN, but the FIN, which the last read takes.
#[inline(always)]
pub(crate) fn read(sock: u64) -> u64 {
    for _ in 0..TRIES {
        let Some(next) = sequence(sock, &globals::TCP_RCV_NXT) else {
            return 0;
        };
        let Some(received) = read_optional::<u64>(sock, &globals::TCP_BYTES_RECEIVED) else {
            return 0;
        };
        let Some(copied) = sequence(sock, &globals::TCP_COPIED_SEQ) else {
            return 0;
        };
        if sequence(sock, &globals::TCP_RCV_NXT) == Some(next) {
            let fin = u64::from(fin_taken(sock, copied));
            return received.wrapping_sub(u64::from(next.wrapping_sub(copied)) + fin);
        }
    }
    0
}

/// Sequence number of the first byte that `side` of `sock` has moved, where `moved` is how many it
/// has by now.
#[inline(always)]
pub(crate) fn first_sequence(sock: u64, side: Side, moved: u32) -> u32 {
    let next = next_sequence(sock, side).unwrap_or(0);
    let fin = side == Side::Reader && fin_taken(sock, next);
    next.wrapping_sub(moved).wrapping_sub(u32::from(fin))
}

/// Position of the `len` bytes that `side` of `sock` has just moved on a stream whose first byte has
/// the number `first`, and on which `before` bytes have been seen to move.
#[inline(always)]
pub(crate) fn position(sock: u64, side: Side, first: u32, before: u64, len: u64) -> u64 {
    let Some(next) = next_sequence(sock, side) else {
        return before;
    };
    let unseen = next.wrapping_sub(first).wrapping_sub((before + len) as u32) as i32;
    if unseen == 0 {
        return before;
    }
    let fin = side == Side::Reader && fin_taken(sock, next);
    before.saturating_add_signed(i64::from(unseen) - i64::from(fin))
}

/// The sequence number after the last byte that `side` of `sock` has moved.
#[inline(always)]
fn next_sequence(sock: u64, side: Side) -> Option<u32> {
    match side {
        Side::Writer => sequence(sock, &globals::TCP_WRITE_SEQ),
        Side::Reader => sequence(sock, &globals::TCP_COPIED_SEQ),
    }
}

/// Whether what has been read up to the number `next` ends with the FIN, which has a number too.
#[inline(always)]
fn fin_taken(sock: u64, next: u32) -> bool {
    sequence(sock, &globals::TCP_RCV_NXT) == Some(next) && fin_received(sock)
}

/// Bytes that `sock` has received.
#[inline(always)]
pub(crate) fn received(sock: u64) -> Option<u64> {
    let received: u64 = read_optional(sock, &globals::TCP_BYTES_RECEIVED)?;
    Some(received.wrapping_sub(u64::from(fin_received(sock))))
}

/// Writes what the kernel has measured of the connection to the record in the scratch memory at
/// `depth`.
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn measure(depth: u32) -> u32 {
    let Some(scratch) = scratch::at(depth) else { return 0 };
    scratch.record.tcp = measured(scratch.record.key & !1);
    1
}

/// What the kernel has measured of the connection.
#[inline(always)]
pub(crate) fn measured(sock: u64) -> Tcp {
    Tcp {
        // The kernel keeps eighths of a microsecond.
        srtt_us: read_optional::<u32>(sock, &globals::TCP_SRTT).unwrap_or(0) >> 3,
        retransmits: read_optional(sock, &globals::TCP_RETRANS).unwrap_or(0),
        in_flight: in_flight(sock).unwrap_or(0),
        reserved: 0,
    }
}

#[inline(always)]
fn in_flight(sock: u64) -> Option<u32> {
    Some(sequence(sock, &globals::TCP_WRITE_SEQ)?.wrapping_sub(sequence(sock, &globals::TCP_SND_UNA)?))
}

#[inline(always)]
fn sequence(sock: u64, field: &aya_ebpf::Global<u32>) -> Option<u32> {
    read_optional(sock, field)
}

#[inline(always)]
fn fin_received(sock: u64) -> bool {
    read_optional::<u64>(sock, &globals::SOCK_FLAGS).is_some_and(|flags| flags & FIN_RECEIVED != 0)
}
