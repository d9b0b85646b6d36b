//! Registers at a probe that are not plain C arguments or results.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::pt_regs;

#[inline(always)]
fn registers(ctx: &impl EbpfContext) -> *const pt_regs {
    ctx.as_ptr().cast::<pt_regs>().cast_const()
}

/// Reads one register of a probe's context.
macro_rules! register {
    ($ctx:ident, $($path:tt)+) => {
        // SAFETY: a probe's context is the registers of the thread.
        unsafe { (*registers($ctx)).$($path)+ }
    };
}

#[cfg(bpf_target_arch = "x86_64")]
mod layout {
    use super::*;

    /// What a call has put on the stack below its caller's frame.
    pub(crate) const RETURN_ADDRESS: u64 = 8;

    #[inline(always)]
    pub(crate) fn stack_pointer(ctx: &impl EbpfContext) -> u64 {
        register!(ctx, rsp)
    }

    /// The second word of a result that takes two registers.
    #[inline(always)]
    pub(crate) fn second_result(ctx: &impl EbpfContext) -> u64 {
        register!(ctx, rdx)
    }

    /// The running goroutine, in Go's register ABI.
    #[inline(always)]
    pub(crate) fn goroutine(ctx: &impl EbpfContext) -> u64 {
        register!(ctx, r14)
    }

    /// The receiver of a Go method; also the first word of a Go function's result.
    #[inline(always)]
    pub(crate) fn go_first(ctx: &impl EbpfContext) -> u64 {
        register!(ctx, rax)
    }

    /// The address of the slice that is a Go method's first argument.
    #[inline(always)]
    pub(crate) fn go_second(ctx: &impl EbpfContext) -> u64 {
        register!(ctx, rbx)
    }
}

#[cfg(bpf_target_arch = "aarch64")]
mod layout {
    use super::*;

    /// The return address is in a register.
    pub(crate) const RETURN_ADDRESS: u64 = 0;

    #[inline(always)]
    pub(crate) fn stack_pointer(ctx: &impl EbpfContext) -> u64 {
        register!(ctx, sp)
    }

    /// The second word of a result that takes two registers.
    #[inline(always)]
    pub(crate) fn second_result(ctx: &impl EbpfContext) -> u64 {
        register!(ctx, regs[1])
    }

    /// The running goroutine, in Go's register ABI.
    #[inline(always)]
    pub(crate) fn goroutine(ctx: &impl EbpfContext) -> u64 {
        register!(ctx, regs[28])
    }

    /// The receiver of a Go method; also the first word of a Go function's result.
    #[inline(always)]
    pub(crate) fn go_first(ctx: &impl EbpfContext) -> u64 {
        register!(ctx, regs[0])
    }

    /// The address of the slice that is a Go method's first argument.
    #[inline(always)]
    pub(crate) fn go_second(ctx: &impl EbpfContext) -> u64 {
        register!(ctx, regs[1])
    }
}

pub(super) use layout::*;
