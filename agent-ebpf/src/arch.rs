//! Where the architecture keeps a syscall's number and arguments.

use crate::{globals, walk};

#[cfg(bpf_target_arch = "x86_64")]
mod layout {
    use crate::walk;

    /// `struct pt_regs` from r10 to cs. The layout is ABI (ptrace).
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Saved {
        r10: u64,
        _r9_to_cx: [u64; 4],
        dx: u64,
        si: u64,
        di: u64,
        _orig_ax: u64,
        _ip: u64,
        cs: u64,
    }
    /// Of r10.
    const START: u64 = 56;
    pub(super) const NUMBER: u64 = 120;
    /// Of r8.
    pub(super) const FIFTH: u64 = 72;
    /// Size of `struct pt_regs`, which ends where a task's stack does.
    pub(super) const SIZE: u64 = 168;
    /// Code segment of 64-bit user space; 32-bit programs number their syscalls otherwise.
    const USER_CS: u64 = 0x33;

    #[inline(always)]
    pub(super) fn arguments(regs: u64) -> Option<[u64; 4]> {
        let saved = walk::read::<Saved>(regs + START)?;
        (saved.cs == USER_CS).then_some([saved.di, saved.si, saved.dx, saved.r10])
    }
}

#[cfg(bpf_target_arch = "aarch64")]
mod layout {
    use crate::walk;

    // Of `struct user_pt_regs`, which begins `struct pt_regs`. As a whole it would fill half of a program's stack.
    /// Of x1 to x3.
    const ARGUMENTS: u64 = 8;
    /// Of pstate, which the original first argument follows.
    const STATE: u64 = 264;
    pub(super) const NUMBER: u64 = 280;
    /// Of x4.
    pub(super) const FIFTH: u64 = 32;
    /// Size of `struct pt_regs` before 5.15, which ends where a task's stack does.
    pub(super) const SIZE: u64 = 336;
    /// PSR_MODE32_BIT: 32-bit programs number their syscalls otherwise.
    const MODE32: u64 = 0x10;

    #[inline(always)]
    pub(super) fn arguments(regs: u64) -> Option<[u64; 4]> {
        let [state, first] = walk::read::<[u64; 2]>(regs + STATE)?;
        let [second, third, fourth] = walk::read::<[u64; 3]>(regs + ARGUMENTS)?;
        (state & MODE32 == 0).then_some([first, second, third, fourth])
    }
}

/// Size of a task's stack in the kernel, with pages of 4 KiB.
const STACK_SIZE: u64 = 16 * 1024;

/// Address of the registers with which the current task entered the kernel, for kernels before 5.15.
#[inline(always)]
pub(crate) fn registers() -> Option<u64> {
    let stack = walk::follow(walk::current_task(), &globals::TASK_STACK)?;
    Some(stack + STACK_SIZE - layout::SIZE)
}

/// The number of the syscall whose registers are at `regs`.
#[inline(always)]
pub(crate) fn number(regs: u64) -> Option<u32> {
    walk::read::<u32>(regs + layout::NUMBER)
}

/// The first four arguments of the syscall whose registers are at `regs`; none for 32-bit programs.
#[inline(always)]
pub(crate) fn arguments(regs: u64) -> Option<[u64; 4]> {
    layout::arguments(regs)
}

/// The fifth argument of the syscall whose registers are at `regs`.
#[inline(always)]
pub(crate) fn fifth_argument(regs: u64) -> Option<u64> {
    walk::read::<u64>(regs + layout::FIFTH)
}
