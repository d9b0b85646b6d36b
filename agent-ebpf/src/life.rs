//! Processes: created, started, ended.

use agent_abi::{ARGS_MAX, Counter, ExecRecord, Header, Kind, LifeRecord, Membership};
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_current_comm, bpf_probe_read_user};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use aya_log_ebpf::warn;
use core::ffi::c_void;

use crate::emit::{Wake, emit};
use crate::maps::{SCOPE, count};
use crate::{globals, scope, time, walk};

/// sched_process_fork(parent, child): children of members are members from their first instruction.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub(crate) fn process_fork(ctx: RawTracePointContext) -> i32 {
    if forked(&ctx).is_none() {
        warn!(&ctx, "could not read the child of {}", ctx.tgid());
    }
    0
}

/// sched_process_exec(task, old pid, binprm), in the task that executes.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub(crate) fn process_exec(ctx: RawTracePointContext) -> i32 {
    let tgid = ctx.tgid();
    time::executed(ctx.arg(1));
    if scope::contains(tgid) {
        executed(tgid, &ctx);
    }
    0
}

/// sched_process_exit(task), in the thread that ends, before its files are closed.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn process_exit(ctx: RawTracePointContext) -> i32 {
    let tgid = ctx.tgid();
    time::exited();
    if scope::contains(tgid) && exited(tgid).is_none() {
        warn!(&ctx, "could not read how {} ended", tgid);
    }
    0
}

/// mark_victim(task, uid), until 6.8 mark_victim(pid): the kernel kills for want of memory, in the
/// thread that wanted some.
#[raw_tracepoint(tracepoint = "mark_victim")]
pub(crate) fn victim_marked(ctx: RawTracePointContext) -> i32 {
    let victim: u64 = ctx.arg(0);
    // No address is that low, no id that high.
    let tgid = if victim >> 32 == 0 {
        Some(victim as u32)
    } else {
        walk::read_field(victim, &globals::TASK_TGID)
    };
    if let Some(tgid) = tgid
        && scope::contains(tgid)
    {
        life(Kind::OomKill, tgid, tgid, 0, Wake::Now);
    }
    0
}

#[inline(always)]
fn forked(ctx: &RawTracePointContext) -> Option<()> {
    let parent: u64 = ctx.arg(0);
    let child: u64 = ctx.arg(1);
    let tid: u32 = walk::read_field(child, &globals::TASK_PID)?;
    let tgid: u32 = walk::read_field(child, &globals::TASK_TGID)?;
    if tid != tgid {
        return Some(()); // a thread
    }
    let parent: u32 = walk::read_field(parent, &globals::TASK_TGID)?;
    if globals::HOST_SCOPE.load() == 0 {
        if !scope::is_member(parent) {
            return Some(());
        }
        if SCOPE.insert(tgid, Membership::Member as u32, 0).is_err() {
            count(Counter::ProcessTableFull, 1);
            warn!(ctx, "no room to observe {}, a child of {}", tgid, parent);
        }
    }
    life(Kind::Fork, tgid, tid, parent, Wake::Later);
    Some(())
}

#[inline(always)]
fn executed(tgid: u32, ctx: &RawTracePointContext) {
    let tid = ctx.pid();
    // Word by word: 5.10's verifier refuses an optional pair that is half unwritten.
    let mm = walk::follow(walk::current_task(), &globals::TASK_MM).unwrap_or(0);
    let start: u64 = walk::read_field(mm, &globals::MM_ARG_START).unwrap_or(0);
    let end: u64 = walk::read_field(mm, &globals::MM_ARG_END).unwrap_or(0);
    let len = end.saturating_sub(start);
    // The agent is woken: what it wants to know of a short-lived process is soon gone.
    emit::<ExecRecord>(Wake::Now, 0, |to| {
        let bounded = if len >= ARGS_MAX as u64 {
            ARGS_MAX as u32
        } else {
            (len as u32) & (ARGS_MAX as u32 - 1)
        };
        // SAFETY: `to` is a reserved ring entry of this type.
        let args = unsafe { &raw mut (*to).args }.cast::<c_void>();
        // SAFETY: `bounded` is at most the size of `args`; the helper checks the source.
        let failed = unsafe { bpf_probe_read_user(args, bounded, start as *const c_void) } != 0;
        let captured = if failed { 0 } else { bounded };
        // SAFETY: as above.
        unsafe {
            (&raw mut (*to).header).write(Header {
                kind: Kind::Exec as u32,
                captured,
                tgid,
                tid,
            })
        };
        // SAFETY: as above.
        unsafe { (&raw mut (*to).at).write(bpf_ktime_get_ns()) };
        // SAFETY: as above.
        let comm = unsafe { &raw mut (*to).comm }.cast::<c_void>();
        // SAFETY: the destination is 16 bytes, which the helper fills whatever happens.
        unsafe { bpf_get_current_comm(comm, 16) };
    });
}

#[inline(always)]
fn exited(tgid: u32) -> Option<()> {
    let task = walk::current_task();
    let signal = walk::follow(task, &globals::TASK_SIGNAL)?;
    let live: u32 = walk::read_field(signal, &globals::SIGNAL_LIVE)?;
    if live != 0 {
        return Some(()); // other threads live on
    }
    let status: u32 = walk::read_field(task, &globals::TASK_EXIT_CODE)?;
    life(Kind::Exit, tgid, bpf_get_current_pid_tgid() as u32, status, Wake::Later);
    if globals::HOST_SCOPE.load() == 0 && SCOPE.remove(tgid).is_err() {
        // A peer that user space has removed already: nothing is lost.
        return Some(());
    }
    Some(())
}

/// Ships what became of a process.
#[inline(always)]
pub(crate) fn life(kind: Kind, tgid: u32, tid: u32, value: u32, wake: Wake) {
    emit::<LifeRecord>(wake, 0, |to| {
        let header = Header {
            kind: kind as u32,
            captured: 0,
            tgid,
            tid,
        };
        // SAFETY: the helper has no preconditions.
        let at = unsafe { bpf_ktime_get_ns() };
        // SAFETY: `to` is a reserved ring entry of this type.
        unsafe {
            to.write(LifeRecord {
                header,
                at,
                value,
                reserved: 0,
            })
        };
    });
}
