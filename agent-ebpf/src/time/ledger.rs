//! The arithmetic of totals that are exact at any instant.
//!
//! Of each state a process keeps how many threads are in it (n) and the sum of the instants at which
//! threads left it less that of those at which they entered it (s). The time spent in the state up to
//! an instant t is then s + n t: no list of threads, and one addition to each per change.
//!
//! Both are added to by several CPUs without a lock, so a reader may see one without the other. All
//! instants are therefore shifted by [`SHIFT`], far beyond any true total: what was seen halfway is
//! off by about that much, which tells in which direction, and is put right.

use agent_abi::{Times, Totals};

use crate::maps::add;

/// What a thread is doing. All but sleep are counted; sleep is what is left of the time.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Interruptible sleep, and not yet met.
    Asleep = 0,
    OnCpu = 1,
    RunQueue = 2,
    Disk = 3,
    Blocked = 4,
    Memory = 5,
    Writing = 6,
    Throttled = 7,
}

/// Slots by state: a power of two, so that a masked index is within bounds to the verifier.
const SLOTS: usize = 8;
/// States that are counted: from 1 on, in the order of [`Times`].
const COUNTED: usize = size_of::<Times>() / 8;
/// Beyond any total: 36 years of one thread.
const SHIFT: u64 = 1 << 61;

/// What is kept of a process.
#[repr(C)]
pub(crate) struct Process {
    /// By state: ends less beginnings.
    sums: [u64; SLOTS],
    /// By state: threads in it.
    threads: [u64; SLOTS],
    /// Major faults.
    pub(crate) faults: u64,
    /// Bytes read and written.
    pub(crate) bytes: u64,
    /// The span of time that `waits` is about.
    pub(crate) span: u64,
    /// Waits for other hosts within it.
    pub(crate) waits: u64,
    /// Whose these are; 0 for nobody's.
    pub(crate) tgid: u64,
}

/// What is kept of a thread.
#[repr(C)]
pub(crate) struct Task {
    /// A [`State`].
    pub(crate) state: u32,
    /// 1 while it reclaims memory.
    pub(crate) reclaims: u32,
    /// 1 while it has a CPU, whatever it does with it.
    pub(crate) runs: u32,
    /// Where its process is.
    pub(crate) slot: u32,
    /// When it entered its state.
    pub(crate) since: u64,
    /// By state: nanoseconds up to then.
    spent: [u64; SLOTS],
    /// 1 more than its major faults that its process has been told of; 0 before the first look.
    pub(crate) faults: u64,
    /// Entry of the write that `marked` is about.
    pub(crate) mark: u64,
    /// Totals at that instant.
    pub(crate) marked: Marked,
}

/// Times at the entry of a write.
#[repr(C)]
pub(crate) struct Marked {
    pub(crate) process: Times,
    pub(crate) thread: Times,
}

#[inline(always)]
fn slot(slots: &mut [u64; SLOTS], state: u32) -> &mut u64 {
    // The mask must not be proven away: the verifier has to see it.
    let index = core::hint::black_box(state) as usize & (SLOTS - 1);
    // SAFETY: the index is masked to the size.
    unsafe { &mut *slots.as_mut_ptr().add(index) }
}

/// The thread goes from what it did to `next`.
#[inline(always)]
pub(crate) fn pass(task: &mut Task, process: &mut Process, next: State, now: u64) {
    let previous = task.state;
    if previous != State::Asleep as u32 {
        *slot(&mut task.spent, previous) += now.saturating_sub(task.since);
        add(slot(&mut process.sums, previous), now.wrapping_add(SHIFT));
        add(slot(&mut process.threads, previous), 1u64.wrapping_neg());
    }
    if next != State::Asleep {
        add(
            slot(&mut process.sums, next as u32),
            now.wrapping_add(SHIFT).wrapping_neg(),
        );
        add(slot(&mut process.threads, next as u32), 1);
    }
    task.state = next as u32;
    task.since = now;
}

/// Writes the totals at `at`, at which the thread was in its state already.
#[inline(always)]
pub(crate) fn totals(task: &Task, process: &Process, at: u64, to: &mut Totals) {
    let of_process = (&raw mut to.process).cast::<u64>();
    let of_thread = (&raw mut to.thread).cast::<u64>();
    for i in 0..COUNTED {
        let state = i + 1;
        let spent = volatile(&process.sums[state])
            .wrapping_add(volatile(&process.threads[state]).wrapping_mul(at.wrapping_add(SHIFT)));
        // To the nearest multiple of the shift: 0 unless a change was seen halfway.
        let halves = spent.wrapping_add(SHIFT / 2) as i64 >> SHIFT.trailing_zeros();
        let spent = spent.wrapping_sub((halves as u64).wrapping_mul(at.wrapping_add(SHIFT)));
        // SAFETY: `i` is one of the words of `Times`.
        unsafe { of_process.add(i).write(spent) };
        let current = if task.state == state as u32 {
            at.saturating_sub(task.since)
        } else {
            0
        };
        // SAFETY: as above.
        unsafe { of_thread.add(i).write(task.spent[state] + current) };
    }
}

#[inline(always)]
fn volatile(word: &u64) -> u64 {
    // SAFETY: a reference is valid to read.
    unsafe { core::ptr::from_ref(word).read_volatile() }
}
