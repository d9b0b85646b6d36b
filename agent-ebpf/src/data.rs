//! The data syscalls, entered and left: the functions that both tiers of hooks end in.

use agent_abi::{Counter, DataRecord, ENTRY_SLOTS, Entry, Header, Kind, Tcp, Totals, flags};
use aya_ebpf::helpers::bpf_ktime_get_ns;

use crate::arch;
use crate::capture::{self, Segments};
use crate::emit::{Wake, emit};
use crate::maps::{ENTRIES, count};
use crate::scope::Thread;
use crate::scratch::{self, with_scratch};
use crate::stream::{self, Position, Sampling, Side};
use crate::syscall::Syscall;
use crate::{tcp, tls};

/// recv's flags that leave the bytes where they are (MSG_PEEK), or that read something else
/// (MSG_ERRQUEUE).
const NOT_TAKEN: u64 = 0x2 | 0x2000;
/// A descriptor that no table has.
const NO_FD: u32 = u32::MAX;

/// A data syscall of an observed process begins: notes that it does, and for writes when. (A read
/// begins long before its bytes are there.)
#[inline(always)]
pub(crate) fn entered(syscall: Syscall) {
    let Some(thread) = Thread::in_scope() else { return };
    let Some(slot) = ENTRIES.get_ptr_mut(thread.tid() & (ENTRY_SLOTS - 1)) else {
        return;
    };
    let at = match side_of(syscall) {
        Side::Reader => 0,
        // SAFETY: the helper has no preconditions.
        Side::Writer => unsafe { bpf_ktime_get_ns() },
    };
    // SAFETY: the pointer is to a map value; a slot shared by two threads is told by `pid_tgid`.
    unsafe {
        slot.write(Entry {
            pid_tgid: thread.pid_tgid,
            at,
        })
    };
}

/// Whether the current thread is about to leave a data syscall that [`entered`] has noted, and
/// when that began; 0 when that is not known. Cheap, for it comes before everything else.
#[inline(always)]
pub(crate) fn leaving() -> Option<(Thread, u64)> {
    let thread = Thread::current();
    let slot = ENTRIES.get_ptr_mut(thread.tid() & (ENTRY_SLOTS - 1))?;
    // SAFETY: as in `entered`.
    let entry = unsafe { &mut *slot };
    if entry.pid_tgid != thread.pid_tgid {
        return None;
    }
    entry.pid_tgid = 0;
    Some((thread, entry.at))
}

/// A data syscall, entered at `entered`, returns `ret`; its registers are at `regs`.
#[inline(always)]
pub(crate) fn returned(syscall: Syscall, thread: Thread, entered: u64, regs: u64, ret: i64) {
    if ret < 0 {
        return;
    }
    let Some(args) = arch::arguments(regs) else { return };
    let fd = args[0] as u32;
    let mut transfer = Transfer {
        thread,
        entered,
        len: ret as u64,
    };
    match syscall {
        Syscall::RecvFrom if args[3] & NOT_TAKEN != 0 => return,
        // Asked for nothing, it says nothing.
        Syscall::Read | Syscall::RecvFrom if args[2] == 0 => return,
        Syscall::RecvMsg if args[2] & NOT_TAKEN != 0 => return,
        Syscall::RecvMmsg if args[3] & NOT_TAKEN != 0 => return,
        Syscall::Splice | Syscall::Tee | Syscall::VmSplice | Syscall::SendFile => {
            // tee leaves the bytes where they are, vmsplice takes them from memory.
            let (from, to) = match syscall {
                Syscall::Splice => (fd, args[2] as u32),
                Syscall::SendFile => (args[1] as u32, fd),
                Syscall::Tee => (NO_FD, args[1] as u32),
                _ => (NO_FD, fd),
            };
            transfer.opaque(core::hint::black_box(from), Side::Reader);
            transfer.opaque(core::hint::black_box(to), Side::Writer);
            return;
        }
        // The result counts messages, not bytes.
        Syscall::RecvMmsg | Syscall::SendMmsg => transfer.len = capture::bytes_in_messages(args[1], ret as u64),
        _ => {}
    }
    // What the syscall was is forgotten here: the verifier checks what follows once, not per syscall.
    let place = core::hint::black_box(place_of(syscall));
    let side = core::hint::black_box(side_of(syscall));
    let Some(position) = stream::advance(fd, side, transfer.len, transfer.entered) else {
        return;
    };
    if side == Side::Writer && position.may_be_tls() {
        let bytes = match place {
            Place::Buffer => args[1],
            Place::Vector => capture::first_of_vector(args[1]),
            // A `struct mmsghdr` begins with a `struct msghdr`.
            Place::Message | Place::Messages => capture::first_of_message(args[1]),
        };
        tls::sent(thread, position.pair, position.key, bytes);
    }
    if position.sampling == Sampling::Sealed {
        return;
    }
    let done = with_scratch(|depth| {
        // Written in place: the stack has no room for a record.
        if let Some(scratch) = scratch::at(depth) {
            scratch.segments = match place {
                Place::Buffer => Segments::contiguous(args[1], transfer.len),
                Place::Vector => Segments::vector(args[1], args[2]),
                Place::Message => Segments::message(args[1]),
                Place::Messages => Segments::messages(args[1], ret as u64),
            };
            scratch.record = transfer.record(&position, side, 0);
        }
        capture::ship(depth, position.sampling);
    });
    if !done {
        count(Counter::ScratchBusy, 1);
    }
}

/// Where a syscall's bytes are in user memory.
#[derive(Clone, Copy)]
enum Place {
    Buffer,
    Vector,
    Message,
    Messages,
}

#[inline(always)]
fn place_of(syscall: Syscall) -> Place {
    match syscall {
        Syscall::ReadVector | Syscall::WriteVector => Place::Vector,
        Syscall::RecvMsg | Syscall::SendMsg => Place::Message,
        Syscall::RecvMmsg | Syscall::SendMmsg => Place::Messages,
        _ => Place::Buffer,
    }
}

#[inline(always)]
fn side_of(syscall: Syscall) -> Side {
    match syscall {
        Syscall::Read | Syscall::RecvFrom | Syscall::ReadVector | Syscall::RecvMsg | Syscall::RecvMmsg => Side::Reader,
        _ => Side::Writer,
    }
}

/// A finished syscall that moved bytes.
struct Transfer {
    thread: Thread,
    entered: u64,
    len: u64,
}

impl Transfer {
    /// Ships that bytes moved without passing through user memory.
    #[inline(always)]
    fn opaque(&self, fd: u32, side: Side) {
        let Some(position) = stream::advance(fd, side, self.len, self.entered) else {
            return;
        };
        if position.sampling == Sampling::Sealed {
            return;
        }
        count(Counter::OpaqueBytes, self.len);
        emit::<DataRecord>(Wake::Later, 0, |to| {
            let bits = flags::OPAQUE | flags::FIRST | flags::LAST;
            // SAFETY: `to` is a reserved ring entry of this type.
            unsafe { to.write(self.record(&position, side, bits)) };
        });
    }

    #[inline(always)]
    fn record(&self, position: &Position, side: Side, bits: u32) -> DataRecord {
        DataRecord {
            header: Header {
                kind: Kind::Data as u32,
                captured: 0,
                tgid: self.thread.tgid(),
                tid: self.thread.tid(),
            },
            stream: position.stream,
            key: position.key,
            pair: position.pair,
            ino: position.ino,
            entered: self.entered,
            // SAFETY: the helper has no preconditions.
            exited: unsafe { bpf_ktime_get_ns() },
            offset: position.offset,
            len: self.len,
            at: 0,
            flags: bits | position.flags | if side == Side::Reader { flags::READ } else { 0 },
            totals: Totals::default(),
            tcp: position.sock().map_or(Tcp::default(), tcp::measured),
        }
    }
}
