//! Keys, values and bounds of the maps.

use core::mem::size_of;

/// Processes that can be in scope at once.
pub const MAX_PROCESSES: u32 = 32_768;
/// Streams that the kernel keeps state of; the least recently used give way.
pub const MAX_STREAMS: u32 = 16_384;
/// TCP sockets that the kernel keeps state of; the least recently used give way.
pub const MAX_SOCKETS: u32 = 16_384;
/// Slots for entry times, indexed by thread id: a power of two.
pub const ENTRY_SLOTS: u32 = 16_384;

/// How a process is in scope (value of `SCOPE`, by tgid).
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It was asked for: its children are members too.
    Member = 1,
    /// It may be at the other end of a member's stream: its children are not in scope.
    Peer = 2,
}

/// A thread's unfinished data syscall (value of `ENTRIES`, by thread id modulo [`ENTRY_SLOTS`]).
/// What is not noted here on the way in is not looked at on the way out.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The thread, as `bpf_get_current_pid_tgid` gives it; 0 for none.
    pub pid_tgid: u64,
    /// CLOCK_MONOTONIC nanoseconds; 0 when it is not known.
    pub at: u64,
}

/// What the kernel knows of a stream (value of `STREAMS`, by key). Owned by the programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Identity: unique while the agent runs.
    pub stream: u64,
    /// Inode number of the pipe, of the writer's unix socket or of this end's TCP socket; tells a
    /// reused key. 0: not known.
    pub ino: u64,
    /// As in the data record.
    pub pair: u64,
    /// Bytes written, since observation began; for TCP, since the connection began.
    pub written: u64,
    /// Bytes read, likewise.
    pub read: u64,
    /// When the last read returned.
    pub last_read: u64,
    /// Bytes captured while there was no verdict.
    pub sampled: u64,
    /// TCP's sequence number of the stream's first byte; 0 for other carriers.
    pub sequence: u32,
    /// Zero.
    pub reserved: u32,
}

/// What the kernel knows of a TCP socket (value of `SOCKETS`, by address of its sock). Owned by the
/// programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketState {
    /// Identity: unique while the agent runs.
    pub id: u64,
    /// Inode number; tells a reused sock. 0: not known yet.
    pub ino: u64,
    /// When its SYN was sent, CLOCK_MONOTONIC nanoseconds; 0 when that was not seen.
    pub connecting: u64,
    /// Microseconds from SYN to established; 0 when that was not seen.
    pub connect_us: u32,
    /// 1 when the agent has been told of it.
    pub seen: u32,
    /// The process in whose hands it came into view.
    pub tgid: u32,
    /// Port of this end: the kernel forgets it before it says that the socket is closed.
    pub port: u16,
    /// Zero.
    pub reserved: u16,
}

/// Connections to other hosts of processes whose time is accounted for; the oldest give way.
pub const MAX_UPSTREAMS: u32 = 8192;

/// A connection that a process has opened, and what it waits for (value of `UPSTREAMS`, by address of
/// its sock). Owned by the programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamState {
    /// Inode number; tells a reused sock.
    pub ino: u64,
    /// When it last moved a byte, CLOCK_MONOTONIC nanoseconds.
    pub since: u64,
    /// Bytes sent that the agent has not been told of.
    pub sent: u64,
    /// Bytes received, likewise.
    pub received: u64,
    /// The process that has used it last.
    pub tgid: u32,
    /// 0 when the other side has opened it, and until something was asked; 1 while no byte of the
    /// answer has come; 2 from then on.
    pub phase: u32,
}

/// What was decided about a stream (value of `VERDICTS`, by key). Owned by user space, but for TCP
/// streams that the programs have judged by their endpoint: those have `stream` 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerdictEntry {
    /// The stream that it is about: a reused key does not inherit it.
    pub stream: u64,
    /// Inode number as in [`StreamState`].
    pub ino: u64,
    /// A [`VerdictCode`].
    pub verdict: u32,
    /// Further allowances granted to an unjudged stream.
    pub grants: u32,
}

/// The verdicts, as the kernel reads them.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictCode {
    /// Not yet known.
    LookAgain = 0,
    /// Capture everything.
    Watch = 1,
    /// Ship nothing.
    Ignore = 2,
    /// Ciphertext whose TLS session is not known yet: ship nothing, but bind the session to the
    /// socket when it writes.
    Sealed = 3,
    /// Ship that bytes moved, not what they are: the other end of the connection ships them.
    Timing = 4,
}

/// Endpoints of servers with a verdict of their own.
pub const MAX_ENDPOINTS: u32 = 4096;

/// The server's end of TCP connections (key of `ENDPOINTS`; the value is a [`VerdictCode`] as u32).
/// A socket is looked up by its local and by its remote end. Owned by user space.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointKey {
    /// Its address; IPv4 as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
    /// Inode number of the network namespace of the process that was seen to use it.
    pub netns: u32,
    /// Its port.
    pub port: u16,
    /// Zero.
    pub reserved: u16,
}

const _: () = {
    assert!(size_of::<Entry>() == 16);
    assert!(size_of::<StreamState>() == 64);
    assert!(size_of::<SocketState>() == 40);
    assert!(size_of::<VerdictEntry>() == 24);
    assert!(size_of::<EndpointKey>() == 24);
    assert!(ENTRY_SLOTS.is_power_of_two());
};

#[cfg(feature = "user")]
mod pod {
    //! The only place that promises aya that a type is plain bytes.
    // SAFETY: repr(C) of integers without padding (asserted above): every bit pattern is valid.
    unsafe impl aya::Pod for super::Entry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::StreamState {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::VerdictEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::EndpointKey {}
}
