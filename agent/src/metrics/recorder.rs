//! From calls and samples to series. No clock and no operating system: time comes with what is told.

use std::hash::{DefaultHasher, Hash, Hasher};

use mcp_proto::Outcome;

use super::{
    attributes::{Admission, Given},
    family::Series,
    histogram::Exemplar,
    repeats::Repeats,
    samples::SessionSample,
    snapshot::Data,
    table::{CACHEABLE, Id, TABLE},
};
use crate::{
    calls::{CallRecord, FaultRecord, Operation, Party, Role, record::FIRST_SESSIONLESS},
    semconv,
};

/// How to record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Keep exponential histograms beside those with explicit bounds.
    pub exponential: bool,
}

/// Every series of the agent, in bounded memory (see [`super::limits`]).
#[derive(Debug)]
pub struct Recorder {
    pub(super) started_unix_ns: u64,
    /// In the order of the table.
    pub(super) series: Vec<Series>,
    /// For what is counted as it happens; what is sampled is admitted anew every time.
    admission: Admission,
    repeats: Repeats,
}

impl Recorder {
    /// A recorder that has nothing to tell yet.
    #[must_use]
    pub fn new(options: Options, now_unix_ns: u64) -> Self {
        let series = TABLE
            .iter()
            .map(|instrument| Series::new(instrument, options.exponential));
        Self {
            started_unix_ns: now_unix_ns,
            series: series.collect(),
            admission: Admission::default(),
            repeats: Repeats::default(),
        }
    }

    /// A call has ended.
    pub fn call(&mut self, call: &CallRecord) {
        let now = call.clock.unix(call.ended);
        // One that goes on has no duration.
        if call.outcome != Outcome::Pending {
            for operation in call.operations().iter().flatten() {
                self.operation(call, operation, now);
            }
        }
        self.request(call, now);
        self.parts(call, now);
        self.responder(call, now);
        for loss in &call.loss {
            self.count(Id::CallsIncomplete, "", &[loss.code().into()], now);
        }
        self.count(Id::AgentCalls, "", &[], now);
        if let Some(hash) = call.request_hash {
            self.repeat(call, hash, now);
        }
    }

    /// A peer has broken the protocol.
    pub fn fault(&mut self, fault: &FaultRecord) {
        self.count(Id::Faults, "", &[fault.fault.into()], fault.at_unix_ns);
    }

    /// A session has ended. Revisions without sessions have no duration of one.
    pub fn session(&mut self, session: &SessionSample<'_>) {
        if session
            .protocol_version
            .is_some_and(|version| version >= FIRST_SESSIONLESS)
        {
            return;
        }
        let SessionSample {
            seconds,
            ended_unix_ns: now,
            ..
        } = *session;
        let version = Given::from(session.protocol_version);
        let error = Given::from(session.error_type);
        let transport = Given::from(session.network_transport);
        let protocol = Given::from(session.network_protocol);
        if let Some(client) = session.client {
            let address = Given::from(session.server_address.map(|(address, _)| address));
            let port = Given::from(session.server_address.and_then(|(_, port)| port));
            let given = [client.into(), version, protocol, transport, error, address, port];
            self.measure(Id::ClientSession, client, &given, seconds, None, now);
        }
        if let Some(server) = session.server {
            let given = [server.into(), version, protocol, transport, error];
            self.measure(Id::ServerSession, server, &given, seconds, None, now);
        }
    }

    fn operation(&mut self, call: &CallRecord, operation: &Operation<'_>, now: u64) {
        let service = label(operation.party, semconv::UNKNOWN_SERVICE);
        let code = call.error_code.map(|code| code.to_string());
        let mut given = vec![
            service.into(),
            (&*call.method).into(),
            operation.error_type.as_deref().into(),
            code.as_deref().into(),
            call.tool.as_deref().into(),
            call.prompt.as_deref().into(),
            (&*call.method == "tools/call").then_some("execute_tool").into(),
            call.protocol_version.as_deref().into(),
            call.network_transport.into(),
            call.network_protocol().into(),
        ];
        let server = call
            .server_address
            .as_deref()
            .and_then(|it| it.parse::<std::net::SocketAddr>().ok());
        let address = server.map(|server| server.ip().to_string());
        let id = match operation.role {
            Role::Requester => {
                given.push(address.as_deref().into());
                given.push(server.map(|server| server.port()).into());
                Id::ClientOperation
            }
            Role::Responder => Id::ServerOperation,
        };
        let seconds = seconds(operation.end - operation.start);
        let exemplar = Exemplar {
            trace_id: call.trace_id,
            span_id: Some(operation.span_id),
            value: seconds,
            at_unix_ns: now,
        };
        self.measure(id, service, &given, seconds, Some(exemplar), now);
    }

    /// What operators of MCP systems look at: once for each call, whichever ends were seen.
    fn request(&mut self, call: &CallRecord, now: u64) {
        let server = label(call.server.as_ref(), semconv::UNKNOWN_SERVICE);
        let given = [(&*call.method).into(), call.outcome.code().into(), server.into()];
        if let (Some(micros), false) = (call.latency_us, call.outcome == Outcome::Pending) {
            let seconds = micros / 1e6;
            let exemplar = Exemplar {
                trace_id: call.trace_id,
                span_id: call.server_span_id.or(call.client_span_id),
                value: seconds,
                at_unix_ns: now,
            };
            self.measure(Id::RequestDuration, server, &given, seconds, Some(exemplar), now);
        }
        self.count(Id::Requests, server, &given, now);
    }

    fn parts(&mut self, call: &CallRecord, now: u64) {
        let service = label(call.responder(), semconv::UNKNOWN_SERVICE);
        let parts = &call.parts_us;
        for (name, part) in [
            ("request_queue", parts.request_queue),
            ("server", parts.server),
            ("response_queue", parts.response_queue),
            ("transfer", parts.transfer),
        ] {
            if let Some(micros) = part {
                self.measure(
                    Id::CallPart,
                    service,
                    &[service.into(), name.into()],
                    micros / 1e6,
                    None,
                    now,
                );
            }
        }
    }

    /// Who was asked: by whom, what its time went into, and whom it waited for.
    fn responder(&mut self, call: &CallRecord, now: u64) {
        let service = label(call.responder(), semconv::UNKNOWN_SERVICE);
        let requester = label(call.requester(), semconv::UNKNOWN_SERVICE);
        self.count(Id::CallsByRequester, service, &[service.into(), requester.into()], now);
        for (cause, micros) in call.causes_us.named() {
            // Nought is left out: most causes never come up.
            if let Some(micros) = micros.filter(|micros| *micros > 0.0) {
                self.spend(
                    Id::CauseTime,
                    service,
                    &[service.into(), cause.into()],
                    micros / 1e6,
                    now,
                );
            }
        }
        for upstream in &call.upstreams {
            let given = [service.into(), (&*upstream.peer).into(), upstream.kind.code().into()];
            self.count(Id::UpstreamCalls, service, &given, now);
            self.spend(Id::UpstreamTime, service, &given, upstream.us.max(0.0) / 1e6, now);
        }
    }

    fn repeat(&mut self, call: &CallRecord, hash: u64, now: u64) {
        let took = call.parts_us.server.or(call.latency_us);
        let (Outcome::Ok, Some(micros), true) = (call.outcome, took, CACHEABLE.contains(&&*call.method)) else {
            return;
        };
        let mut request = DefaultHasher::new();
        label(call.server.as_ref(), "").hash(&mut request);
        (&call.method, hash).hash(&mut request);
        if let Some(hit) = self.repeats.note(request.finish(), micros / 1e6, now) {
            let given = [
                (&*call.method).into(),
                "server".into(),
                if hit { "hit" } else { "miss" }.into(),
            ];
            self.count(Id::CacheOperations, "", &given, now);
        }
    }

    fn count(&mut self, id: Id, service: &str, given: &[Given<'_>], now: u64) {
        let attributes = self
            .admission
            .attributes(id.instrument().attributes, service, given, now);
        self.series[id as usize].add(attributes, &Data::Count(1), now);
    }

    fn spend(&mut self, id: Id, service: &str, given: &[Given<'_>], seconds: f64, now: u64) {
        let attributes = self
            .admission
            .attributes(id.instrument().attributes, service, given, now);
        self.series[id as usize].add(attributes, &Data::Number(seconds), now);
    }

    fn measure(
        &mut self,
        id: Id,
        service: &str,
        given: &[Given<'_>],
        value: f64,
        exemplar: Option<Exemplar>,
        now: u64,
    ) {
        let attributes = self
            .admission
            .attributes(id.instrument().attributes, service, given, now);
        self.series[id as usize].record(attributes, value, exemplar, now);
    }
}

fn label<'a>(party: Option<&'a Party>, unknown: &'a str) -> &'a str {
    party.and_then(Party::label).unwrap_or(unknown)
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
