//! Where the architecture keeps a syscall's number and arguments.

use crate::walk;

#[cfg(bpf_target_arch = "x86_64")]
mod layout {
    /// `struct pt_regs` from r10 to cs. The layout is ABI (ptrace).
    #[repr(C)]
    #[derive(Clone, Copy)]
    pub(super) struct Saved {
        r10: u64,
        _r9_to_cx: [u64; 4],
        dx: u64,
        si: u64,
        di: u64,
        _orig_ax: u64,
        _ip: u64,
        cs: u64,
    }
    pub(super) const START: u64 = 56;
    pub(super) const NUMBER: u64 = 120;
    /// Code segment of 64-bit user space; 32-bit programs number their syscalls otherwise.
    const USER_CS: u64 = 0x33;

    impl Saved {
        #[inline(always)]
        pub(super) fn arguments(&self) -> Option<[u64; 4]> {
            (self.cs == USER_CS).then_some([self.di, self.si, self.dx, self.r10])
        }
    }
}

#[cfg(bpf_target_arch = "aarch64")]
mod layout {
    /// `struct user_pt_regs` and the original first argument after it.
    #[repr(C)]
    #[derive(Clone, Copy)]
    pub(super) struct Saved {
        regs: [u64; 31],
        _sp: u64,
        _pc: u64,
        pstate: u64,
        orig_x0: u64,
    }
    pub(super) const START: u64 = 0;
    pub(super) const NUMBER: u64 = 280;
    /// PSR_MODE32_BIT: 32-bit programs number their syscalls otherwise.
    const MODE32: u64 = 0x10;

    impl Saved {
        #[inline(always)]
        pub(super) fn arguments(&self) -> Option<[u64; 4]> {
            (self.pstate & MODE32 == 0).then_some([self.orig_x0, self.regs[1], self.regs[2], self.regs[3]])
        }
    }
}

/// The number of the syscall whose registers are at `regs`.
#[inline(always)]
pub(crate) fn number(regs: u64) -> Option<u32> {
    walk::read::<u32>(regs + layout::NUMBER)
}

/// The first four arguments of the syscall whose registers are at `regs`; none for 32-bit programs.
#[inline(always)]
pub(crate) fn arguments(regs: u64) -> Option<[u64; 4]> {
    walk::read::<layout::Saved>(regs + layout::START)?.arguments()
}
