//! Every bound of the history.

use std::time::Duration;

/// Messages that may wait for the writer. A call is about 2 KiB.
pub(super) const QUEUE: usize = 4096;
/// How often what has gathered is written: all that kill -9 can cost.
pub(super) const FLUSH_EVERY: Duration = Duration::from_secs(2);
/// How often what is too old or too much is deleted.
pub(super) const TRIM_EVERY: Duration = Duration::from_secs(60);
/// How long a history that cannot be written waits until it tries again.
pub(super) const RETRY_EVERY: Duration = Duration::from_secs(10);
/// How long `finish` waits for the writer.
pub(super) const FINISH_DEADLINE: Duration = Duration::from_secs(3);
/// Combinations of server, client, method and tool that are kept apart: the names come from the wire.
pub(super) const MAX_SERIES: usize = 4000;
/// Bytes of a name.
pub(super) const MAX_NAME: usize = 128;
/// Sketches, sessions and endpoints that may wait to be written, of each kind, while the disk is full.
pub(super) const MAX_PENDING: usize = 16_384;
/// Servers of a minute whose use of the host is kept.
pub(super) const MAX_SERVERS_A_MINUTE: usize = 256;
/// Whole calls and flags that may wait to be written, of each kind.
pub(super) const MAX_PENDING_ROWS: usize = 1024;
/// Slow and failed calls of a minute that are kept whole, and further ones only if slower than all before.
pub(super) const MAX_KEPT_A_MINUTE: u32 = 120;
/// Sampled calls of a minute that are kept whole.
pub(super) const MAX_SAMPLED_A_MINUTE: u32 = 60;
/// Bytes of a call's JSON once it is inflated.
pub(super) const MAX_RECORD: u64 = 256 << 10;
/// Whole calls deleted at a time, to come back under the size.
pub(super) const TRIM_BATCH: usize = 2000;
/// Bytes of the write-ahead log that stay on disk after a checkpoint.
pub(super) const MAX_LOG: i64 = 4 << 20;
