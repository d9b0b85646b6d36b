//! Names of attributes of spans. What a convention covers is in `semconv`; the rest is `mcpsonar.*`
//! and documented here.

pub(super) use crate::semconv::*;

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
