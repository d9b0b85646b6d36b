//! Everything that crosses the boundary between the kernel programs and the agent: ring records,
//! map keys and values, counters, and the names of the tunables. Nothing else defines bytes that
//! cross it.
//!
//! Layouts are `repr(C)` in native byte order without implicit padding; each is asserted at compile
//! time. [`VERSION`] changes whenever one of them does: recordings carry it.
#![no_std]

mod counter;
mod map;
mod record;
mod time;
mod tunable;

pub use counter::Counter;
pub use map::{
    ENTRY_SLOTS, EndpointKey, Entry, MAX_ENDPOINTS, MAX_PROCESSES, MAX_SOCKETS, MAX_STREAMS, MAX_UPSTREAMS, Membership,
    SocketState, StreamState, UpstreamState, VerdictCode, VerdictEntry,
};
pub use record::{
    ANSWER_MAX, ARGS_MAX, BindRecord, CHUNK_SIZES, Chunk, DataRecord, ExecRecord, Header, Kind, LifeRecord,
    LookupRecord, SYSCALL_BUCKETS, SYSCALL_FIRST_BUCKET, SYSCALL_SLOTS, SocketEvent, SocketRecord, SyscallUse,
    SyscallsRecord, Tcp, WaitKind, WaitRecord, flags,
};
#[cfg(feature = "user")]
pub use record::{DecodeError, Record, SyscallsView};
pub use time::{MAX_TIMED_PROCESSES, MAX_TIMED_THREADS, TIMED_SLOTS, Times, Totals};
pub use tunable::{ABSENT, FIELDS, Field, global};

/// Version of the layouts below.
pub const VERSION: u32 = 5;
