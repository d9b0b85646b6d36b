//! Which system calls the threads of a timed process spend their time in, since its latest request.
//!
//! Each process has a table of few slots that begins anew with every request that it reads; of too many
//! system calls the shortest gives way. When the process writes after a while, the table is shipped: so
//! it costs a fast call nothing but the counting. Trampolines see the data syscalls only, the raw
//! tracepoints all.

use agent_abi::{
    Header, Kind, MAX_TIMED_PROCESSES, SYSCALL_BUCKETS, SYSCALL_FIRST_BUCKET, SYSCALL_SLOTS, SyscallUse, SyscallsRecord,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;

use super::{is_timed, now, slot_of};
use crate::emit::{Wake, emit};
use crate::maps::add;
use crate::scope::Thread;

/// Windows shorter than this are not worth a record.
const WORTH_TELLING_NS: u64 = 2_000_000;
/// Threads that are in a system call at a time, a power of two. Of two threads with one place the
/// later one counts.
const PLACES: u32 = 4096;

/// A thread of a timed process, and the system call that it is in.
#[repr(C)]
struct Inside {
    /// Whose this is.
    pid_tgid: u64,
    /// When it entered.
    at: u64,
    /// 1 more than the number; 0 when it is in none.
    number: u32,
    /// Where its process is.
    slot: u32,
}

/// By thread id. An array, for every system call of a timed process asks twice.
#[map]
static INSIDE: Array<Inside> = Array::with_max_entries(PLACES, 0);

/// What was spent in one system call.
#[repr(C)]
struct Spent {
    /// [`Table::began`] of the request that it is about; of an earlier one it is worth nothing.
    began: u64,
    of: SyscallUse,
}

/// What a process has spent since its latest request.
#[repr(C)]
struct Table {
    /// Whose this is.
    tgid: u64,
    /// When the request was read; 0 before the first.
    began: u64,
    /// When it was last told of.
    told: u64,
    spent: [Spent; SYSCALL_SLOTS],
}

/// By the slot of the process.
#[map]
static SYSCALLS: Array<Table> = Array::with_max_entries(MAX_TIMED_PROCESSES, 0);

#[inline(always)]
fn table<'a>(slot: u32) -> Option<&'a mut Table> {
    let table = SYSCALLS.get_ptr_mut(slot)?;
    // SAFETY: the pointer is to a map value of plain words, which lives as long as the program runs.
    Some(unsafe { &mut *table })
}

#[inline(always)]
fn inside<'a>(thread: Thread) -> Option<&'a mut Inside> {
    let inside = INSIDE.get_ptr_mut(thread.tid() & (PLACES - 1))?;
    // SAFETY: as in `table`; a place shared by two threads is told by `pid_tgid`.
    Some(unsafe { &mut *inside })
}

/// The current thread enters the syscall `number`.
#[inline(always)]
pub(crate) fn entered(number: u32) {
    let thread = Thread::current();
    if !is_timed(thread.tgid()) {
        return;
    }
    let Some(inside) = inside(thread) else { return };
    if inside.pid_tgid != thread.pid_tgid {
        inside.pid_tgid = thread.pid_tgid;
        inside.slot = slot_of(thread.tgid());
    }
    inside.number = number + 1;
    inside.at = now();
}

/// It leaves the syscall that it is in.
#[inline(always)]
pub(crate) fn left() {
    let thread = Thread::current();
    if !is_timed(thread.tgid()) {
        return;
    }
    let Some(inside) = inside(thread) else { return };
    if inside.pid_tgid == thread.pid_tgid && inside.number != 0 {
        let number = inside.number;
        inside.number = 0;
        spend(inside.slot, thread.tgid(), number, inside.at);
    }
}

/// A thread of the process in `slot` was in a system call from `from` until now.
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spend(slot: u32, tgid: u32, number: u32, from: u64) -> u32 {
    let Some(table) = table(slot) else { return 0 };
    let began = table.began;
    if table.tgid != u64::from(tgid) || began == 0 {
        return 0;
    }
    // What was spent before the request came was not spent on it.
    let took = now().saturating_sub(from.max(began));
    let all = table.spent.as_mut_ptr();
    let (mut least, mut smallest) = (0, u64::MAX);
    for probe in 0..SYSCALL_SLOTS as u32 {
        let index = masked(number.wrapping_add(probe));
        // SAFETY: the index is masked to the size.
        let found = unsafe { &mut *all.add(index) };
        if found.began != began {
            found.take(began, number);
        }
        if found.of.number == u64::from(number) {
            found.add(took);
            return 1;
        }
        if found.of.ns < smallest {
            smallest = found.of.ns;
            least = index as u32;
        }
    }
    if took > smallest {
        // What is looked for is what took longest.
        // SAFETY: as above.
        let given_up = unsafe { &mut *all.add(masked(least)) };
        given_up.take(began, number);
        given_up.add(took);
    }
    0
}

impl Spent {
    #[inline(always)]
    fn take(&mut self, began: u64, number: u32) {
        self.began = began;
        self.of.number = u64::from(number);
        self.of.count = 0;
        self.of.ns = 0;
        for bucket in &mut self.of.buckets {
            *bucket = 0;
        }
    }

    #[inline(always)]
    fn add(&mut self, took: u64) {
        add(&mut self.of.count, 1);
        add(&mut self.of.ns, took);
        let doublings = u64::BITS - (took >> SYSCALL_FIRST_BUCKET).leading_zeros();
        let last = SYSCALL_BUCKETS as u32 - 1;
        // The comparison must not be proven away: the verifier has to see it.
        let bucket = core::hint::black_box(doublings.min(last));
        if bucket <= last {
            // SAFETY: within the array.
            let bucket = unsafe { &mut *self.of.buckets.as_mut_ptr().add(bucket as usize) };
            *bucket = bucket.wrapping_add(1);
        }
    }
}

/// Word by word: a copy that large would become a call of a function that copies bytes.
#[inline(always)]
fn copy_words(from: &SyscallUse, to: *mut SyscallUse) {
    let from = core::ptr::from_ref(from).cast::<u64>();
    let to = to.cast::<u64>();
    for word in 0..size_of::<SyscallUse>() / 8 {
        // SAFETY: both are that many aligned words; the caller's `to` may be written.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
    }
}

#[inline(always)]
fn masked(index: u32) -> usize {
    // The mask must not be proven away: the verifier has to see it.
    core::hint::black_box(index) as usize & (SYSCALL_SLOTS - 1)
}

/// The process in `slot` has read a request, or a part of one, at `at`.
#[inline(always)]
pub(super) fn begin(slot: u32, tgid: u32, at: u64) {
    let Some(table) = table(slot) else { return };
    table.tgid = u64::from(tgid);
    table.began = at;
    table.told = at;
}

/// It begins to write at `at`: tells what it has spent.
///
/// Exported as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn tell_syscalls(slot: u32, pid_tgid: u64, at: u64) -> u32 {
    let Some(table) = table(slot) else { return 0 };
    if table.tgid != pid_tgid >> 32 || at.saturating_sub(table.told) < WORTH_TELLING_NS {
        return 0;
    }
    table.told = at;
    let told = emit::<SyscallsRecord>(Wake::Later, 0, |to| {
        let header = Header {
            kind: Kind::Syscalls as u32,
            captured: 0,
            tgid: (pid_tgid >> 32) as u32,
            tid: pid_tgid as u32,
        };
        // SAFETY: `to` is a reserved ring entry of this type.
        unsafe { (&raw mut (*to).header).write(header) };
        // SAFETY: as above.
        unsafe { (&raw mut (*to).from).write(table.began) };
        // SAFETY: as above.
        unsafe { (&raw mut (*to).to).write(at) };
        // SAFETY: as above; an array has its elements' layout.
        let uses = unsafe { &raw mut (*to).uses }.cast::<SyscallUse>();
        for (n, spent) in table.spent.iter().enumerate() {
            // SAFETY: `n` is within both arrays.
            let to = unsafe { uses.add(n) };
            copy_words(&spent.of, to);
            if spent.began != table.began {
                // What is left of an earlier request.
                // SAFETY: as above.
                unsafe { (&raw mut (*to).number).write_volatile(0) };
            }
        }
    });
    u32::from(told)
}
