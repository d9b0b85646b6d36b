//! Read-only globals of the programs, set before they are loaded, and the kernel fields behind them.

/// Names of the globals that are not field offsets.
pub mod global {
    /// u32: the agent's own tgid, which is never observed.
    pub const OWN_TGID: &str = "OWN_TGID";
    /// u32: 1 when every process is in scope, 0 when only those in `SCOPE` are.
    pub const HOST_SCOPE: &str = "HOST_SCOPE";
    /// u32: bytes captured of one syscall on a watched stream.
    pub const BUDGET: &str = "BUDGET";
    /// u32: 1 when trampolines are to find a syscall's registers on the task's stack: before 5.15, the
    /// types of the socket syscalls do not say what registers are, and the verifier refuses the argument.
    pub const REGS_ON_STACK: &str = "REGS_ON_STACK";
    /// u32: 1 when sched_switch says in what state a task leaves the CPU (from 5.19 on); otherwise the
    /// programs read it from the task, where a waker may have changed it already.
    pub const SWITCH_TELLS_STATE: &str = "SWITCH_TELLS_STATE";
    /// u32: 1 when the kernel gives programs the current task as a typed pointer (5.11), which they may
    /// load through instead of asking a helper for each read.
    pub const TYPED_TASK: &str = "TYPED_TASK";
    /// u32: bytes of fill at which the ring wakes the agent.
    pub const WAKE_AT: &str = "WAKE_AT";
}

/// A field of a kernel structure whose offset the programs need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The global (u32) that takes the offset.
    pub global: &'static str,
    /// The structure.
    pub of: &'static str,
    /// The member; may be inside anonymous members.
    pub member: &'static str,
    /// What the member was called in older kernels.
    pub formerly: Option<&'static str>,
    /// The offset is wanted in bits: the member is a bit field.
    pub in_bits: bool,
    /// What is not known where a kernel lacks the member: the global is then [`ABSENT`]. `None` when
    /// nothing works without it.
    pub lost: Option<&'static str>,
}

/// What a global says of a field that the running kernel does not have.
pub const ABSENT: u32 = u32::MAX;

const fn field(global: &'static str, of: &'static str, member: &'static str) -> Field {
    Field {
        global,
        of,
        member,
        formerly: None,
        in_bits: false,
        lost: None,
    }
}

const fn optional(global: &'static str, of: &'static str, member: &'static str, lost: &'static str) -> Field {
    Field {
        lost: Some(lost),
        ..field(global, of, member)
    }
}

const THROTTLING: &str = "CPU quotas that are used up";
const ADDRESSES: &str = "addresses of TCP connections";
const NETNS: &str = "network namespaces of TCP connections";
const OFFSETS: &str = "which bytes were moved on connections that were open before";

/// Every field that the programs walk through.
pub const FIELDS: &[Field] = &[
    field("TASK_FILES", "task_struct", "files"),
    field("TASK_PID", "task_struct", "pid"),
    field("TASK_TGID", "task_struct", "tgid"),
    field("TASK_SIGNAL", "task_struct", "signal"),
    field("TASK_EXIT_CODE", "task_struct", "exit_code"),
    field("TASK_STACK", "task_struct", "stack"),
    field("TASK_MM", "task_struct", "mm"),
    Field {
        formerly: Some("state"),
        ..optional("TASK_STATE", "task_struct", "__state", "what threads wait for")
    },
    Field {
        in_bits: true,
        ..optional("TASK_IN_IOWAIT", "task_struct", "in_iowait", "waiting for disks")
    },
    Field {
        in_bits: true,
        ..optional(
            "TASK_IN_MEMSTALL",
            "task_struct",
            "in_memstall",
            "waiting for memory, but for reclaim",
        )
    },
    optional("TASK_SE", "task_struct", "se", THROTTLING),
    optional("SE_CFS_RQ", "sched_entity", "cfs_rq", THROTTLING),
    optional("CFS_RQ_THROTTLED", "cfs_rq", "throttle_count", THROTTLING),
    optional("TASK_MAJ_FLT", "task_struct", "maj_flt", "major page faults"),
    field("SIGNAL_LIVE", "signal_struct", "live"),
    field("MM_ARG_START", "mm_struct", "arg_start"),
    field("MM_ARG_END", "mm_struct", "arg_end"),
    field("FILES_FDT", "files_struct", "fdt"),
    field("FDT_MAX_FDS", "fdtable", "max_fds"),
    field("FDT_FD", "fdtable", "fd"),
    field("FILE_INODE", "file", "f_inode"),
    field("FILE_PRIVATE", "file", "private_data"),
    field("INODE_MODE", "inode", "i_mode"),
    field("INODE_INO", "inode", "i_ino"),
    field("SOCKET_TYPE", "socket", "type"),
    field("SOCKET_SK", "socket", "sk"),
    field("SOCKET_ALLOC_INODE", "socket_alloc", "vfs_inode"),
    field("SOCK_FAMILY", "sock_common", "skc_family"),
    field("SOCK_SOCKET", "sock", "sk_socket"),
    field("UNIX_PEER", "unix_sock", "peer"),
    field("UNIX_ADDR", "unix_sock", "addr"),
    optional("SOCK_PROTOCOL", "sock", "sk_protocol", "TCP streams"),
    optional(
        "SOCK_FLAGS",
        "sock_common",
        "skc_flags",
        "the end of a stream in its byte count",
    ),
    optional("SOCK_NUM", "sock_common", "skc_num", ADDRESSES),
    optional("SOCK_DPORT", "sock_common", "skc_dport", ADDRESSES),
    optional("SOCK_RCV_SADDR", "sock_common", "skc_rcv_saddr", ADDRESSES),
    optional("SOCK_DADDR", "sock_common", "skc_daddr", ADDRESSES),
    optional(
        "SOCK_V6_RCV_SADDR",
        "sock_common",
        "skc_v6_rcv_saddr",
        "addresses of IPv6 connections",
    ),
    optional(
        "SOCK_V6_DADDR",
        "sock_common",
        "skc_v6_daddr",
        "addresses of IPv6 connections",
    ),
    optional("SOCK_NET", "sock_common", "skc_net", NETNS),
    optional("NET_NS", "net", "ns", NETNS),
    optional("NS_INUM", "ns_common", "inum", NETNS),
    optional("TCP_WRITE_SEQ", "tcp_sock", "write_seq", OFFSETS),
    optional("TCP_SND_NXT", "tcp_sock", "snd_nxt", OFFSETS),
    optional("TCP_SND_UNA", "tcp_sock", "snd_una", OFFSETS),
    optional("TCP_BYTES_SENT", "tcp_sock", "bytes_sent", OFFSETS),
    optional("TCP_BYTES_RETRANS", "tcp_sock", "bytes_retrans", OFFSETS),
    optional("TCP_BYTES_ACKED", "tcp_sock", "bytes_acked", OFFSETS),
    optional("TCP_COPIED_SEQ", "tcp_sock", "copied_seq", OFFSETS),
    optional("TCP_RCV_NXT", "tcp_sock", "rcv_nxt", OFFSETS),
    optional("TCP_BYTES_RECEIVED", "tcp_sock", "bytes_received", OFFSETS),
    optional("TCP_SRTT", "tcp_sock", "srtt_us", "round-trip times"),
    optional("TCP_RETRANS", "tcp_sock", "total_retrans", "retransmissions"),
];
