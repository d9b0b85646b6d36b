//! Tier 2: the raw tracepoints that every syscall of the host passes. Cheap refusal comes first.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;

use crate::syscall::Syscall;
use crate::time::syscalls;
use crate::{arch, data, mapping};

/// sys_enter(regs, number).
#[raw_tracepoint(tracepoint = "sys_enter")]
pub(crate) fn sys_enter(ctx: RawTracePointContext) -> i32 {
    let number: u32 = ctx.arg(1);
    syscalls::entered(number);
    if let Some(syscall) = Syscall::from_number(number) {
        data::entered(syscall);
    } else if mapping::is_mmap(number) {
        mapping::entered(ctx.arg(0));
    }
    0
}

/// sys_exit(regs, return value).
#[raw_tracepoint(tracepoint = "sys_exit")]
pub(crate) fn sys_exit(ctx: RawTracePointContext) -> i32 {
    // First: a request that is read begins a new account.
    syscalls::left();
    let Some((thread, entered)) = data::leaving() else {
        return 0;
    };
    let regs: u64 = ctx.arg(0);
    let Some(number) = arch::number(regs) else { return 0 };
    if let Some(syscall) = Syscall::from_number(number) {
        data::returned(syscall, thread, entered, regs, ctx.arg(1));
    } else if mapping::is_mmap(number) {
        mapping::returned(thread, regs, ctx.arg(1));
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
