//! The maps. Sizes of the ring are set by the agent at load.

use agent_abi::{Counter, ENTRY_SLOTS, Entry, MAX_PROCESSES, MAX_STREAMS, StreamState, VerdictEntry};
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

/// Streams, by the address of the pipe's inode or the writer's sock.
#[map]
pub(crate) static STREAMS: LruHashMap<u64, StreamState> = LruHashMap::with_max_entries(MAX_STREAMS, 0);

/// The agent's verdicts, by the same key.
#[map]
pub(crate) static VERDICTS: LruHashMap<u64, VerdictEntry> = LruHashMap::with_max_entries(MAX_STREAMS, 0);

/// One value per [`Counter`].
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::ALL.len() as u32, 0);

/// Adds to a counter.
#[inline(always)]
pub(crate) fn count(counter: Counter, by: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the slot belongs to this CPU, and programs do not preempt each other on it.
        unsafe { *value += by };
    }
}
