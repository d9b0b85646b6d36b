//! Names of attributes of spans. What a convention covers is in `semconv`; the rest is `mcpsonar.*`
//! and documented here.

pub(super) use crate::semconv::*;

/// The address at the other end of a connection.
pub(super) const NETWORK_PEER: AddressNames = ["network.peer.address", "network.peer.port"];

/// Id of the call, as `mcpsonar trace --json` has it under `call`.
pub(super) const CALL_ID: &str = "mcpsonar.call.id";
/// How the call ended: ok, tool_error, rpc_error, http_error, cancelled, abandoned, client_exit, server_exit, pending.
pub(super) const OUTCOME: &str = "mcpsonar.outcome";
/// How messages travel: stdio, socket, http, sse, websocket.
pub(super) const TRANSPORT: &str = "mcpsonar.transport";
/// Seconds from the write of the request to its first read.
pub(super) const REQUEST_QUEUE: &str = "mcpsonar.part.request_queue";
/// Seconds from the request's last read to the first write of the response.
pub(super) const SERVER: &str = "mcpsonar.part.server";
/// Seconds from the write of the response to its first read.
pub(super) const RESPONSE_QUEUE: &str = "mcpsonar.part.response_queue";
/// Seconds from the first to the last read of both messages.
pub(super) const TRANSFER: &str = "mcpsonar.part.transfer";
/// Bytes of the request without framing.
pub(super) const REQUEST_SIZE: &str = "mcpsonar.request.size";
/// Bytes of the response without framing.
pub(super) const RESPONSE_SIZE: &str = "mcpsonar.response.size";
/// Notifications that belong to the call.
pub(super) const NOTIFICATIONS: &str = "mcpsonar.notifications";
/// What of the call was not seen; absent when everything was.
pub(super) const LOSS: &str = "mcpsonar.loss";
/// Kind of the result when it is not the answer: input_required, task, or an extension's.
pub(super) const RESULT_TYPE: &str = "mcpsonar.result.type";
/// Id of the task that the call started, polled or fetched.
pub(super) const TASK_ID: &str = "mcpsonar.task.id";
/// Id of the call that this one continues.
pub(super) const CONTINUES: &str = "mcpsonar.call.continues";
/// Id of the call that this one passes on, on the other side of a relay.
pub(super) const PARENT: &str = "mcpsonar.call.parent";
/// Id of the session where the wire has no `Mcp-Session-Id`: a hash, as that of `mcp.session.id` is.
pub(super) const SESSION_ID: &str = "mcpsonar.session.id";
/// What a link leads to: ambient, the HTTP request's trace context where the message has another; hop,
/// the same call passed on by this process.
pub(super) const LINK: &str = "mcpsonar.link.kind";
/// Seconds of the server's part on a CPU. These nine are of the responder's span, and sum to that part.
pub(super) const ON_CPU: &str = "mcpsonar.cause.on_cpu";
/// Seconds of it ready to run, without a CPU.
pub(super) const RUN_QUEUE: &str = "mcpsonar.cause.run_queue";
/// Seconds of it waiting for a disk.
pub(super) const DISK: &str = "mcpsonar.cause.disk";
/// Seconds of it waiting for other hosts and child processes.
pub(super) const UPSTREAM: &str = "mcpsonar.cause.upstream";
/// Seconds of it asleep, on a lock or a timer.
pub(super) const LOCK_OR_TIMER: &str = "mcpsonar.cause.lock_or_timer";
/// Seconds of it waiting for memory.
pub(super) const MEMORY: &str = "mcpsonar.cause.memory";
/// Seconds of it held back by the cgroup's CPU limit.
pub(super) const THROTTLED: &str = "mcpsonar.cause.throttled";
/// Seconds of it in writes that waited for their reader.
pub(super) const BLOCKED_WRITE: &str = "mcpsonar.cause.blocked_write";
/// Seconds of it that cannot be told apart.
pub(super) const UNKNOWN: &str = "mcpsonar.cause.unknown";
/// The cause that holds more than half of the server's part.
pub(super) const DOMINANT: &str = "mcpsonar.cause.dominant";
/// Whether other calls of the server overlap this one, and share its causes and upstreams; absent when not.
pub(super) const SHARED: &str = "mcpsonar.shared_window";
/// What was waited for: connection, lookup, process. These four are of the spans below the responder's.
pub(super) const WAIT_KIND: &str = "mcpsonar.upstream.kind";
/// Seconds until the connection was there.
pub(super) const WAIT_CONNECT: &str = "mcpsonar.upstream.connect";
/// Seconds from the request to the first byte of its answer.
pub(super) const WAIT_FIRST_BYTE: &str = "mcpsonar.upstream.first_byte";
/// Bytes sent and received.
pub(super) const WAIT_SIZE: &str = "mcpsonar.upstream.size";
/// Whether the connection carries TLS that was looked into; absent without TLS.
pub(super) const TLS: &str = "mcpsonar.tls";
/// Seconds from SYN to established. These five are of the TCP connection that carried the request, at
/// the client's end where that was seen.
pub(super) const TCP_CONNECT: &str = "mcpsonar.tcp.connect";
/// Seconds from the request's last byte written to the response's first byte read.
pub(super) const TCP_FIRST_BYTE: &str = "mcpsonar.tcp.time_to_first_byte";
/// Smoothed round-trip time, seconds.
pub(super) const TCP_RTT: &str = "mcpsonar.tcp.rtt";
/// Segments sent again since the connection began.
pub(super) const TCP_RETRANSMITS: &str = "mcpsonar.tcp.retransmits";
/// Bytes written and not yet acknowledged.
pub(super) const TCP_IN_FLIGHT: &str = "mcpsonar.tcp.in_flight";
