//! The call as it goes out: field names and their order are a contract with scripts.

mod fault;
mod party;

use std::net::SocketAddr;
use std::sync::Arc;

use mcp_proto::{
    Call, CallRef, Carrier, ConnectionId, Continuation, Direction, HttpVersion, Loss, Nanos, Notice, Outcome,
    ResultType, TaskState, TraceContext, Transport,
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{
    causes::{Account, Resources, Upstream, UpstreamWait},
    parts::{Instants, Parts, micros},
    syscalls::SyscallTime,
    trace_id::{ConnectionKey, Ids, Run, ShortId, TraceId, session_id},
};
use crate::host::{ClockOffset, ProcessFacts};

pub use fault::FaultRecord;
pub use party::Party;

/// The first revision without sessions.
pub(crate) const FIRST_SESSIONLESS: &str = "2026-07-28";

/// One call with the facts of both ends. What is not known is null; no field is left out.
#[derive(Clone, Debug, Serialize)]
pub struct CallRecord {
    /// Id of the call.
    pub call: ShortId,
    /// Id of its trace.
    pub trace_id: TraceId,
    /// The client's span, when the client was seen.
    pub client_span_id: Option<ShortId>,
    /// The server's span, when the server was seen.
    pub server_span_id: Option<ShortId>,
    /// The ends that were seen.
    pub seen_by: Vec<&'static str>,
    /// How messages travel.
    pub transport: &'static str,
    /// The carrier by OpenTelemetry's word: a stdio connection is a pipe even over a socket pair.
    pub network_transport: &'static str,
    /// Whether TLS was looked into.
    pub tls: bool,
    /// Revision of the protocol.
    pub protocol_version: Option<Box<str>>,
    /// Id of the session, where the protocol has sessions.
    pub session: Option<ShortId>,
    /// Who asked whom.
    #[serde(serialize_with = "direction")]
    pub direction: Direction,
    /// The JSON-RPC method.
    pub method: Box<str>,
    /// Name of the tool.
    pub tool: Option<Box<str>>,
    /// Name of the prompt.
    pub prompt: Option<Box<str>>,
    /// URI of the resource, without query and fragment.
    pub resource: Option<Box<str>>,
    /// The JSON-RPC id as the wire's token: a number or a string.
    pub request_id: Box<RawValue>,
    /// The MCP client.
    pub client: Option<Party>,
    /// The MCP server.
    pub server: Option<Party>,
    /// Address of the client, for transports that have one.
    pub client_address: Option<Box<str>>,
    /// Address of the server, for transports that have one.
    pub server_address: Option<Box<str>>,
    /// Start in nanoseconds since the Unix epoch.
    pub start_unix_ns: Option<u64>,
    /// Start in nanoseconds of CLOCK_MONOTONIC.
    pub start_mono_ns: Option<Nanos>,
    /// What the requester waited when it was seen, else what the responder took; microseconds.
    pub latency_us: Option<f64>,
    /// What the latency consists of, in microseconds.
    pub parts_us: Parts,
    /// How it ended.
    #[serde(serialize_with = "outcome")]
    pub outcome: Outcome,
    /// Code of the JSON-RPC error.
    pub error_code: Option<i64>,
    /// Bytes of the request without framing.
    pub request_bytes: u64,
    /// The same for requests that ask the same: what metrics of caches are judged by, told to nobody.
    #[serde(skip)]
    pub(crate) request_hash: Option<u64>,
    /// Bytes of the response without framing; 0 without a response.
    pub response_bytes: u64,
    /// Notifications that belong to it.
    pub notifications: u32,
    /// What the server's time was spent on, in microseconds.
    pub causes_us: Causes,
    /// The cause that holds most of the time.
    pub dominant_cause: Option<&'static str>,
    /// Whom the server waited for.
    pub upstreams: Vec<Upstream>,
    /// In which system calls the server was meanwhile.
    pub syscalls: Vec<SyscallTime>,
    /// Whether other calls of the server overlap it, and share its causes.
    pub shared_window: bool,
    /// What the server's process used meanwhile.
    pub resources: Option<Resources>,
    /// What of it was not seen.
    #[serde(serialize_with = "losses")]
    pub loss: Vec<Loss>,
    /// What kind of result it had.
    pub result_type: Option<Box<str>>,
    /// The task that it started, polled or fetched.
    pub task: Option<TaskRecord>,
    /// Id of the call that it continues.
    pub continues: Option<ShortId>,
    /// Status of the HTTP response.
    pub http_status: Option<u16>,
    /// What the kernel knows of the TCP connection of the request.
    pub tcp: Option<TcpRecord>,
    /// Id of the call that it passes on, on the other side of a process that relays calls.
    pub parent_call: Option<ShortId>,

    /// The conversation that it belongs to, as the tracker has it.
    #[serde(skip)]
    pub connection: ConnectionId,
    /// Its instants, for exporters of spans.
    #[serde(skip)]
    pub instants: Instants,
    /// When it ended, CLOCK_MONOTONIC.
    #[serde(skip)]
    pub ended: Nanos,
    /// The offset that `start_unix_ns` was computed with.
    #[serde(skip)]
    pub clock: ClockOffset,
    /// The wire's trace context.
    #[serde(skip)]
    pub trace_context: Option<TraceContext>,
    /// That of the HTTP request, where the message has one of its own.
    #[serde(skip)]
    pub ambient_context: Option<TraceContext>,
    /// The first of its notifications.
    #[serde(skip)]
    pub notices: Vec<Notice>,
    /// Version of HTTP that carried the request.
    #[serde(skip)]
    pub http_version: Option<HttpVersion>,
    /// Whom the responder waited for, and when.
    #[serde(skip)]
    pub waits: Vec<UpstreamWait>,
}

/// What the server's time was spent on, in microseconds. `None` where it was not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names are the documentation: see design, section 6")]
pub struct Causes {
    pub on_cpu: Option<f64>,
    pub run_queue: Option<f64>,
    pub disk: Option<f64>,
    pub upstream: Option<f64>,
    pub lock_or_timer: Option<f64>,
    pub memory: Option<f64>,
    pub throttled: Option<f64>,
    pub blocked_write: Option<f64>,
    pub unknown: Option<f64>,
}

/// What the kernel knows of the TCP connection that carried the request: of the client's end where
/// that was seen, else of the server's, as of that end's last record before the call came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TcpRecord {
    /// Microseconds from SYN to established, when that was seen.
    pub connect_us: Option<u32>,
    /// Microseconds from the request's last byte written to the response's first byte read.
    pub time_to_first_byte_us: Option<f64>,
    /// Smoothed round-trip time, microseconds.
    pub srtt_us: u32,
    /// Segments sent again since the connection began.
    pub retransmits: u32,
    /// Bytes written and not yet acknowledged.
    pub in_flight_bytes: u32,
}

/// A task, as a message about it tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskRecord {
    /// `taskId`.
    pub id: Box<str>,
    /// Its status on the wire.
    pub status: Option<Box<str>>,
    /// Microseconds since the request that created it.
    pub age_us: Option<f64>,
}

/// What a record is made from, besides the call.
#[derive(Clone, Debug)]
pub struct CallSource<'a> {
    /// What the server's time was spent on, and whether it was shared with other calls, where that was
    /// measured.
    pub account: Option<(Account, bool)>,
    /// The run of the agent that has seen it.
    pub run: &'a Run,
    /// Names the connection to both of its ends.
    pub connection: &'a ConnectionKey,
    /// The client's process.
    pub client: Option<&'a Arc<ProcessFacts>>,
    /// The server's process.
    pub server: Option<&'a Arc<ProcessFacts>>,
    /// The connection, where it has addresses.
    pub network: Option<Network>,
    /// From CLOCK_MONOTONIC to the time of day.
    pub clock: ClockOffset,
}

/// The connection that carried the request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Network {
    /// Address of the client; unknown where a TLS session's socket is.
    pub client: Option<SocketAddr>,
    /// Address of the server, likewise.
    pub server: Option<SocketAddr>,
    /// It carries TLS that was looked into.
    pub tls: bool,
    /// What the kernel knows of it.
    pub tcp: Option<TcpRecord>,
}

impl CallRecord {
    /// The record of `call`.
    #[must_use]
    pub fn new(call: Call, source: CallSource<'_>) -> Self {
        let CallSource {
            account,
            connection,
            client,
            server,
            network,
            clock,
            run,
        } = source;
        let (account, shared) = account.unwrap_or_default();
        let ids = Ids::of(&call, connection, run);
        let relayed = |relayed: CallRef| run.call(relayed.connection, relayed.direction, relayed.sequence);
        let continued = |earlier: Continuation| run.call(call.connection, call.direction, earlier.sequence);
        let instants = Instants::of(&call);
        let start = instants.first();
        let first_byte = call
            .response
            .and_then(|response| response.first_read)
            .zip(call.request.last_written)
            .map(|(read, written)| micros(read.saturating_sub(written)));
        let client_seen = call.client.process.is_some();
        let server_seen = call.server.process.is_some();
        let seen = [("client", client_seen), ("server", server_seen)];
        Self {
            call: ids.call,
            trace_id: ids.trace,
            client_span_id: client_seen.then_some(ids.client_span),
            server_span_id: server_seen.then_some(ids.server_span),
            seen_by: seen.into_iter().filter_map(|(end, seen)| seen.then_some(end)).collect(),
            transport: transport_code(call.transport),
            network_transport: network_transport(call.transport, call.carrier),
            tls: network.is_some_and(|network| network.tls),
            session: has_session(&call).then(|| session_id(connection)),
            protocol_version: call.protocol_version,
            direction: call.direction,
            method: call.method.0,
            tool: call.tool,
            prompt: call.prompt,
            resource: call.resource,
            request_id: raw_token(&call.request_id.0),
            client: Party::new(call.client, client),
            server: Party::new(call.server, server),
            client_address: network.and_then(|network| network.client.map(address)),
            server_address: network.and_then(|network| network.server.map(address)),
            start_unix_ns: start.map(|start| clock.unix(start)),
            start_mono_ns: start,
            latency_us: instants.latency(call.ended).map(micros),
            parts_us: instants.parts(),
            outcome: call.outcome,
            error_code: call.error_code,
            request_bytes: call.request.bytes,
            request_hash: call.request_hash,
            response_bytes: call.response.map_or(0, |response| response.bytes),
            notifications: call.notifications,
            causes_us: account.causes,
            dominant_cause: account.dominant,
            upstreams: account.upstreams,
            syscalls: account.syscalls,
            shared_window: shared,
            resources: account.resources,
            loss: call.loss,
            result_type: call.result_type.map(result_type_code),
            task: call.task.map(TaskRecord::new),
            continues: call.continues.map(continued),
            http_status: call.http_status,
            tcp: network.and_then(|network| network.tcp).map(|tcp| TcpRecord {
                time_to_first_byte_us: first_byte,
                ..tcp
            }),
            parent_call: call.relays.map(relayed),
            connection: call.connection,
            instants,
            ended: call.ended,
            clock,
            trace_context: call.trace_context,
            ambient_context: call.ambient_context,
            notices: call.notices,
            http_version: call.http_version,
            waits: account.waits,
        }
    }

    /// The end that asked.
    #[must_use]
    pub fn requester(&self) -> Option<&Party> {
        match self.direction {
            Direction::ClientToServer => self.client.as_ref(),
            Direction::ServerToClient => self.server.as_ref(),
        }
    }

    /// The end that was asked.
    #[must_use]
    pub fn responder(&self) -> Option<&Party> {
        match self.direction {
            Direction::ClientToServer => self.server.as_ref(),
            Direction::ServerToClient => self.client.as_ref(),
        }
    }

    /// What the method was about: the tool, the prompt or the resource.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.tool
            .as_deref()
            .or(self.prompt.as_deref())
            .or(self.resource.as_deref())
    }
}

impl TaskRecord {
    fn new(task: TaskState) -> Self {
        let TaskState { id, status, age } = task;
        Self {
            id,
            status,
            age_us: age.map(micros),
        }
    }
}

fn address(address: SocketAddr) -> Box<str> {
    address.to_string().into()
}

pub(super) fn transport_code(transport: Transport) -> &'static str {
    match transport {
        Transport::Stdio => "stdio",
        Transport::Socket => "socket",
        Transport::Http => "http",
        Transport::Sse => "sse",
        Transport::WebSocket => "websocket",
    }
}

fn network_transport(transport: Transport, carrier: Carrier) -> &'static str {
    match (transport, carrier) {
        (Transport::Stdio, _) | (_, Carrier::Pipe) => "pipe",
        (_, Carrier::SocketPair | Carrier::UnixSocket) => "unix",
        (_, Carrier::Tcp) => "tcp",
    }
}

/// Whether the call belongs to a session. Over HTTP the wire names it; on a connection of their own
/// the two ends have one where the revision knows sessions. Revisions are dates: they sort as text.
/// Sessionless ones name theirs in every request, so an unknown one is of the older era.
fn has_session(call: &Call) -> bool {
    match call.transport {
        Transport::Http | Transport::Sse => call.session.is_some(),
        Transport::Stdio | Transport::Socket | Transport::WebSocket => call
            .protocol_version
            .as_deref()
            .is_none_or(|version| version < FIRST_SESSIONLESS),
    }
}

/// The wire's token as JSON. Should it not be JSON after all, it becomes a string.
pub(super) fn raw_token(token: &str) -> Box<RawValue> {
    RawValue::from_string(token.to_owned())
        .or_else(|_| serde_json::value::to_raw_value(token))
        .unwrap_or_else(|_| RawValue::NULL.to_owned())
}

fn result_type_code(result_type: ResultType) -> Box<str> {
    match result_type {
        ResultType::Complete => "complete".into(),
        ResultType::InputRequired => "input_required".into(),
        ResultType::Task => "task".into(),
        ResultType::Other(name) => name,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) fn direction<S: Serializer>(direction: &Direction, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match direction {
        Direction::ClientToServer => "client_to_server",
        Direction::ServerToClient => "server_to_client",
    })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn outcome<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.code())
}

fn losses<S: Serializer>(losses: &[Loss], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(losses.iter().map(|loss| loss.code()))
}

#[cfg(test)]
pub(crate) mod tests;
