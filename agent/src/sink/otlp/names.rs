//! Attribute names. What a convention covers has the convention's name (MCP semantic conventions of
//! `open-telemetry/semantic-conventions-genai`); the rest is `mcpsonar.*` and documented here.

pub(super) const MCP_METHOD_NAME: &str = "mcp.method.name";
pub(super) const MCP_PROTOCOL_VERSION: &str = "mcp.protocol.version";
pub(super) const MCP_RESOURCE_URI: &str = "mcp.resource.uri";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const RPC_RESPONSE_STATUS_CODE: &str = "rpc.response.status_code";
pub(super) const GEN_AI_TOOL_NAME: &str = "gen_ai.tool.name";
pub(super) const GEN_AI_PROMPT_NAME: &str = "gen_ai.prompt.name";
pub(super) const GEN_AI_OPERATION_NAME: &str = "gen_ai.operation.name";
pub(super) const JSONRPC_REQUEST_ID: &str = "jsonrpc.request.id";
pub(super) const NETWORK_TRANSPORT: &str = "network.transport";
pub(super) const NETWORK_PROTOCOL_NAME: &str = "network.protocol.name";
pub(super) const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
/// Names of an end's address and port.
pub(super) type AddressNames = [&'static str; 2];
pub(super) const SERVER_ADDRESS: AddressNames = ["server.address", "server.port"];
pub(super) const CLIENT_ADDRESS: AddressNames = ["client.address", "client.port"];

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
