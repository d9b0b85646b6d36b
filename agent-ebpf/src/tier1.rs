//! Tier 1: trampolines on the data syscalls themselves. Every other syscall is left alone.
//!
//! The agent attaches `enter_X` and `leave_X` to the kernel's function for the syscall `X`; the
//! names are the contract (`sensor::hooks`).

use aya_ebpf::macros::{fentry, fexit};
use aya_ebpf::programs::{FEntryContext, FExitContext};

use crate::scope::Thread;
use crate::syscall::Syscall;
use crate::time::syscalls;
use crate::{arch, data, globals, mapping};

#[inline(always)]
fn registers(ctx: &FExitContext) -> Option<u64> {
    if globals::REGS_ON_STACK.load() != 0 {
        return arch::registers();
    }
    Some(ctx.arg(0))
}

macro_rules! trampolines {
    ($($enter:ident $leave:ident $syscall:ident;)*) => {
        $(
            #[fentry]
            pub(crate) fn $enter(_ctx: FEntryContext) -> i32 {
                data::entered(Syscall::$syscall);
                syscalls::entered(Syscall::$syscall.number());
                0
            }

            #[fexit]
            pub(crate) fn $leave(ctx: FExitContext) -> i32 {
                syscalls::left();
                // The function takes its registers; its result follows its one argument.
                if let Some((thread, entered)) = data::leaving()
                    && let Some(registers) = registers(&ctx)
                {
                    data::returned(Syscall::$syscall, thread, entered, registers, ctx.arg(1));
                }
                0
            }
        )*
    };
}

trampolines! {
    enter_read leave_read Read;
    enter_pread64 leave_pread64 Read;
    enter_readv leave_readv ReadVector;
    enter_preadv leave_preadv ReadVector;
    enter_preadv2 leave_preadv2 ReadVector;
    enter_recvfrom leave_recvfrom RecvFrom;
    enter_recvmsg leave_recvmsg RecvMsg;
    enter_recvmmsg leave_recvmmsg RecvMmsg;
    enter_write leave_write Write;
    enter_writev leave_writev WriteVector;
    enter_pwritev2 leave_pwritev2 WriteVector;
    enter_sendto leave_sendto Write;
    enter_sendmsg leave_sendmsg SendMsg;
    enter_sendmmsg leave_sendmmsg SendMmsg;
    enter_splice leave_splice Splice;
    enter_tee leave_tee Tee;
    enter_vmsplice leave_vmsplice VmSplice;
    enter_sendfile64 leave_sendfile64 SendFile;
}

#[fexit]
pub(crate) fn leave_mmap(ctx: FExitContext) -> i32 {
    if let Some(thread) = Thread::in_scope()
        && let Some(registers) = registers(&ctx)
    {
        mapping::returned(thread, registers, ctx.arg(1));
    }
    0
}
