//! What the threads of the processes that speak MCP do with their time.
//!
//! A process is timed from the first record on that it ships of a judged stream; every other process
//! is refused at a glance ([`is_timed`]). A thread is in one [`State`] at a time; [`switch`] moves it
//! on. For each state the process keeps how many threads are in it and a sum of instants, so that its
//! totals are exact at any instant for all threads, also for those that have been running or waiting
//! for a long time ([`ledger`]).

pub(crate) mod ledger;
mod switch;
pub(crate) mod syscalls;

use agent_abi::{Counter, ENTRY_SLOTS, MAX_TIMED_PROCESSES, MAX_TIMED_THREADS, TIMED_SLOTS, Totals, flags};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, Stack};

use crate::maps::{ENTRIES, add, count};
use crate::scope::Thread;
use crate::time::ledger::{Process, State, Task};
use crate::{globals, scratch, walk};

/// How many timed processes have this tgid modulo the size.
#[map]
static TIMED: Array<u64> = Array::with_max_entries(TIMED_SLOTS, 0);

/// Slots in [`PROCESSES`] that are free. The agent fills it once all hooks are attached that move
/// threads on: totals without them would be wrong.
#[map]
static FREE: Stack<u32> = Stack::with_max_entries(MAX_TIMED_PROCESSES, 0);

/// Slots of the timed processes, by tgid.
#[map]
static SLOTS: HashMap<u32, u32> = HashMap::with_max_entries(MAX_TIMED_PROCESSES, 0);

/// Timed processes, by slot.
#[map]
static PROCESSES: Array<Process> = Array::with_max_entries(MAX_TIMED_PROCESSES, 0);

/// Their threads, by `pid_tgid`.
#[map]
static TASKS: HashMap<u64, Task> = HashMap::with_max_entries(MAX_TIMED_THREADS, 0);

/// New entries are copied from here: they do not fit on the stack.
#[map]
static NEW_TASK: Array<Task> = Array::with_max_entries(1, 0);

/// Whether the process may be timed. An array is asked, not a hash table: every switch of the host
/// asks twice.
#[inline(always)]
pub(crate) fn is_timed(tgid: u32) -> bool {
    TIMED
        .get(tgid & (TIMED_SLOTS - 1))
        .is_some_and(|&processes| processes != 0)
}

#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// Slot of a timed process; [`NO_SLOT`] when it is none.
#[inline(always)]
fn slot_of(tgid: u32) -> u32 {
    // SAFETY: the value is one word.
    unsafe { SLOTS.get(tgid) }.copied().unwrap_or(NO_SLOT)
}

const NO_SLOT: u32 = u32::MAX;

/// The process of a thread. `None` once it has ended: then its slot may be another's.
#[inline(always)]
fn process_of<'a>(task: &Task, pid_tgid: u64) -> Option<&'a mut Process> {
    let process = PROCESSES.get_ptr_mut(task.slot)?;
    // SAFETY: the pointer is to a map value of plain words, which lives as long as the program runs.
    let process = unsafe { &mut *process };
    (process.tgid == pid_tgid >> 32).then_some(process)
}

/// What is known of a thread of a timed process. A new one is asleep since ever.
#[inline(always)]
fn task<'a>(pid_tgid: u64) -> Option<&'a mut Task> {
    let known = known_task(pid_tgid);
    if known.is_some() {
        return known;
    }
    let slot = slot_of((pid_tgid >> 32) as u32);
    if slot == NO_SLOT {
        return None;
    }
    let new = NEW_TASK.get_ptr_mut(0)?;
    // SAFETY: as in `process_of`.
    if TASKS
        .insert(pid_tgid, unsafe { &*new }, u64::from(BPF_NOEXIST))
        .is_err()
    {
        count(Counter::TimeTableFull, 1);
    }
    let task = known_task(pid_tgid)?;
    task.slot = slot;
    Some(task)
}

#[inline(always)]
fn known_task<'a>(pid_tgid: u64) -> Option<&'a mut Task> {
    let task = TASKS.get_ptr_mut(pid_tgid)?;
    // SAFETY: as in `process_of`; a thread is moved on by one CPU at a time.
    Some(unsafe { &mut *task })
}

/// Begins to time a process.
#[inline(always)]
fn begin(tgid: u32) {
    let Ok(Some(slot)) = FREE.pop() else {
        // Slot 0 is the last to go: it is free if there never were any.
        if PROCESSES.get(0).is_some_and(|process| process.tgid != 0) {
            count(Counter::TimeTableFull, 1);
        }
        return;
    };
    let Some(process) = PROCESSES.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: as in `process_of`; the slot is nobody else's.
    unsafe { process.write_bytes(0, 1) };
    // SAFETY: as above.
    unsafe { (*process).tgid = u64::from(tgid) };
    if SLOTS.insert(tgid, slot, u64::from(BPF_NOEXIST)).is_err() {
        // Another thread was first.
        give_back(slot);
        return;
    }
    if let Some(timed) = TIMED.get_ptr_mut(tgid & (TIMED_SLOTS - 1)) {
        // SAFETY: as in `process_of`.
        add(unsafe { &mut *timed }, 1);
    }
}

/// Whether the process is timed and may tell of a wait at `now`: of so many in so long.
#[inline(always)]
pub(crate) fn may_tell(tgid: u32, now: u64) -> bool {
    /// As a power of two of nanoseconds: 134 ms.
    const SPAN: u32 = 27;
    const WAITS: u64 = 128;
    let slot = slot_of(tgid);
    let Some(process) = PROCESSES.get_ptr_mut(slot) else {
        return false;
    };
    // SAFETY: as in `process_of`.
    let process = unsafe { &mut *process };
    if process.span != now >> SPAN {
        process.span = now >> SPAN;
        process.waits = 0;
    }
    process.waits += 1;
    let may = process.waits <= WAITS;
    if !may {
        count(Counter::WaitsUntold, 1);
    }
    may
}

#[inline(always)]
fn give_back(slot: u32) {
    if FREE.push(slot, 0).is_err() {
        // It has room for all slots; under contention from an NMI one is lost.
        count(Counter::TimeTableFull, 1);
    }
}

/// Writes the totals of the current thread and its process into the record in the scratch memory at
/// `depth`, which is otherwise complete. Times the process from now on if the record is of a judged
/// stream, or if processes were asked for by name.
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn account(depth: u32) -> u32 {
    let Some(scratch) = scratch::at(depth) else { return 0 };
    let record = &mut scratch.record;
    let (tgid, tid) = (record.header.tgid, record.header.tid);
    let pid_tgid = u64::from(tgid) << 32 | u64::from(tid);
    let mut found = task(pid_tgid);
    if found.is_none() {
        if globals::HOST_SCOPE.load() != 0 && record.flags & flags::UNJUDGED != 0 {
            return 0;
        }
        begin(tgid);
        found = task(pid_tgid);
    }
    let Some(task) = found else { return 0 };
    let Some(process) = process_of(task, pid_tgid) else {
        return 0;
    };
    if task.state == State::Asleep as u32 {
        // Met for the first time: whoever gets here is on a CPU.
        task.runs = 1;
        ledger::pass(task, process, State::OnCpu, now());
    }
    add(&mut process.bytes, record.len);
    record.totals.bytes = process.bytes;
    record.totals.faults = process.faults + faults_since(task, walk::current_task());
    record.flags |= flags::TIMED;
    if record.flags & flags::UNJUDGED == 0 {
        if record.flags & flags::READ != 0 {
            syscalls::begin(task.slot, tgid, record.exited);
        } else {
            syscalls::tell_syscalls(task.slot, pid_tgid, record.entered);
        }
    }
    let written = if record.flags & flags::READ == 0 {
        record.entered
    } else {
        0
    };
    if written != 0 && task.mark == written {
        record.totals.process = task.marked.process;
        record.totals.thread = task.marked.thread;
        return 1;
    }
    // Since it was last switched in nothing has changed but the time: totals at the entry of a write
    // are found now as well as then.
    let at = if written >= task.since { written } else { record.exited };
    ledger::totals(task, process, at, &mut record.totals);
    1
}

/// Notes the totals at the entry of the write that a thread is about to be switched out of: once it
/// has been switched out they cannot be told any more.
///
/// Exported as above.
#[unsafe(no_mangle)]
extern "C" fn mark(pid_tgid: u64, at: u64) -> u32 {
    let Some(task) = known_task(pid_tgid) else { return 0 };
    let Some(process) = process_of(task, pid_tgid) else {
        return 0;
    };
    if task.mark == at || task.since > at {
        return 0;
    }
    let mut totals = Totals::default();
    ledger::totals(task, process, at, &mut totals);
    task.mark = at;
    task.marked.process = totals.process;
    task.marked.thread = totals.thread;
    1
}

/// When the write began that the thread is in; 0 when it is in none.
#[inline(always)]
fn writing_since(pid_tgid: u64) -> u64 {
    match ENTRIES.get(pid_tgid as u32 & (ENTRY_SLOTS - 1)) {
        Some(entry) if entry.pid_tgid == pid_tgid => entry.at,
        _ => 0,
    }
}

/// Major faults of the thread whose task is at `address` that its process has not been told of.
#[inline(always)]
fn faults_since(task: &mut Task, address: u64) -> u64 {
    let faults = 1 + walk::read_optional::<u64>(address, &globals::TASK_MAJ_FLT).unwrap_or(0);
    if task.faults == 0 {
        task.faults = faults;
    }
    faults.saturating_sub(task.faults)
}

/// The current thread, once `old`, executes a program: it has taken the id of its process's first
/// thread, which is gone.
#[inline(always)]
pub(crate) fn executed(old: u32) {
    let thread = Thread::current();
    if old != thread.tid() && is_timed(thread.tgid()) {
        renamed(thread.pid_tgid, old);
    }
}

/// Exported as above.
#[unsafe(no_mangle)]
extern "C" fn renamed(pid_tgid: u64, old: u32) -> u32 {
    let before = pid_tgid >> 32 << 32 | u64::from(old);
    if let Some(task) = known_task(before) {
        if let Some(process) = process_of(task, before) {
            ledger::pass(task, process, State::Asleep, now());
        }
        TASKS.remove(before).unwrap_or_default();
    }
    let Some(task) = task(pid_tgid) else { return 0 };
    let Some(process) = process_of(task, pid_tgid) else {
        return 0;
    };
    task.runs = 1;
    ledger::pass(task, process, State::OnCpu, now());
    1
}

/// The current thread ends. With the last one the process is timed no more.
#[inline(always)]
pub(crate) fn exited() {
    let tgid = Thread::current().tgid();
    if is_timed(tgid) {
        let signal = walk::follow(walk::current_task(), &globals::TASK_SIGNAL).unwrap_or(0);
        let live: u32 = walk::read_field(signal, &globals::SIGNAL_LIVE).unwrap_or(0);
        if live == 0 {
            ended(tgid);
        }
    }
}

#[inline(always)]
fn ended(tgid: u32) {
    let slot = slot_of(tgid);
    // Two threads may be the last at once.
    if slot == NO_SLOT || SLOTS.remove(tgid).is_err() {
        return;
    }
    if let Some(process) = PROCESSES.get_ptr_mut(slot) {
        // SAFETY: as in `process_of`.
        unsafe { (*process).tgid = 0 };
    }
    give_back(slot);
    if let Some(timed) = TIMED.get_ptr_mut(tgid & (TIMED_SLOTS - 1)) {
        // SAFETY: as in `process_of`.
        add(unsafe { &mut *timed }, 1u64.wrapping_neg());
    }
}
