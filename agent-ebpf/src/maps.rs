//! The maps. Sizes of the ring are set by the agent at load.

use core::arch::asm;

use agent_abi::{
    Counter, ENTRY_SLOTS, EndpointKey, Entry, MAX_ENDPOINTS, MAX_PROCESSES, MAX_SOCKETS, MAX_STREAMS, MAX_UPSTREAMS,
    SocketState, StreamState, UpstreamState, VerdictEntry,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};

/// Records on their way to the agent.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// Processes in scope, by tgid; unused when the whole host is.
#[map]
pub(crate) static SCOPE: HashMap<u32, u32> = HashMap::with_max_entries(MAX_PROCESSES, 0);

/// Unfinished data syscalls, by thread id modulo the size.
#[map]
pub(crate) static ENTRIES: Array<Entry> = Array::with_max_entries(ENTRY_SLOTS, 0);

/// Streams, by the address of the pipe's inode or the writer's unix sock. A TCP sock has two, one by
/// its address for what it writes and one by its address + 1 for what it reads.
#[map]
pub(crate) static STREAMS: LruHashMap<u64, StreamState> = LruHashMap::with_max_entries(MAX_STREAMS, 0);

/// The agent's verdicts, by the same key.
#[map]
pub(crate) static VERDICTS: LruHashMap<u64, VerdictEntry> = LruHashMap::with_max_entries(MAX_STREAMS, 0);

/// Files that nobody wants the streams of, by address of the inode, and 1 more for what is read from
/// it; the value is the inode's number. What spares ignored streams the way to their verdict.
#[map]
pub(crate) static QUIET: LruHashMap<u64, u64> = LruHashMap::with_max_entries(MAX_STREAMS, 0);

/// TCP sockets, by the address of their sock.
#[map]
pub(crate) static SOCKETS: LruHashMap<u64, SocketState> = LruHashMap::with_max_entries(MAX_SOCKETS, 0);

/// Connections to other hosts, by the address of their sock.
#[map]
pub(crate) static UPSTREAMS: LruHashMap<u64, UpstreamState> = LruHashMap::with_max_entries(MAX_UPSTREAMS, 0);

/// Verdicts on servers' ends of TCP connections.
#[map]
pub(crate) static ENDPOINTS: HashMap<EndpointKey, u32> = HashMap::with_max_entries(MAX_ENDPOINTS, 0);

/// One value per [`Counter`].
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::ALL.len() as u32, 0);

/// Adds to a counter.
#[inline(always)]
pub(crate) fn count(counter: Counter, by: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the slot belongs to this CPU; a packet may interrupt one program with another.
        add(unsafe { &mut *value }, by);
    }
}

/// Adds and gives the value before. Two racing additions may both see the same value; the sum stays
/// right. (An atomic that returns the old value needs 5.12.)
#[inline(always)]
pub(crate) fn add(value: &mut u64, by: u64) -> u64 {
    let before = *value;
    // SAFETY: one atomic addition to a valid, aligned word.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) &raw mut *value, in(reg) by) };
    before
}
