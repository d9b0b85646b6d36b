//! Spans of a call after the MCP semantic conventions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcp_proto::{HttpVersion, Nanos, Notice, TraceContext};
use opentelemetry::{
    InstrumentationScope, SpanId, TraceFlags, TraceId,
    trace::{Event, Link, SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::{attributes::Attributes, hops::Hop, names, sampling::Kept, waits};
use crate::{
    calls::{CallRecord, FIRST_SESSIONLESS, Operation, Party, Role, ShortId},
    host::ClockOffset,
    sink::text::sanitise,
};

/// A span and whose it is.
#[derive(Debug)]
pub(super) struct OwnedSpan {
    pub(super) owner: Party,
    /// Of the host that it was seen on.
    pub(super) clock: ClockOffset,
    pub(super) span: SpanData,
}

/// The spans of a call: the requester's (CLIENT) and the responder's (SERVER), of the ends that
/// were seen, and below the latter those of what it waited for. The conventions give the kinds to
/// initiator and receiver, whichever of them is the MCP client.
pub(super) fn spans(call: &CallRecord, kept: &Kept, passed_on: Option<&Hop>) -> Vec<OwnedSpan> {
    let outer = call.trace_context.as_ref().map(|context| ShortId(context.parent_id));
    let operations = call.operations();
    let [requester, responder] = operations.each_ref().map(Option::as_ref);
    let mut spans = Vec::with_capacity(2);
    for operation in operations.iter().flatten() {
        let (parent, other_end) = match operation.role {
            Role::Requester => (outer, responder.is_none()),
            Role::Responder => (requester.map(|requester| requester.span_id).or(outer), true),
        };
        let mut span = span(call, operation, parent, kept);
        if other_end {
            span.events = events(call);
        }
        if operation.role == Role::Responder {
            let hop = passed_on.map(|hop| link(hop.trace_id.0, hop.span_id, TraceFlags::SAMPLED, "hop"));
            span.links.links.extend(hop);
            spans.extend(waits::spans(call, operation, &span));
        }
        spans.push(OwnedSpan {
            owner: operation.party.cloned().unwrap_or_default(),
            clock: call.clock,
            span,
        });
    }
    spans
}

fn span(call: &CallRecord, operation: &Operation<'_>, parent: Option<ShortId>, kept: &Kept) -> SpanData {
    let link_to = |context: &TraceContext| {
        let flags = TraceFlags::new(context.flags);
        link(context.trace_id, ShortId(context.parent_id), flags, "ambient")
    };
    let mut links = SpanLinks::default();
    links.links.extend(call.ambient_context.as_ref().map(link_to));
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(call.trace_id.0),
            SpanId::from_bytes(operation.span_id.0),
            // What is sent was kept, whatever the wire's flag says.
            TraceFlags::SAMPLED,
            false,
            kept.trace_state.clone(),
        ),
        parent_span_id: parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.0)),
        // Every parent is of another process.
        parent_span_is_remote: parent.is_some(),
        span_kind: match operation.role {
            Role::Requester => SpanKind::Client,
            Role::Responder => SpanKind::Server,
        },
        name: name(call).into(),
        start_time: time(call, operation.start),
        end_time: time(call, operation.end),
        attributes: attributes(call, operation).fitted(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status: status(operation.error_type.is_some()),
        instrumentation_scope: scope(),
    }
}

/// The description would be `error.message`, which is payload.
pub(super) fn status(has_failed: bool) -> Status {
    if has_failed { Status::error("") } else { Status::Unset }
}

/// Who has instrumented it.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("mcpsonar")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
}

pub(super) fn time(call: &CallRecord, at: Nanos) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(call.clock.unix(at))
}

fn link(trace_id: [u8; 16], span_id: ShortId, flags: TraceFlags, kind: &str) -> Link {
    let mut attributes = Attributes::default();
    attributes.text(names::LINK, Some(kind));
    let (trace_id, span_id) = (TraceId::from_bytes(trace_id), SpanId::from_bytes(span_id.0));
    let context = SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE);
    Link::new(context, attributes.0, 0)
}

fn events(call: &CallRecord) -> SpanEvents {
    let mut events = SpanEvents::default();
    events.events = call.notices.iter().map(|notice| event(call, notice)).collect();
    let told = u32::try_from(events.events.len()).unwrap_or(u32::MAX);
    events.dropped_count = call.notifications.saturating_sub(told);
    events
}

fn event(call: &CallRecord, notice: &Notice) -> Event {
    let method = notice.method.unwrap_or(names::OTHER);
    let mut attributes = Attributes::default();
    attributes.text(names::MCP_METHOD_NAME, Some(method));
    Event::new(method, time(call, notice.at), attributes.0, 0)
}

/// `{method} {tool or prompt}`; a resource's URI would make too many names.
fn name(call: &CallRecord) -> String {
    match call.tool.as_deref().or(call.prompt.as_deref()) {
        Some(target) => sanitise(&format!("{} {target}", call.method)).into_owned(),
        None => sanitise(&call.method).into_owned(),
    }
}

fn attributes(call: &CallRecord, operation: &Operation<'_>) -> Attributes {
    let mut out = Attributes(Vec::with_capacity(40));
    out.text(names::MCP_METHOD_NAME, Some(&call.method));
    out.text(names::MCP_PROTOCOL_VERSION, call.protocol_version.as_deref());
    out.text(session_name(call), call.session.map(|id| id.to_string()).as_deref());
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
    let version = call.http_version.map(|version| match version {
        HttpVersion::Http1 => "1.1",
        HttpVersion::Http2 => "2",
    });
    out.text(
        names::NETWORK_PROTOCOL_VERSION,
        version.filter(|_| call.network_protocol() == Some("http")),
    );
    // Each end is told of the other: which of them has connected does not depend on who asks.
    match operation.role {
        Role::Requester => out.address(names::SERVER_ADDRESS, socket(call.server_address.as_deref())),
        Role::Responder => out.address(names::CLIENT_ADDRESS, socket(call.client_address.as_deref())),
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
        out.flag(names::TLS, true);
    }
    if operation.role == Role::Responder {
        causes(call, &mut out);
    }
    if let Some(tcp) = &call.tcp {
        out.seconds(names::TCP_CONNECT, tcp.connect_us.map(f64::from));
        out.seconds(names::TCP_FIRST_BYTE, tcp.time_to_first_byte_us);
        out.seconds(names::TCP_RTT, Some(f64::from(tcp.srtt_us)));
        out.number(names::TCP_RETRANSMITS, u64::from(tcp.retransmits));
        out.number(names::TCP_IN_FLIGHT, u64::from(tcp.in_flight_bytes));
    }
    let losses: Vec<_> = call.loss.iter().map(|loss| loss.code()).collect();
    out.texts(names::LOSS, &losses);
    out
}

/// What the responder's time was spent on.
fn causes(call: &CallRecord, out: &mut Attributes) {
    let causes = &call.causes_us;
    out.seconds(names::ON_CPU, causes.on_cpu);
    out.seconds(names::RUN_QUEUE, causes.run_queue);
    out.seconds(names::DISK, causes.disk);
    out.seconds(names::UPSTREAM, causes.upstream);
    out.seconds(names::LOCK_OR_TIMER, causes.lock_or_timer);
    out.seconds(names::MEMORY, causes.memory);
    out.seconds(names::THROTTLED, causes.throttled);
    out.seconds(names::BLOCKED_WRITE, causes.blocked_write);
    out.seconds(names::UNKNOWN, causes.unknown);
    out.text(names::DOMINANT, call.dominant_cause);
    if call.shared_window {
        out.flag(names::SHARED, true);
    }
}

/// The convention's name is for what `Mcp-Session-Id` says, and for no revision without it.
fn session_name(call: &CallRecord) -> &'static str {
    let is_modern = call
        .protocol_version
        .as_deref()
        .is_some_and(|version| version >= FIRST_SESSIONLESS);
    match call.network_protocol() {
        Some("http") if !is_modern => names::MCP_SESSION_ID,
        _ => names::SESSION_ID,
    }
}

fn socket(address: Option<&str>) -> Option<std::net::SocketAddr> {
    address?.parse().ok()
}

/// The id without JSON's quotes; none for null.
fn request_id(token: &str) -> Option<String> {
    match serde_json::from_str(token) {
        Ok(serde_json::Value::Null) => None,
        Ok(serde_json::Value::String(text)) => Some(text),
        Ok(_) | Err(_) => Some(token.to_owned()),
    }
}
