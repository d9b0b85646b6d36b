//! Which processes are observed.

use agent_abi::Membership;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::globals;
use crate::maps::SCOPE;

/// The current thread.
#[derive(Clone, Copy)]
pub(crate) struct Thread {
    /// tgid in the upper half, tid in the lower.
    pub(crate) pid_tgid: u64,
}

impl Thread {
    /// The current thread.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        Self {
            pid_tgid: bpf_get_current_pid_tgid(),
        }
    }

    /// The current thread, if its process is in scope.
    #[inline(always)]
    pub(crate) fn in_scope() -> Option<Self> {
        let thread = Self::current();
        contains(thread.tgid()).then_some(thread)
    }

    #[inline(always)]
    pub(crate) fn tgid(self) -> u32 {
        (self.pid_tgid >> 32) as u32
    }

    #[inline(always)]
    pub(crate) fn tid(self) -> u32 {
        self.pid_tgid as u32
    }
}

/// Whether the process is observed. The agent itself never is.
#[inline(always)]
pub(crate) fn contains(tgid: u32) -> bool {
    if globals::HOST_SCOPE.load() != 0 {
        return tgid != globals::OWN_TGID.load();
    }
    SCOPE.get_ptr(tgid).is_some()
}

/// Whether the process was asked for, so that its children are observed too.
#[inline(always)]
pub(crate) fn is_member(tgid: u32) -> bool {
    // SAFETY: the value is a u32 that is only ever replaced whole.
    unsafe { SCOPE.get(tgid) }.is_some_and(|&membership| membership == Membership::Member as u32)
}
