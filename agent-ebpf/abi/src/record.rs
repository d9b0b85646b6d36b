//! The records of the ring.

use core::mem::{align_of, offset_of, size_of};

use crate::time::Totals;

/// What a record tells.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A [`DataRecord`], followed by captured bytes.
    Data = 1,
    /// A [`LifeRecord`]: a process was created; `value` is its parent's tgid.
    Fork = 2,
    /// An [`ExecRecord`]: a process has started a program.
    Exec = 3,
    /// A [`LifeRecord`]: a process has ended; `value` is its wait status.
    Exit = 4,
    /// A [`SocketRecord`]: what became of a TCP socket.
    Socket = 5,
    /// A [`BindRecord`]: which socket a TLS session runs over.
    Bind = 6,
    /// A [`LifeRecord`]: a process has mapped executable code from a file; `value` is 0.
    Mapped = 7,
    /// A [`WaitRecord`], of a DNS lookup followed by the answer: a process waited for another host.
    Wait = 8,
    /// A [`LifeRecord`]: the kernel has chosen a process to be killed for want of memory; `value` is 0.
    OomKill = 9,
    /// A [`SyscallsRecord`]: in which system calls a process was since its latest request.
    Syscalls = 10,
}

/// What every record begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// A [`Kind`].
    pub kind: u32,
    /// Bytes of payload that are valid; the record may be longer.
    pub captured: u32,
    /// Process (thread group) id in the initial pid namespace.
    pub tgid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
}

/// What the kernel keeps of a TCP connection, at the instant of a record. Zero for other carriers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Smoothed round-trip time, microseconds (`tcp_sock.srtt_us >> 3`).
    pub srtt_us: u32,
    /// Segments sent again since the connection began (`tcp_sock.total_retrans`).
    pub retransmits: u32,
    /// Bytes written and not yet acknowledged (`write_seq - snd_una`).
    pub in_flight: u32,
    /// Zero.
    pub reserved: u32,
}

/// One data syscall on a stream, or one captured piece of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRecord {
    /// Kind [`Kind::Data`].
    pub header: Header,
    /// Identity of the stream: unique while the agent runs.
    pub stream: u64,
    /// Where the kernel keeps the stream: the key of its verdict. Reused by later streams.
    pub key: u64,
    /// What the two directions of one socket, or of one TLS session, have in common; 0 for pipes.
    pub pair: u64,
    /// Inode number of the pipe, or of the writer's socket; 0 when it is not known.
    pub ino: u64,
    /// Entry of the syscall, CLOCK_MONOTONIC nanoseconds; 0 when it was not seen.
    pub entered: u64,
    /// Return of the syscall, CLOCK_MONOTONIC nanoseconds.
    pub exited: u64,
    /// Bytes that this side had moved on the stream before this syscall: since observation began,
    /// for TCP since the connection began.
    pub offset: u64,
    /// Bytes that the syscall moved.
    pub len: u64,
    /// Position of the payload within the syscall's bytes.
    pub at: u32,
    /// See [`flags`].
    pub flags: u32,
    /// The process and the thread at this instant.
    pub totals: Totals,
    /// The TCP connection at this instant, where the stream has one.
    pub tcp: Tcp,
}

/// Bits of [`DataRecord::flags`].
pub mod flags {
    /// Seen at the reader's end; otherwise at the writer's.
    pub const READ: u32 = 1;
    /// The first record of its syscall.
    pub const FIRST: u32 = 2;
    /// The last record of its syscall.
    pub const LAST: u32 = 4;
    /// A unix socket.
    pub const SOCKET: u32 = 8;
    /// One end of the socket has a name.
    pub const NAMED: u32 = 16;
    /// Moved by a syscall whose bytes cannot be seen (splice, sendfile).
    pub const OPAQUE: u32 = 32;
    /// The stream had no verdict.
    pub const UNJUDGED: u32 = 64;
    /// A TCP socket.
    pub const TCP: u32 = 128;
    /// Plaintext at a TLS library's boundary; `pair` names the TLS session.
    pub const TLS: u32 = 256;
    /// A TLS session that was seen from its handshake on: offset 0 is its first byte.
    pub const FRESH: u32 = 512;
    /// The totals are known.
    pub const TIMED: u32 = 1024;
}

/// What a [`SocketRecord`] tells.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketEvent {
    /// An open connection has come into view. Precedes its first data record.
    Seen = 1,
    /// This side has connected; `connect_us` says how long that took.
    Connected = 2,
    /// The other side will send no more.
    PeerClosed = 3,
    /// The connection has ended.
    Closed = 4,
}

/// A TCP socket of an observed process, and what became of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketRecord {
    /// Kind [`Kind::Socket`]. The process is that which connected or was first seen to use the socket;
    /// the thread means something for `Seen` only.
    pub header: Header,
    /// CLOCK_MONOTONIC nanoseconds.
    pub at: u64,
    /// Identity of the socket: the `pair` of its data records.
    pub socket: u64,
    /// Inode number of the socket; 0 when it is not known.
    pub ino: u64,
    /// Address of this end; IPv4 as `::ffff:a.b.c.d`.
    pub local: [u8; 16],
    /// Address of the other end.
    pub remote: [u8; 16],
    /// Port of this end.
    pub local_port: u16,
    /// Port of the other end.
    pub remote_port: u16,
    /// A [`SocketEvent`].
    pub event: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Microseconds from SYN to established; 0 when that was not seen.
    pub connect_us: u32,
    /// Bytes sent since the connection began.
    pub sent: u64,
    /// Bytes received since the connection began.
    pub received: u64,
    /// The connection at this instant.
    pub tcp: Tcp,
}

/// A TLS session's socket has become known.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindRecord {
    /// Kind [`Kind::Bind`].
    pub header: Header,
    /// CLOCK_MONOTONIC nanoseconds.
    pub at: u64,
    /// The TLS session: the `pair` of its data records.
    pub session: u64,
    /// The TCP socket: the `pair` of its data records and the `socket` of its socket records.
    pub socket: u64,
    /// Plaintext that was written before by what counts as another session: offsets of this one's
    /// earlier records are from there.
    pub written: u64,
    /// Plaintext that was read, likewise.
    pub read: u64,
    /// 1 when it was seen from its first byte on, which its earlier records may not say.
    pub fresh: u32,
    /// 1 when another session may follow it on the socket.
    pub moves: u32,
}

/// What a process waited for.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitKind {
    /// A connection that it opens.
    Connect = 1,
    /// The first byte of an answer: since the last byte of what it wrote.
    Answer = 2,
    /// More of the answer: since the byte before.
    More = 3,
    /// An answer of a name server.
    Lookup = 4,
    /// Nothing more: the connection has ended, and this is what is left to tell.
    End = 5,
}

/// Bytes of a name server's answer that a [`WaitRecord`] can hold.
pub const ANSWER_MAX: usize = 512;

/// A process waited for the other end of a connection that it has opened.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitRecord {
    /// Kind [`Kind::Wait`]; the payload is a name server's answer.
    pub header: Header,
    /// When it began to wait, CLOCK_MONOTONIC nanoseconds.
    pub from: u64,
    /// When that ended.
    pub to: u64,
    /// Bytes sent since the connection's previous record.
    pub sent: u64,
    /// Bytes received since then.
    pub received: u64,
    /// Address of the other end; IPv4 as `::ffff:a.b.c.d`.
    pub remote: [u8; 16],
    /// Its port.
    pub remote_port: u16,
    /// A [`WaitKind`].
    pub what: u16,
    /// Inode number of the network namespace.
    pub netns: u32,
}

/// A [`WaitRecord`] with an answer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LookupRecord {
    /// The fixed part.
    pub wait: WaitRecord,
    /// The answer, valid up to `wait.header.captured`.
    pub answer: [u8; ANSWER_MAX],
}

/// System calls that a [`SyscallsRecord`] tells of: a power of two.
pub const SYSCALL_SLOTS: usize = 16;
/// Durations of system calls that are told apart, see [`SyscallUse::buckets`].
pub const SYSCALL_BUCKETS: usize = 24;
/// Durations below two to this power, in nanoseconds, are in the first bucket.
pub const SYSCALL_FIRST_BUCKET: u32 = 10;

/// How often and how long threads of a process were in one system call.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyscallUse {
    /// 1 more than its number; 0 for an empty slot.
    pub number: u64,
    /// How often it was left.
    pub count: u64,
    /// Nanoseconds, of all threads together.
    pub ns: u64,
    /// How often by how long: below 1024 ns, then each up to twice as long as the one before; the last
    /// has all that is longer.
    pub buckets: [u32; SYSCALL_BUCKETS],
}

/// In which system calls a process was between a request and what it wrote then.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyscallsRecord {
    /// Kind [`Kind::Syscalls`]; the thread is that which writes.
    pub header: Header,
    /// When the request was read, CLOCK_MONOTONIC nanoseconds.
    pub from: u64,
    /// When the write began.
    pub to: u64,
    /// In no order.
    pub uses: [SyscallUse; SYSCALL_SLOTS],
}

/// A process was created or has ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifeRecord {
    /// Kind [`Kind::Fork`] or [`Kind::Exit`].
    pub header: Header,
    /// CLOCK_MONOTONIC nanoseconds.
    pub at: u64,
    /// Fork: the parent's tgid. Exit: the status as `wait` gives it.
    pub value: u32,
    /// Zero.
    pub reserved: u32,
}

/// Bytes of a program's arguments that an [`ExecRecord`] can hold.
pub const ARGS_MAX: usize = 1024;

/// A process has started a program.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecRecord {
    /// Kind [`Kind::Exec`]; `captured` counts bytes of `args`.
    pub header: Header,
    /// CLOCK_MONOTONIC nanoseconds.
    pub at: u64,
    /// NUL-padded name of the main thread.
    pub comm: [u8; 16],
    /// NUL-separated arguments.
    pub args: [u8; ARGS_MAX],
}

/// A [`DataRecord`] with room for `N` bytes of payload.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Chunk<const N: usize> {
    /// The fixed part.
    pub record: DataRecord,
    /// The payload, valid up to `record.header.captured`.
    pub payload: [u8; N],
}

/// The payload sizes that the programs reserve.
pub const CHUNK_SIZES: [usize; 5] = [0, 256, 1024, 4096, 16384];

const _: () = {
    assert!(size_of::<WaitRecord>() == 72 && align_of::<WaitRecord>() == 8);
    assert!(offset_of!(LookupRecord, answer) == 72);
    assert!(size_of::<Header>() == 16 && align_of::<Header>() == 4);
    assert!(size_of::<Tcp>() == 16 && align_of::<Tcp>() == 4);
    assert!(size_of::<DataRecord>() == 232 && align_of::<DataRecord>() == 8);
    assert!(offset_of!(DataRecord, stream) == 16);
    assert!(offset_of!(DataRecord, ino) == 40);
    assert!(offset_of!(DataRecord, entered) == 48);
    assert!(offset_of!(DataRecord, offset) == 64);
    assert!(offset_of!(DataRecord, at) == 80);
    assert!(offset_of!(DataRecord, flags) == 84);
    assert!(offset_of!(DataRecord, totals) == 88);
    assert!(offset_of!(DataRecord, tcp) == 216);
    assert!(size_of::<SocketRecord>() == 120 && align_of::<SocketRecord>() == 8);
    assert!(offset_of!(SocketRecord, local) == 40);
    assert!(offset_of!(SocketRecord, event) == 76);
    assert!(offset_of!(SocketRecord, sent) == 88);
    assert!(size_of::<BindRecord>() == 64 && align_of::<BindRecord>() == 8);
    assert!(size_of::<LifeRecord>() == 32 && align_of::<LifeRecord>() == 8);
    assert!(offset_of!(LifeRecord, value) == 24);
    assert!(size_of::<ExecRecord>() == 40 + ARGS_MAX && align_of::<ExecRecord>() == 8);
    assert!(offset_of!(ExecRecord, args) == 40);
    assert!(size_of::<Chunk<256>>() == size_of::<DataRecord>() + 256);
    assert!(offset_of!(Chunk<256>, payload) == size_of::<DataRecord>());
};

#[cfg(feature = "user")]
mod decode;
#[cfg(feature = "user")]
pub use decode::{DecodeError, Record, SyscallsView};
