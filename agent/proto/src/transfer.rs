//! What goes in: the movement of bytes, as the two ends of a stream see it.

/// Nanoseconds of one monotonic clock (CLOCK_MONOTONIC when the kernel is the source).
pub type Nanos = u64;

/// One direction of bytes between two endpoints. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// What the two directions of one socket pair have in common. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PairId(pub u64);

/// A process (thread group) during one life: a reused pid is another `ProcessId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub u64);

/// The two streams of one conversation. Allocated by the tracker, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What carries a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// A pipe or FIFO.
    Pipe,
    /// An unnamed unix stream socket pair, as libuv gives to its children.
    SocketPair,
    /// A unix stream socket whose listening side has a name.
    UnixSocket,
    /// A TCP connection, or the plaintext of the TLS session that it carries.
    Tcp,
}

/// From which end a transfer was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The end that puts bytes in.
    Writer,
    /// The end that takes bytes out.
    Reader,
}

/// Bytes that were captured of a transfer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Content<'a> {
    /// Position of the first captured byte within the transfer.
    pub at: u64,
    /// The bytes. Empty when only the transfer's existence was captured.
    pub bytes: &'a [u8],
}

/// One data syscall on a stream, or one captured piece of it.
///
/// A syscall whose content was captured in several pieces arrives as several transfers that differ
/// only in `content` and `last`, in rising order of `content.at`. Bytes of the syscall that no
/// piece covers were not captured: a gap of known length.
#[derive(Clone, Copy, Debug)]
pub struct Transfer<'a> {
    /// The stream that the bytes belong to.
    pub stream: StreamId,
    /// For sockets, what this stream shares with the opposite direction.
    pub pair: Option<PairId>,
    /// What carries the stream.
    pub carrier: Carrier,
    /// Whether the stream began while it was observed, so that offset 0 is its first byte.
    /// Otherwise it may begin in the middle of a message and its two sides' offsets start apart
    /// by the bytes that were in flight.
    pub fresh: bool,
    /// Whether both sides count from the first byte of the stream even where observation began
    /// later, as TCP's own counters do: their offsets need no alignment.
    pub absolute: bool,
    /// Numbers that stand for the addresses of the writer's and of the reader's socket, where the
    /// carrier has such: equal numbers, equal addresses.
    pub ends: Option<[u64; 2]>,
    /// Which end made the syscall.
    pub side: Side,
    /// Who made the syscall.
    pub process: ProcessId,
    /// When the syscall was entered; equals `exited` where it is not known.
    pub entered: Nanos,
    /// When the syscall returned.
    pub exited: Nanos,
    /// Bytes that this side had moved on the stream before this syscall, since observation began.
    pub offset: u64,
    /// Bytes that the syscall moved. 0 on the reader's side is the end of the stream.
    pub len: u64,
    /// What was captured of them.
    pub content: Content<'a>,
    /// No further piece of this syscall follows.
    pub last: bool,
}
