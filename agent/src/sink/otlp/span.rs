//! Spans of a call after the MCP semantic conventions.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcp_proto::{Direction, Nanos, Outcome};
use opentelemetry::{
    Array, InstrumentationScope, KeyValue, SpanId, StringValue, TraceFlags, TraceId, Value,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::names;
use crate::{
    calls::{CallRecord, Party, ShortId},
    sink::text::sanitise,
};

/// JSON-RPC codes that blame the caller: on the server's span they are not errors
/// (semantic-conventions-genai, `model/mcp/common.yaml`).
const CALLERS_FAULT: [i64; 5] = [-32700, -32600, -32601, -32602, -32002];

/// A span and whose it is.
#[derive(Debug)]
pub(super) struct OwnedSpan {
    pub(super) owner: Party,
    pub(super) span: SpanData,
}

/// The spans of a call: the requester's (CLIENT) and the responder's (SERVER), of the ends that
/// were seen. The conventions give the kinds to initiator and receiver, whichever of them is the
/// MCP client.
pub(super) fn spans(call: &CallRecord) -> Vec<OwnedSpan> {
    let [requester_span, responder_span] = match call.direction {
        Direction::ClientToServer => [call.client_span_id, call.server_span_id],
        Direction::ServerToClient => [call.server_span_id, call.client_span_id],
    };
    let outer = call.trace_context.as_ref().map(|context| ShortId(context.parent_id));
    let instants = &call.instants;
    let mut spans = Vec::with_capacity(2);
    if let Some(id) = requester_span {
        let period = (instants.sent(), instants.returned());
        spans.push(owned(call.requester(), span(call, SpanKind::Client, id, outer, period)));
    }
    if let Some(id) = responder_span {
        let period = (instants.received(), instants.answered());
        let parent = requester_span.or(outer);
        spans.push(owned(
            call.responder(),
            span(call, SpanKind::Server, id, parent, period),
        ));
    }
    spans
}

fn owned(owner: Option<&Party>, span: SpanData) -> OwnedSpan {
    OwnedSpan {
        owner: owner.cloned().unwrap_or_default(),
        span,
    }
}

fn span(
    call: &CallRecord,
    kind: SpanKind,
    id: ShortId,
    parent: Option<ShortId>,
    (start, end): (Option<Nanos>, Option<Nanos>),
) -> SpanData {
    let start = start.or(call.start_mono_ns).unwrap_or(call.ended);
    let end = end.unwrap_or(call.ended).max(start);
    let flags = call
        .trace_context
        .as_ref()
        .map_or(TraceFlags::SAMPLED, |context| TraceFlags::new(context.flags));
    let trace = TraceId::from_bytes(call.trace_id.0);
    let error = error_type(call, &kind);
    let status = match &error {
        Some(_) => Status::error(""),
        None => Status::Unset,
    };
    SpanData {
        span_context: SpanContext::new(trace, SpanId::from_bytes(id.0), flags, false, TraceState::NONE),
        parent_span_id: parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.0)),
        // Every parent is of another process.
        parent_span_is_remote: parent.is_some(),
        attributes: attributes(call, &kind, error.as_deref()),
        span_kind: kind,
        name: name(call).into(),
        start_time: time(call, start),
        end_time: time(call, end),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status,
        instrumentation_scope: InstrumentationScope::builder("mcpsonar")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

/// `{method} {tool or prompt}`; a resource's URI would make too many names.
fn name(call: &CallRecord) -> String {
    match call.tool.as_deref().or(call.prompt.as_deref()) {
        Some(target) => sanitise(&format!("{} {target}", call.method)).into_owned(),
        None => sanitise(&call.method).into_owned(),
    }
}

fn time(call: &CallRecord, at: Nanos) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(call.clock.unix(at))
}

/// Why the operation failed, in few different words; `None` when it did not, as far as this end is
/// concerned.
fn error_type(call: &CallRecord, kind: &SpanKind) -> Option<String> {
    match call.outcome {
        Outcome::Ok | Outcome::Pending => None,
        Outcome::RpcError => match call.error_code {
            Some(code) if *kind == SpanKind::Server && CALLERS_FAULT.contains(&code) => None,
            Some(code) => Some(code.to_string()),
            None => Some("_OTHER".to_owned()),
        },
        Outcome::HttpError => Some(
            call.http_status
                .map_or_else(|| "_OTHER".to_owned(), |status| status.to_string()),
        ),
        failed => Some(failed.code().to_owned()),
    }
}

fn attributes(call: &CallRecord, kind: &SpanKind, error: Option<&str>) -> Vec<KeyValue> {
    let mut out = Attributes(Vec::with_capacity(32));
    out.text(names::MCP_METHOD_NAME, Some(&call.method));
    out.text(names::MCP_PROTOCOL_VERSION, call.protocol_version.as_deref());
    out.text(names::MCP_RESOURCE_URI, call.resource.as_deref());
    out.text(names::GEN_AI_TOOL_NAME, call.tool.as_deref());
    out.text(names::GEN_AI_PROMPT_NAME, call.prompt.as_deref());
    out.text(
        names::GEN_AI_OPERATION_NAME,
        (&*call.method == "tools/call").then_some("execute_tool"),
    );
    out.text(names::JSONRPC_REQUEST_ID, request_id(call.request_id.get()).as_deref());
    out.text(names::NETWORK_TRANSPORT, Some(call.network_transport));
    out.text(names::NETWORK_PROTOCOL_NAME, protocol_name(call.transport));
    // Each end is told of the other: which of them has connected does not depend on who asks.
    match kind {
        SpanKind::Client => out.address(names::SERVER_ADDRESS, call.server_address.as_deref()),
        _ => out.address(names::CLIENT_ADDRESS, call.client_address.as_deref()),
    }
    out.text(names::ERROR_TYPE, error);
    out.text(
        names::RPC_RESPONSE_STATUS_CODE,
        call.error_code.map(|code| code.to_string()).as_deref(),
    );
    if let Some(status) = call.http_status {
        out.number(names::HTTP_RESPONSE_STATUS_CODE, u64::from(status));
    }

    out.text(names::CALL_ID, Some(&call.call.to_string()));
    out.text(names::OUTCOME, Some(call.outcome.code()));
    out.text(names::TRANSPORT, Some(call.transport));
    let parts = &call.parts_us;
    out.seconds(names::REQUEST_QUEUE, parts.request_queue);
    out.seconds(names::SERVER, parts.server);
    out.seconds(names::RESPONSE_QUEUE, parts.response_queue);
    out.seconds(names::TRANSFER, parts.transfer);
    out.number(names::REQUEST_SIZE, call.request_bytes);
    out.number(names::RESPONSE_SIZE, call.response_bytes);
    out.number(names::NOTIFICATIONS, u64::from(call.notifications));
    out.text(
        names::RESULT_TYPE,
        call.result_type.as_deref().filter(|kind| *kind != "complete"),
    );
    out.text(names::TASK_ID, call.task.as_ref().map(|task| &*task.id));
    out.text(names::CONTINUES, call.continues.map(|id| id.to_string()).as_deref());
    out.text(names::PARENT, call.parent_call.map(|id| id.to_string()).as_deref());
    if call.tls {
        out.0.push(KeyValue::new(names::TLS, true));
    }
    if let Some(tcp) = &call.tcp {
        out.seconds(names::TCP_CONNECT, tcp.connect_us.map(f64::from));
        out.seconds(names::TCP_FIRST_BYTE, tcp.time_to_first_byte_us);
        out.seconds(names::TCP_RTT, Some(f64::from(tcp.srtt_us)));
        out.number(names::TCP_RETRANSMITS, u64::from(tcp.retransmits));
        out.number(names::TCP_IN_FLIGHT, u64::from(tcp.in_flight_bytes));
    }
    if !call.loss.is_empty() {
        let codes: Vec<StringValue> = call.loss.iter().map(|loss| loss.code().into()).collect();
        out.0
            .push(KeyValue::new(names::LOSS, Value::Array(Array::String(codes))));
    }
    out.0
}

/// The protocol that carries the messages, where there is one.
fn protocol_name(transport: &str) -> Option<&'static str> {
    match transport {
        "http" | "sse" => Some("http"),
        "websocket" => Some("websocket"),
        _ => None,
    }
}

/// The id without JSON's quotes; none for null.
fn request_id(token: &str) -> Option<String> {
    match serde_json::from_str(token) {
        Ok(serde_json::Value::Null) => None,
        Ok(serde_json::Value::String(text)) => Some(text),
        Ok(_) | Err(_) => Some(token.to_owned()),
    }
}

struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn text(&mut self, name: &'static str, value: Option<&str>) {
        self.0.extend(value.map(|value| KeyValue::new(name, value.to_owned())));
    }

    fn address(&mut self, [address, port]: names::AddressNames, value: Option<&str>) {
        if let Some(value) = value.and_then(|value| value.parse::<SocketAddr>().ok()) {
            self.0.push(KeyValue::new(address, value.ip().to_string()));
            self.number(port, u64::from(value.port()));
        }
    }

    fn seconds(&mut self, name: &'static str, micros: Option<f64>) {
        self.0.extend(micros.map(|micros| KeyValue::new(name, micros / 1e6)));
    }

    fn number(&mut self, name: &'static str, value: u64) {
        self.0
            .push(KeyValue::new(name, i64::try_from(value).unwrap_or(i64::MAX)));
    }
}
