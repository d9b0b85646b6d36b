//! Every bound of the samplers.

use mcp_proto::Nanos;

/// Processes that are watched at most.
pub(super) const MAX_WATCHED: usize = 8192;
/// Processes that are looked at in one tick at most; the others are next.
pub(super) const MAX_PER_TICK: usize = 128;
/// Files of processes that stay open at most; those of others are opened for each look.
pub(super) const MAX_KEPT_FILES: usize = 1024;
/// Control groups whose files are read at most.
pub(super) const MAX_CGROUPS: usize = 512;
/// Control groups that are looked at in one tick at most; the others are next.
pub(super) const MAX_CGROUPS_PER_TICK: usize = 32;
/// An idle process is looked at every so many intervals at the latest.
pub(super) const IDLE_INTERVALS: u32 = 3;
/// Every so many rounds a process is looked at closely, whether it ran or not, and its control
/// group is asked for again.
pub(super) const LOOK_EVERY: u32 = 12;
/// Every so many rounds its proportional memory is measured.
pub(super) const MEASURE_EVERY: u32 = 60;
/// For so long after the last sign of pressure sampling stays fast, in nanoseconds.
pub(super) const FAST_FOR: Nanos = 30_000_000_000;
/// Looks that are due within so long of each other are taken together, in nanoseconds: one after another they
/// cost a third of what they cost each by itself.
pub(super) const TOGETHER: Nanos = 1_000_000_000;
