//! The data syscalls, entered and left: the functions that both tiers of hooks end in.

use agent_abi::{Counter, DataRecord, ENTRY_SLOTS, Entry, Header, Kind, Tcp, Totals, flags};
use aya_ebpf::helpers::bpf_ktime_get_ns;

use crate::arch;
use crate::capture::{self, Segments};
use crate::maps::{ENTRIES, count};
use crate::scope::Thread;
use crate::scratch::{self, with_scratch};
use crate::stream::{self, Sampling, Side};
use crate::syscall::Syscall;
use crate::{connection, socket, tcp, time, tls, upstream, walk};

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
    let at = match side_of(syscall) {
        Side::Reader => 0,
        // SAFETY: the helper has no preconditions.
        Side::Writer => unsafe { bpf_ktime_get_ns() },
    };
    note(thread, at);
}

/// Notes that `thread` has entered a syscall at `at`, so that its return is looked at.
#[inline(always)]
pub(crate) fn note(thread: Thread, at: u64) {
    let Some(slot) = ENTRIES.get_ptr_mut(thread.tid() & (ENTRY_SLOTS - 1)) else {
        return;
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
        place: place_of(syscall),
        address: args[1],
        count: args[2],
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
            transfer.ship(core::hint::black_box(from), Side::Reader);
            transfer.ship(core::hint::black_box(to), Side::Writer);
            return;
        }
        // The result counts messages, not bytes.
        Syscall::RecvMmsg | Syscall::SendMmsg => {
            transfer.len = capture::bytes_in_messages(args[1], ret as u64);
            transfer.count = ret as u64;
        }
        _ => {}
    }
    // What the syscall was is forgotten here: the verifier checks what follows once, not per syscall.
    transfer.place = core::hint::black_box(transfer.place);
    transfer.ship(fd, core::hint::black_box(side_of(syscall)));
}

/// Where a syscall's bytes are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Buffer,
    Vector,
    Message,
    Messages,
    /// Not in user memory.
    Kernel,
}

#[inline(always)]
fn place_of(syscall: Syscall) -> Place {
    match syscall {
        Syscall::ReadVector | Syscall::WriteVector => Place::Vector,
        Syscall::RecvMsg | Syscall::SendMsg => Place::Message,
        Syscall::RecvMmsg | Syscall::SendMmsg => Place::Messages,
        Syscall::Splice | Syscall::Tee | Syscall::VmSplice | Syscall::SendFile => Place::Kernel,
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
    place: Place,
    /// Of the buffer, the vector or the messages.
    address: u64,
    /// Of the vector's entries or of the messages.
    count: u64,
}

impl Transfer {
    /// Ships that bytes moved on `fd`, and of the bytes what is wanted.
    #[inline(never)]
    fn ship(&self, fd: u32, side: Side) {
        // A write of nothing is nothing; a read of nothing is the end of the stream.
        if self.len == 0 && side == Side::Writer {
            return;
        }
        let Some(file) = walk::file(fd) else { return };
        if file.socket != 0 && time::is_timed(self.thread.tgid()) {
            upstream::moved(&file, side, self.len, self.first());
        }
        if stream::is_quiet(&file, side) {
            return;
        }
        let done = with_scratch(|depth| {
            self.begin(depth, side, file.ino);
            let mut sampling = stream::advance(depth, file.inode, file.socket);
            if sampling == Sampling::New as u32 {
                connection::come_into_view(depth);
                sampling = stream::advance(depth, file.inode, file.socket);
            }
            match Sampling::from_number(sampling) {
                Sampling::Nothing | Sampling::Ignored | Sampling::New => {}
                wanted => self.complete(depth, side, wanted),
            }
        });
        if !done {
            count(Counter::ScratchBusy, 1);
        }
    }

    /// Writes what is known before the stream is to the record in the scratch memory at `depth`. In
    /// place: the stack has no room for a record.
    #[inline(always)]
    fn begin(&self, depth: u32, side: Side, ino: u64) {
        let Some(scratch) = scratch::at(depth) else { return };
        scratch.record = DataRecord {
            header: Header {
                kind: Kind::Data as u32,
                captured: 0,
                tgid: self.thread.tgid(),
                tid: self.thread.tid(),
            },
            stream: 0,
            key: 0,
            pair: 0,
            ino,
            entered: self.entered,
            // SAFETY: the helper has no preconditions.
            exited: unsafe { bpf_ktime_get_ns() },
            offset: 0,
            len: self.len,
            at: 0,
            flags: if side == Side::Reader { flags::READ } else { 0 },
            totals: Totals::default(),
            tcp: Tcp::default(),
        };
    }

    /// Ships the record, now that its stream is known.
    #[inline(always)]
    fn complete(&self, depth: u32, side: Side, sampling: Sampling) {
        let Some(scratch) = scratch::at(depth) else { return };
        let record = &mut scratch.record;
        if sampling == Sampling::Sealed {
            let socket = socket::open_socket(record.key & !1, record.ino);
            if socket != 0 {
                self.may_be_tls(side, socket, record.key & !1);
            }
            return;
        }
        let unjudged_tcp = flags::TCP | flags::UNJUDGED;
        if record.flags & unjudged_tcp == unjudged_tcp {
            self.may_be_tls(side, record.pair, record.key & !1);
        }
        if record.flags & flags::TCP != 0 {
            tcp::measure(depth);
        }
        time::account(depth);
        if self.place == Place::Kernel {
            count(Counter::OpaqueBytes, self.len);
            capture::ship_opaque(depth);
            return;
        }
        scratch.segments = match self.place {
            Place::Vector => Segments::vector(self.address, self.count),
            Place::Message => Segments::message(self.address),
            Place::Messages => Segments::messages(self.address, self.count),
            Place::Buffer | Place::Kernel => Segments::contiguous(self.address, self.len),
        };
        capture::ship(depth, sampling);
    }

    /// The bytes may be ciphertext of a TLS session, on the socket whose sock is at `sock`.
    #[inline(always)]
    fn may_be_tls(&self, side: Side, socket: u64, sock: u64) {
        match side {
            Side::Writer => tls::sent(self.thread, socket, sock, self.first()),
            Side::Reader => tls::received(self.thread, socket, sock),
        }
    }

    /// Address of the first of the bytes; 0 when it is not known.
    #[inline(always)]
    fn first(&self) -> u64 {
        match self.place {
            Place::Buffer => self.address,
            Place::Vector => capture::first_of_vector(self.address),
            // A `struct mmsghdr` begins with a `struct msghdr`.
            Place::Message | Place::Messages => capture::first_of_message(self.address),
            Place::Kernel => 0,
        }
    }
}
