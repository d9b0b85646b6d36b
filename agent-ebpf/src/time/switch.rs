//! The scheduler's and the reclaimer's tracepoints. Every switch of the host comes by here: cheap
//! refusal comes first.

use aya_ebpf::Global;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;

use super::ledger::{State, pass};
use super::{TASKS, faults_since, is_timed, known_task, mark, now, process_of, task, writing_since};
use crate::maps::add;
use crate::scope::Thread;
use crate::{globals, walk};

/// Bits of `task_struct.__state` (include/linux/sched.h), unchanged since 4.14.
mod bits {
    pub(super) const RUNNING: u32 = 0;
    pub(super) const UNINTERRUPTIBLE: u32 = 0x02;
    pub(super) const DEAD: u32 = 0x80;
}

/// sched_switch(preempt, prev, next[, prev_state]), while `prev` is current.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub(crate) fn switched(ctx: RawTracePointContext) -> i32 {
    let thread = Thread::current();
    let next = identity(ctx.arg(2));
    let (leaves, enters) = (is_timed(thread.tgid()), is_timed((next >> 32) as u32));
    if !leaves && !enters {
        return 0;
    }
    let now = now();
    if leaves {
        let task: u64 = ctx.arg(1);
        let preempted: u32 = ctx.arg(0);
        let state = if preempted & 0xff != 0 {
            bits::RUNNING
        } else if globals::SWITCH_TELLS_STATE.load() != 0 {
            ctx.arg(3)
        } else {
            walk::read_optional(task, &globals::TASK_STATE).unwrap_or(0)
        };
        switched_out(thread.pid_tgid, task, state, now);
    }
    if enters {
        switched_in(next, now);
    }
    0
}

/// sched_wakeup(task): it has been put on a run queue.
#[raw_tracepoint(tracepoint = "sched_wakeup")]
pub(crate) fn woken(ctx: RawTracePointContext) -> i32 {
    wakes(ctx.arg(0))
}

/// sched_wakeup_new(task): it is new, and on a run queue for the first time.
#[raw_tracepoint(tracepoint = "sched_wakeup_new")]
pub(crate) fn woken_new(ctx: RawTracePointContext) -> i32 {
    wakes(ctx.arg(0))
}

#[inline(always)]
fn wakes(task: u64) -> i32 {
    let thread = identity(task);
    if is_timed((thread >> 32) as u32) {
        queued(thread, task);
    }
    0
}

/// The thread needs memory, and looks for some itself.
#[raw_tracepoint(tracepoint = "mm_vmscan_direct_reclaim_begin")]
pub(crate) fn reclaim_begin(_ctx: RawTracePointContext) -> i32 {
    reclaims(1)
}

/// It has looked.
#[raw_tracepoint(tracepoint = "mm_vmscan_direct_reclaim_end")]
pub(crate) fn reclaim_end(_ctx: RawTracePointContext) -> i32 {
    reclaims(0)
}

/// As [`reclaim_begin`], because of a cgroup's limit.
#[raw_tracepoint(tracepoint = "mm_vmscan_memcg_reclaim_begin")]
pub(crate) fn group_reclaim_begin(_ctx: RawTracePointContext) -> i32 {
    reclaims(1)
}

/// As [`reclaim_end`].
#[raw_tracepoint(tracepoint = "mm_vmscan_memcg_reclaim_end")]
pub(crate) fn group_reclaim_end(_ctx: RawTracePointContext) -> i32 {
    reclaims(0)
}

#[inline(always)]
fn reclaims(begins: u32) -> i32 {
    let thread = Thread::current();
    if is_timed(thread.tgid()) {
        reclaiming(thread.pid_tgid, begins);
    }
    0
}

/// `pid_tgid` of the task at `task`.
#[inline(always)]
fn identity(task: u64) -> u64 {
    if cfg!(target_endian = "little") && globals::TASK_TGID.load() == globals::TASK_PID.load() + 4 {
        // Neighbours, as ever so far.
        return walk::read_field(task, &globals::TASK_PID).unwrap_or(0);
    }
    let tgid: u32 = walk::read_field(task, &globals::TASK_TGID).unwrap_or(0);
    let pid: u32 = walk::read_field(task, &globals::TASK_PID).unwrap_or(0);
    u64::from(tgid) << 32 | u64::from(pid)
}

/// The thread, whose task is at `address`, leaves its CPU in a state of the scheduler's.
///
/// Exported, and so a function of its own to the verifier, with a stack of its own.
#[unsafe(no_mangle)]
extern "C" fn switched_out(pid_tgid: u64, address: u64, state: u32, now: u64) -> u32 {
    let writing = writing_since(pid_tgid);
    if writing != 0 {
        mark(pid_tgid, writing);
    }
    let Some(task) = task(pid_tgid) else { return 0 };
    let process = process_of(task, pid_tgid);
    if state & bits::DEAD != 0 {
        if let Some(process) = process {
            pass(task, process, State::Asleep, now);
        }
        TASKS.remove(pid_tgid).unwrap_or_default();
        return 1;
    }
    let Some(process) = process else { return 0 };
    task.runs = 0;
    let next = if state == bits::RUNNING {
        if is_throttled(address) {
            State::Throttled
        } else {
            State::RunQueue
        }
    } else if task.reclaims != 0 || is_set(address, &globals::TASK_IN_MEMSTALL) {
        State::Memory
    } else if state & bits::UNINTERRUPTIBLE != 0 {
        if is_set(address, &globals::TASK_IN_IOWAIT) {
            State::Disk
        } else {
            State::Blocked
        }
    } else if writing != 0 {
        State::Writing
    } else {
        State::Asleep
    };
    if state & bits::UNINTERRUPTIBLE != 0 {
        // A major fault waits for its page.
        let faults = faults_since(task, address);
        task.faults += faults;
        add(&mut process.faults, faults);
    }
    pass(task, process, next, now);
    1
}

/// Whether a bit field of the task at `task` is set, whose offset in bits is in `field`.
#[inline(always)]
fn is_set(task: u64, field: &Global<u32>) -> bool {
    let bit = field.load();
    if bit == agent_abi::ABSENT {
        return false;
    }
    walk::read::<u8>(task + u64::from(bit / 8)).is_some_and(|byte| byte >> (bit % 8) & 1 != 0)
}

/// Whether the CPU quota is used up of a control group that the task at `task` is in.
#[inline(always)]
fn is_throttled(task: u64) -> bool {
    let offset = globals::TASK_SE.load();
    if offset == agent_abi::ABSENT {
        return false;
    }
    walk::read_optional::<u64>(task + u64::from(offset), &globals::SE_CFS_RQ)
        .filter(|&queue| queue != 0)
        .and_then(|queue| walk::read_optional::<u32>(queue, &globals::CFS_RQ_THROTTLED))
        .is_some_and(|groups| groups != 0)
}

/// The thread takes a CPU.
///
/// Exported as above.
#[unsafe(no_mangle)]
extern "C" fn switched_in(pid_tgid: u64, now: u64) -> u32 {
    let Some(task) = task(pid_tgid) else { return 0 };
    let Some(process) = process_of(task, pid_tgid) else {
        return 0;
    };
    task.runs = 1;
    let state = if task.reclaims == 0 {
        State::OnCpu
    } else {
        State::Memory
    };
    pass(task, process, state, now);
    1
}

/// The thread, whose task is at `address`, waits for a CPU from now on, unless it has one.
///
/// Exported as above.
#[unsafe(no_mangle)]
extern "C" fn queued(pid_tgid: u64, address: u64) -> u32 {
    let Some(task) = task(pid_tgid) else { return 0 };
    let Some(process) = process_of(task, pid_tgid) else {
        return 0;
    };
    // A wake-up that comes before its thread has gone to sleep changes nothing.
    if task.runs != 0 || task.state == State::RunQueue as u32 || task.state == State::Throttled as u32 {
        return 0;
    }
    let state = if is_throttled(address) {
        State::Throttled
    } else {
        State::RunQueue
    };
    pass(task, process, state, now());
    1
}

/// The thread begins (1) or ends (0) to reclaim memory.
///
/// Exported as above.
#[unsafe(no_mangle)]
extern "C" fn reclaiming(pid_tgid: u64, begins: u32) -> u32 {
    let Some(task) = known_task(pid_tgid) else { return 0 };
    let Some(process) = process_of(task, pid_tgid) else {
        return 0;
    };
    task.reclaims = begins;
    let state = if begins == 0 { State::OnCpu } else { State::Memory };
    pass(task, process, state, now());
    1
}
