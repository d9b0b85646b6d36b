//! Spans of a call after the MCP semantic conventions.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcp_proto::Nanos;
use opentelemetry::{
    Array, InstrumentationScope, KeyValue, SpanId, StringValue, TraceFlags, TraceId, Value,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::names;
use crate::{
    calls::{CallRecord, Operation, Party, Role, ShortId},
    sink::text::sanitise,
};

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
    let outer = call.trace_context.as_ref().map(|context| ShortId(context.parent_id));
    let operations = call.operations();
    let requester = operations[0].as_ref().map(|requester| requester.span_id);
    let span = |operation: &Operation<'_>| {
        let parent = match operation.role {
            Role::Requester => outer,
            Role::Responder => requester.or(outer),
        };
        OwnedSpan {
            owner: operation.party.cloned().unwrap_or_default(),
            span: span(call, operation, parent),
        }
    };
    operations.iter().flatten().map(span).collect()
}

fn span(call: &CallRecord, operation: &Operation<'_>, parent: Option<ShortId>) -> SpanData {
    let flags = call
        .trace_context
        .as_ref()
        .map_or(TraceFlags::SAMPLED, |context| TraceFlags::new(context.flags));
    let trace = TraceId::from_bytes(call.trace_id.0);
    let id = SpanId::from_bytes(operation.span_id.0);
    let status = match &operation.error_type {
        Some(_) => Status::error(""),
        None => Status::Unset,
    };
    SpanData {
        span_context: SpanContext::new(trace, id, flags, false, TraceState::NONE),
        parent_span_id: parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.0)),
        // Every parent is of another process.
        parent_span_is_remote: parent.is_some(),
        attributes: attributes(call, operation),
        span_kind: match operation.role {
            Role::Requester => SpanKind::Client,
            Role::Responder => SpanKind::Server,
        },
        name: name(call).into(),
        start_time: time(call, operation.start),
        end_time: time(call, operation.end),
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

fn attributes(call: &CallRecord, operation: &Operation<'_>) -> Vec<KeyValue> {
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
    out.text(names::NETWORK_PROTOCOL_NAME, call.network_protocol());
    // Each end is told of the other: which of them has connected does not depend on who asks.
    match operation.role {
        Role::Requester => out.address(names::SERVER_ADDRESS, call.server_address.as_deref()),
        Role::Responder => out.address(names::CLIENT_ADDRESS, call.client_address.as_deref()),
    }
    out.text(names::ERROR_TYPE, operation.error_type.as_deref());
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
