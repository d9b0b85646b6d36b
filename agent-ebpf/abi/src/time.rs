//! What processes and threads do with their time, as the programs account for it.

use core::mem::{align_of, size_of};

/// Processes whose time is accounted for at once. Further ones are counted as a loss.
pub const MAX_TIMED_PROCESSES: u32 = 2048;
/// Their threads, likewise.
pub const MAX_TIMED_THREADS: u32 = 8192;
/// Slots that tell at a glance that a process is not timed, by tgid modulo the size: a power of two.
pub const TIMED_SLOTS: u32 = 4096;

/// Nanoseconds by what a thread did, or summed over the threads of a process. What is left of the
/// time is interruptible sleep: locks, timers, waiting for input.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// On a CPU, but for direct reclaim.
    pub on_cpu: u64,
    /// Runnable without a CPU: woken or preempted, not yet switched in.
    pub run_queue: u64,
    /// Uninterruptible sleep that the kernel calls I/O (`task_struct.in_iowait`).
    pub disk: u64,
    /// Uninterruptible sleep for another reason: a journal, a lock of the kernel, `vfork`.
    pub blocked: u64,
    /// In direct reclaim, on a CPU or asleep, or in a sleep that the kernel calls a memory stall
    /// (`task_struct.in_memstall`): swapping in, thrashing, compaction.
    pub memory: u64,
    /// Interruptible sleep inside a write: the pipe or the socket was full.
    pub blocked_write: u64,
    /// Runnable, but its control group had used up its CPU quota when it left its CPU or woke up.
    pub throttled: u64,
}

/// Running totals at an instant: of a read when it returned, of a write when it was entered. All
/// zero unless the record has `flags::TIMED`.
///
/// Exact for every thread of the process, whatever it does at that instant, from its first switch
/// after the process was timed on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sums over the threads of the process, those that have ended included.
    pub process: Times,
    /// The thread that made the syscall.
    pub thread: Times,
    /// Major page faults of the process.
    pub faults: u64,
    /// Bytes that the process has read and written on streams that are shipped.
    pub bytes: u64,
}

const _: () = {
    assert!(size_of::<Times>() == 56 && align_of::<Times>() == 8);
    assert!(size_of::<Totals>() == 128 && align_of::<Totals>() == 8);
    assert!(TIMED_SLOTS.is_power_of_two());
};

#[cfg(feature = "user")]
mod words {
    use super::{Times, Totals};

    /// The words of [`Times`], in order.
    const TIMES: usize = size_of::<Times>() / 8;
    /// The words of [`Totals`], in order.
    const TOTALS: usize = size_of::<Totals>() / 8;

    impl Times {
        /// From its words.
        #[must_use]
        pub fn from_words(words: [u64; TIMES]) -> Self {
            let [on_cpu, run_queue, disk, blocked, memory, blocked_write, throttled] = words;
            Self {
                on_cpu,
                run_queue,
                disk,
                blocked,
                memory,
                blocked_write,
                throttled,
            }
        }

        /// Its words.
        #[must_use]
        pub fn words(&self) -> [u64; TIMES] {
            let Self {
                on_cpu,
                run_queue,
                disk,
                blocked,
                memory,
                blocked_write,
                throttled,
            } = *self;
            [on_cpu, run_queue, disk, blocked, memory, blocked_write, throttled]
        }
    }

    impl Totals {
        /// From its words.
        #[must_use]
        pub fn from_words(words: [u64; TOTALS]) -> Self {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, faults, bytes] = words;
            Self {
                process: Times::from_words([a, b, c, d, e, f, g]),
                thread: Times::from_words([h, i, j, k, l, m, n]),
                faults,
                bytes,
            }
        }
    }
}
