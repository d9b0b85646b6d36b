//! Shipping plaintext, as the data syscalls ship what they move.

use agent_abi::{Counter, Header, Kind, Tcp, Totals, VerdictCode, flags};
use aya_ebpf::helpers::bpf_ktime_get_ns;

use super::call::Call;
use super::session::{self, Session};
use crate::capture::{self, Segments};
use crate::maps::{SOCKETS, add, count};
use crate::scope::Thread;
use crate::scratch::{self, with_scratch};
use crate::stream::{Sampling, sample, verdict_on};
use crate::{tcp, time};

/// A call has moved `len` bytes of plaintext.
#[inline(always)]
pub(super) fn moved(call: &Call, len: u64) {
    ship_plaintext(
        call.object,
        call.buffer,
        len,
        call.entered,
        call.buffers << 1 | call.read,
    );
}

/// Ships the `len` bytes of plaintext at `buffer`, which moved on the current process's `object`
/// from `entered` until now. `shape` is 1 for a read, plus twice the number of buffers described at
/// `buffer`.
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ship_plaintext(object: u64, buffer: u64, len: u64, entered: u64, shape: u64) -> u32 {
    let thread = Thread::current();
    let Some(session) = session::of(thread, object) else {
        return 0;
    };
    let read = shape & 1 != 0;
    let stream = session.stream(read);
    let (verdict, grants) = verdict_on(stream, 0);
    if session.ignored != 0 || verdict == VerdictCode::Ignore as u32 {
        return 0;
    }
    let mut bits = flags::TLS;
    let sampling = if verdict == VerdictCode::Watch as u32 {
        Sampling::Watched
    } else if verdict == VerdictCode::Timing as u32 {
        Sampling::Metadata
    } else {
        bits |= flags::UNJUDGED;
        let unjudged = if read {
            &mut session.read_unjudged
        } else {
            &mut session.written_unjudged
        };
        sample(unjudged, grants, len)
    };
    let offset = add(if read { &mut session.read } else { &mut session.written }, len);
    if read {
        bits |= flags::READ;
    }
    if session.fresh != 0 {
        bits |= flags::FRESH;
    }
    let done = with_scratch(|depth| {
        // Written in place: the stack has no room for a record.
        if let Some(scratch) = scratch::at(depth) {
            scratch.segments = if shape > 1 {
                Segments::vector(buffer, shape >> 1)
            } else {
                Segments::contiguous(buffer, len)
            };
            let record = &mut scratch.record;
            record.header = Header {
                kind: Kind::Data as u32,
                captured: 0,
                tgid: thread.tgid(),
                tid: thread.tid(),
            };
            record.stream = stream;
            record.key = stream;
            record.pair = session.id;
            record.ino = 0;
            record.entered = entered;
            // SAFETY: the helper has no preconditions.
            record.exited = unsafe { bpf_ktime_get_ns() };
            record.offset = offset;
            record.len = len;
            record.at = 0;
            record.flags = bits;
            record.totals = Totals::default();
            record.tcp = measured(session);
        }
        time::account(depth);
        capture::ship(depth, sampling);
    });
    if !done {
        count(Counter::ScratchBusy, 1);
    }
    1
}

/// The state of the session's connection, while its socket is the one that it was bound to.
#[inline(always)]
fn measured(session: &Session) -> Tcp {
    // SAFETY: the value's fields are plain words.
    let same = unsafe { SOCKETS.get(session.sock) }.is_some_and(|socket| socket.id == session.socket);
    if session.socket != 0 && same {
        tcp::measured(session.sock)
    } else {
        Tcp::default()
    }
}
