//! Every bound of the flags, and the pace of what is looked at by itself.

use mcp_proto::Nanos;

/// One second, in nanoseconds.
pub(super) const SECOND: Nanos = 1_000_000_000;
/// Conditions that are remembered at most, raised or not; further ones are refused and counted.
pub(super) const MAX_WATCHES: usize = 16_384;
/// Events that wait to be taken; the oldest give way and are counted.
pub(super) const MAX_EVENTS: usize = 16_384;
/// Processes that are known at most; further ones are refused and counted.
pub(super) const MAX_PROCESSES: usize = 16_384;
/// Servers, by name, whose calls are counted.
pub(super) const MAX_SERVERS: usize = 1024;
/// Control groups whose latest sample is kept.
pub(super) const MAX_CGROUPS: usize = 512;
/// Bytes of a name from the wire that are kept.
pub(super) const MAX_NAME: usize = 128;
/// Processes that an event names at most.
pub(super) const MAX_PIDS: usize = 8;
/// Pause between two looks at what no input triggers: silence, shares, groups.
pub(super) const HOUSEKEEPING: Nanos = 10 * SECOND;
/// Between two updates of a raised flag there is at least this long, unless its severity changes.
pub(super) const UPDATE_PAUSE: Nanos = 60 * SECOND;
/// Change of a raised flag's value, as a share of it, that is worth an update.
pub(super) const UPDATE_CHANGE: f64 = 0.25;
/// One slot of the calls that are counted over a while...
pub(super) const SLOT: Nanos = 30 * SECOND;
/// ...and how many of them make five minutes.
pub(super) const SLOTS: usize = 10;
