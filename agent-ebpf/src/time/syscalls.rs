//! Which system calls the threads of a timed process spend their time in, since its latest request.
//!
//! Each process has a table of few slots that begins anew with every request that it reads; of too many
//! system calls the shortest gives way. When the process writes after a while, the table is shipped: so
//! it costs a fast call nothing but the counting. Trampolines see the data syscalls only, the raw
//! tracepoints all.

use agent_abi::{Header, Kind, MAX_TIMED_PROCESSES, SYSCALL_SLOTS, SyscallUse, SyscallsRecord};
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;

use super::{known_task, now};
use crate::emit::{Wake, emit};
use crate::maps::add;

/// Windows shorter than this are not worth a record.
const WORTH_TELLING_NS: u64 = 2_000_000;
/// What a process has spent since its latest request.
#[repr(C)]
struct Table {
    /// When that was read.
    began: u64,
    /// When it was last told of.
    told: u64,
    uses: [SyscallUse; SYSCALL_SLOTS],
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

/// A thread of a timed process enters the syscall `number`.
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn syscall_entered(pid_tgid: u64, number: u32) -> u32 {
    let Some(task) = known_task(pid_tgid) else { return 0 };
    task.syscall = number + 1;
    task.entered = now();
    1
}

/// It leaves the syscall that it is in.
///
/// Exported as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn syscall_left(pid_tgid: u64) -> u32 {
    let Some(task) = known_task(pid_tgid) else { return 0 };
    let number = task.syscall;
    if number == 0 {
        return 0;
    }
    task.syscall = 0;
    let Some(table) = table(task.slot) else { return 0 };
    // What was spent before the request came was not spent on it.
    let took = now().saturating_sub(task.entered.max(table.began));
    let uses = table.uses.as_mut_ptr();
    let (mut least, mut smallest) = (0, u64::MAX);
    for probe in 0..SYSCALL_SLOTS as u32 {
        let index = masked(number.wrapping_add(probe));
        // SAFETY: the index is masked to the size.
        let found = unsafe { &mut *uses.add(index) };
        if found.number == 0 {
            found.number = u64::from(number);
        }
        if found.number == u64::from(number) {
            add(&mut found.count, 1);
            add(&mut found.ns, took);
            return 1;
        }
        if found.ns < smallest {
            smallest = found.ns;
            least = index as u32;
        }
    }
    if took > smallest {
        // What is looked for is what took longest.
        // SAFETY: as above.
        let given_up = unsafe { &mut *uses.add(masked(least)) };
        given_up.number = u64::from(number);
        given_up.count = 1;
        given_up.ns = took;
    }
    0
}

#[inline(always)]
fn masked(index: u32) -> usize {
    // The mask must not be proven away: the verifier has to see it.
    core::hint::black_box(index) as usize & (SYSCALL_SLOTS - 1)
}

/// The process in `slot` has read a request, or a part of one, at `at`.
#[inline(always)]
pub(super) fn begin(slot: u32, at: u64) {
    let Some(table) = table(slot) else { return };
    table.began = at;
    table.told = at;
    for used in &mut table.uses {
        used.number = 0;
        used.count = 0;
        used.ns = 0;
    }
}

/// It begins to write at `at`: tells what it has spent.
///
/// Exported as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn tell_syscalls(slot: u32, pid_tgid: u64, at: u64) -> u32 {
    let Some(table) = table(slot) else { return 0 };
    if table.began == 0 || at.saturating_sub(table.told) < WORTH_TELLING_NS {
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
        // SAFETY: as above; both are arrays of the same type.
        let uses = unsafe { &raw mut (*to).uses }.cast::<SyscallUse>();
        for (n, used) in table.uses.iter().enumerate() {
            // SAFETY: `n` is within both arrays.
            unsafe { uses.add(n).write_volatile(*used) };
        }
    });
    u32::from(told)
}
