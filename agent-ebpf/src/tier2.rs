//! Tier 2: the raw tracepoints that every syscall of the host passes. Cheap refusal comes first.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;

use crate::syscall::Syscall;
use crate::{arch, data};

/// sys_enter(regs, number).
#[raw_tracepoint(tracepoint = "sys_enter")]
pub(crate) fn sys_enter(ctx: RawTracePointContext) -> i32 {
    if let Some(syscall) = Syscall::from_number(ctx.arg(1)) {
        data::entered(syscall);
    }
    0
}

/// sys_exit(regs, return value).
#[raw_tracepoint(tracepoint = "sys_exit")]
pub(crate) fn sys_exit(ctx: RawTracePointContext) -> i32 {
    let Some((thread, entered)) = data::leaving() else {
        return 0;
    };
    let regs: u64 = ctx.arg(0);
    if let Some(syscall) = arch::number(regs).and_then(Syscall::from_number) {
        data::returned(syscall, thread, entered, regs, ctx.arg(1));
    }
    0
}

/// An empty program: what any raw tracepoint costs, for comparison.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub(crate) fn empty_enter(_ctx: RawTracePointContext) -> i32 {
    0
}

/// As [`empty_enter`], on the way out.
#[raw_tracepoint(tracepoint = "sys_exit")]
pub(crate) fn empty_exit(_ctx: RawTracePointContext) -> i32 {
    0
}
