//! The table of hooks: what is attached where, and what is lost without it.

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// A raw tracepoint of this name.
    RawTracepoint(&'static str),
    /// The entry of the kernel function of this syscall.
    Entry(&'static str),
    /// The return of the kernel function of this syscall.
    Return(&'static str),
}

/// One hook.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    /// Program in the object.
    pub(super) program: &'static str,
    /// Where it goes.
    pub(super) point: Point,
    /// 1 or 2 for the tiers of data hooks, 0 for hooks that both need.
    pub(super) tier: u8,
    /// Nothing works without it.
    pub(super) vital: bool,
    /// What is not seen without it.
    pub(super) lost: &'static str,
}

const fn life(program: &'static str, tracepoint: &'static str, lost: &'static str) -> Hook {
    Hook {
        program,
        point: Point::RawTracepoint(tracepoint),
        tier: 0,
        vital: true,
        lost,
    }
}

const fn raw(program: &'static str) -> Hook {
    Hook {
        program,
        point: Point::RawTracepoint(program),
        tier: 2,
        vital: true,
        lost: "all data, in tier 2",
    }
}

const fn enter(program: &'static str, syscall: &'static str) -> Hook {
    Hook {
        program,
        point: Point::Entry(syscall),
        tier: 1,
        vital: false,
        lost: "bytes moved by this syscall",
    }
}

const fn leave(program: &'static str, syscall: &'static str, vital: bool) -> Hook {
    Hook {
        program,
        point: Point::Return(syscall),
        tier: 1,
        vital,
        lost: "bytes moved by this syscall",
    }
}

/// Every hook. Tier 1 holds a pair for each data syscall; read and write are what it cannot do without.
pub(super) const HOOKS: &[Hook] = &[
    life("process_fork", "sched_process_fork", "children of observed processes"),
    life("process_exec", "sched_process_exec", "names of short-lived processes"),
    life(
        "process_exit",
        "sched_process_exit",
        "calls that end with their process",
    ),
    Hook {
        vital: false,
        ..life(
            "victim_marked",
            "mark_victim",
            "which process was killed for want of memory",
        )
    },
    Hook {
        vital: false,
        ..life(
            "socket_state",
            "inet_sock_set_state",
            "connect times and ends of TCP connections",
        )
    },
    Hook {
        vital: true,
        ..enter("enter_read", "read")
    },
    leave("leave_read", "read", true),
    enter("enter_pread64", "pread64"),
    leave("leave_pread64", "pread64", false),
    enter("enter_readv", "readv"),
    leave("leave_readv", "readv", false),
    enter("enter_preadv", "preadv"),
    leave("leave_preadv", "preadv", false),
    enter("enter_preadv2", "preadv2"),
    leave("leave_preadv2", "preadv2", false),
    enter("enter_recvfrom", "recvfrom"),
    leave("leave_recvfrom", "recvfrom", false),
    enter("enter_recvmsg", "recvmsg"),
    leave("leave_recvmsg", "recvmsg", false),
    enter("enter_recvmmsg", "recvmmsg"),
    leave("leave_recvmmsg", "recvmmsg", false),
    Hook {
        vital: true,
        ..enter("enter_write", "write")
    },
    leave("leave_write", "write", true),
    enter("enter_writev", "writev"),
    leave("leave_writev", "writev", false),
    enter("enter_pwritev2", "pwritev2"),
    leave("leave_pwritev2", "pwritev2", false),
    enter("enter_sendto", "sendto"),
    leave("leave_sendto", "sendto", false),
    enter("enter_sendmsg", "sendmsg"),
    leave("leave_sendmsg", "sendmsg", false),
    enter("enter_sendmmsg", "sendmmsg"),
    leave("leave_sendmmsg", "sendmmsg", false),
    enter("enter_splice", "splice"),
    leave("leave_splice", "splice", false),
    enter("enter_tee", "tee"),
    leave("leave_tee", "tee", false),
    enter("enter_vmsplice", "vmsplice"),
    leave("leave_vmsplice", "vmsplice", false),
    enter("enter_sendfile64", "sendfile64"),
    leave("leave_sendfile64", "sendfile64", false),
    Hook {
        lost: "the first bytes of TLS in libraries that are loaded late",
        ..leave("leave_mmap", "mmap", false)
    },
    raw("sys_enter"),
    raw("sys_exit"),
];

/// What is not seen without the scheduler's hooks.
pub(super) const TIME: &str = "what a server's time was spent on";

const fn time(program: &'static str, tracepoint: &'static str, lost: &'static str) -> Hook {
    Hook {
        vital: false,
        ..life(program, tracepoint, lost)
    }
}

/// The hooks that account for time. Those that lose [`TIME`] are of no use one without the other.
pub(super) const TIME_HOOKS: &[Hook] = &[
    time("switched", "sched_switch", TIME),
    time("woken", "sched_wakeup", TIME),
    time("woken_new", "sched_wakeup_new", TIME),
    time("reclaim_begin", "mm_vmscan_direct_reclaim_begin", RECLAIM),
    time("reclaim_end", "mm_vmscan_direct_reclaim_end", RECLAIM),
    time("group_reclaim_begin", "mm_vmscan_memcg_reclaim_begin", RECLAIM),
    time("group_reclaim_end", "mm_vmscan_memcg_reclaim_end", RECLAIM),
];

const RECLAIM: &str = "waiting for memory to be reclaimed";

#[cfg(target_arch = "x86_64")]
const SYSCALL_PREFIX: &str = "__x64_sys_";
#[cfg(target_arch = "aarch64")]
const SYSCALL_PREFIX: &str = "__arm64_sys_";

impl Hook {
    /// Whether it runs on the way into a syscall. Those are attached first: what is not noted on the
    /// way in is not looked at on the way out.
    pub(super) fn is_way_in(&self) -> bool {
        matches!(self.point, Point::Entry(_) | Point::RawTracepoint("sys_enter"))
    }

    /// The kernel function of a tier 1 hook.
    pub(super) fn function(&self) -> String {
        match self.point {
            Point::Entry(syscall) | Point::Return(syscall) => format!("{SYSCALL_PREFIX}{syscall}"),
            Point::RawTracepoint(name) => name.to_owned(),
        }
    }

    /// What it is called in output.
    pub(super) fn name(&self) -> String {
        let kind = match self.point {
            Point::RawTracepoint(_) => "raw_tracepoint",
            Point::Entry(_) => "fentry",
            Point::Return(_) => "fexit",
        };
        format!("{kind} {}", self.function())
    }
}
