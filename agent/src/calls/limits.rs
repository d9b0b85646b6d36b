//! Every bound of what the pipeline keeps besides the tracker's own state.

use mcp_proto::Nanos;

const MS: Nanos = 1_000_000;
const SECOND: Nanos = 1_000 * MS;

/// Streams whose place in the kernel is kept; the oldest give way, and keep their verdict for good.
pub(super) const STREAMS: usize = 65_536;
/// Pipes and unix sockets whose key is kept; the oldest give way, and get the same key again when asked.
pub(super) const KEYS: usize = 16_384;
/// Programs started by processes that have not moved a byte yet; the oldest give way.
pub(super) const STARTED: usize = 4096;

/// TCP connections known at a time, closed ones included; the oldest give way.
pub(super) const CONNECTIONS: usize = 32_768;
/// How long a closed connection is told to be closed later: what it has received may still be read.
pub(super) const CLOSING: Nanos = 100 * MS;
/// How long a closed connection is known: its calls may wait to be resumed on another.
pub(super) const KEEP_CLOSED: Nanos = 90 * SECOND;

/// TLS sessions known at a time; the oldest give way.
pub(super) const SESSIONS: usize = 32_768;
/// Bytes, records included, that are held of one session until its socket is known.
pub(super) const HELD_BYTES: usize = 256 << 10;
/// The same over all sessions.
pub(super) const ALL_HELD_BYTES: usize = 16 << 20;
/// How long a session that has written waits for its socket: the write itself tells it.
pub(super) const BIND_WAIT: Nanos = 100 * MS;

/// Endpoints whose connections are counted.
pub(super) const ENDPOINTS: usize = 4096;
/// Connections to an endpoint that were ignored before all are.
pub(super) const IGNORED_CONNECTIONS: u32 = 8;
/// How long an endpoint is ignored before it is looked at again: it may begin to speak MCP.
pub(super) const IGNORE_FOR: Nanos = 60 * SECOND;
