//! Values that the agent sets before the programs are loaded; constants to the verifier.

use agent_abi::ABSENT;
use aya_ebpf::Global;

macro_rules! globals {
    ($($(#[$doc:meta])* $name:ident = $default:expr;)*) => {
        $($(#[$doc])* #[unsafe(no_mangle)] pub(crate) static $name: Global<u32> = Global::new($default);)*
    };
}

globals! {
    /// The agent's own tgid, which is never observed.
    OWN_TGID = 0;
    /// 1 when every process is in scope.
    HOST_SCOPE = 0;
    /// Bytes captured of one syscall on a watched stream.
    BUDGET = 0;
    /// Bytes of fill at which the ring wakes the agent.
    WAKE_AT = 0;
    /// 1 when trampolines are to find a syscall's registers on the task's stack.
    REGS_ON_STACK = 0;
    /// 1 when sched_switch says in what state a task leaves the CPU.
    SWITCH_TELLS_STATE = 0;
    /// 1 when the current task is to be had as a typed pointer.
    TYPED_TASK = 0;
    TASK_FILES = 0;
    TASK_PID = 0;
    TASK_TGID = 0;
    TASK_SIGNAL = 0;
    TASK_EXIT_CODE = 0;
    TASK_STACK = 0;
    TASK_MM = 0;
    TASK_STATE = ABSENT;
    TASK_IN_IOWAIT = ABSENT;
    TASK_IN_MEMSTALL = ABSENT;
    TASK_MAJ_FLT = ABSENT;
    TASK_SE = ABSENT;
    SE_CFS_RQ = ABSENT;
    CFS_RQ_THROTTLED = ABSENT;
    SIGNAL_LIVE = 0;
    MM_ARG_START = 0;
    MM_ARG_END = 0;
    FILES_FDT = 0;
    FDT_MAX_FDS = 0;
    FDT_FD = 0;
    FILE_INODE = 0;
    FILE_PRIVATE = 0;
    INODE_MODE = 0;
    INODE_INO = 0;
    SOCKET_TYPE = 0;
    SOCKET_SK = 0;
    SOCKET_ALLOC_INODE = 0;
    SOCK_FAMILY = 0;
    SOCK_SOCKET = 0;
    UNIX_PEER = 0;
    UNIX_ADDR = 0;
    SOCK_PROTOCOL = ABSENT;
    SOCK_FLAGS = ABSENT;
    SOCK_NUM = ABSENT;
    SOCK_DPORT = ABSENT;
    SOCK_RCV_SADDR = ABSENT;
    SOCK_DADDR = ABSENT;
    SOCK_V6_RCV_SADDR = ABSENT;
    SOCK_V6_DADDR = ABSENT;
    SOCK_NET = ABSENT;
    NET_NS = ABSENT;
    NS_INUM = ABSENT;
    TCP_WRITE_SEQ = ABSENT;
    TCP_SND_NXT = ABSENT;
    TCP_SND_UNA = ABSENT;
    TCP_BYTES_SENT = ABSENT;
    TCP_BYTES_RETRANS = ABSENT;
    TCP_BYTES_ACKED = ABSENT;
    TCP_COPIED_SEQ = ABSENT;
    TCP_RCV_NXT = ABSENT;
    TCP_BYTES_RECEIVED = ABSENT;
    TCP_SRTT = ABSENT;
    TCP_RETRANS = ABSENT;
}
