//! What the programs count: every loss, and how much work they do.

/// Index into the per-CPU counters.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Records put into the ring.
    Records = 0,
    /// Records that found no room in the ring.
    RingFull = 1,
    /// Bytes of payload that those would have carried.
    RingFullBytes = 2,
    /// Pieces of user memory that could not be read.
    Unreadable = 3,
    /// Bytes moved on watched streams by means that cannot be seen (splice, sendfile).
    OpaqueBytes = 4,
    /// Bytes of watched streams left out by the capture budget.
    OverBudget = 5,
    /// New streams that found no room in the table.
    StreamTableFull = 6,
    /// Processes that found no room in the table.
    ProcessTableFull = 7,
    /// Transfers that found no scratch memory: too many programs preempted each other.
    ScratchBusy = 8,
    /// Processes and threads whose time found no room in its tables.
    TimeTableFull = 9,
    /// Waits for other hosts left out: the process has too many.
    WaitsUntold = 10,
    /// Bytes left out because they lie in more buffers than are followed, or in one that could not be read.
    Scattered = 11,
}

impl Counter {
    /// Every counter, in order of index.
    pub const ALL: [Self; 12] = [
        Self::Records,
        Self::RingFull,
        Self::RingFullBytes,
        Self::Unreadable,
        Self::OpaqueBytes,
        Self::OverBudget,
        Self::StreamTableFull,
        Self::ProcessTableFull,
        Self::ScratchBusy,
        Self::TimeTableFull,
        Self::WaitsUntold,
        Self::Scattered,
    ];

    /// Stable name for output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::RingFull => "ring_dropped",
            Self::RingFullBytes => "ring_dropped_bytes",
            Self::Unreadable => "unreadable",
            Self::OpaqueBytes => "opaque_bytes",
            Self::OverBudget => "over_budget_bytes",
            Self::StreamTableFull => "stream_table_full",
            Self::ProcessTableFull => "process_table_full",
            Self::ScratchBusy => "scratch_busy",
            Self::TimeTableFull => "time_table_full",
            Self::WaitsUntold => "waits_untold",
            Self::Scattered => "scattered_bytes",
        }
    }
}
