//! What is under way at an instant: calls that have not ended, connections and streams.

use std::collections::BTreeMap;
use std::sync::Arc;

use mcp_proto::{ConnectionId, Direction, Endpoint, Nanos, Stage, StreamCounts};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::pipeline::Pipeline;
use super::record::{Party, direction, raw_token, transport_code};
use super::trace_id::ShortId;
use crate::host::{ClockOffset, FactsSource, ProcessFacts};

/// Calls under way that are told one by one; of further ones only how many they are.
pub const LISTED: usize = 500;
/// Requests that stay open by their nature say nothing about how busy a server is: a subscription
/// (2026-07-28), and the wait for a task's result (2025-11-25).
const LONG: [&str; 2] = ["subscriptions/listen", "tasks/result"];

/// What is under way.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// As of when, CLOCK_MONOTONIC.
    pub at: Nanos,
    /// The oldest calls under way, the oldest first.
    pub calls: Vec<OpenCall>,
    /// How many there are in all.
    pub open: usize,
    /// What each process has to answer, by its id.
    pub loads: BTreeMap<u32, Load>,
    /// Conversations that are open, by their two ends and how messages travel.
    pub conversations: Vec<Conversation>,
    /// Streams by what was decided about them.
    pub streams: StreamCounts,
}

/// What a process has to answer. Requests that stay open by their nature do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How many calls.
    pub pending: u32,
    /// How many of them it has not even read.
    pub waiting: u32,
    /// When the oldest began, CLOCK_MONOTONIC.
    pub oldest: Option<Nanos>,
    /// When it last read or wrote a byte of MCP: progress is a sign of life.
    pub last_byte: Option<Nanos>,
}

/// A conversation that is open.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// Its id, as that of [`super::CallRecord::connection`].
    pub id: ConnectionId,
    /// The client.
    pub client: Option<Party>,
    /// The server.
    pub server: Option<Party>,
    /// How messages travel.
    pub transport: &'static str,
    /// Revision of the protocol.
    pub protocol_version: Option<Box<str>>,
}

/// A call that has not ended. The names of its fields are those of [`super::CallRecord`].
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "named as in the record of a call")]
pub struct OpenCall {
    pub call: ShortId,
    pub transport: &'static str,
    pub protocol_version: Option<Box<str>>,
    #[serde(serialize_with = "direction")]
    pub direction: Direction,
    pub method: Box<str>,
    pub tool: Option<Box<str>>,
    pub prompt: Option<Box<str>>,
    pub resource: Option<Box<str>>,
    pub request_id: Box<RawValue>,
    pub client: Option<Party>,
    pub server: Option<Party>,
    pub start_unix_ns: u64,
    pub start_mono_ns: Nanos,
    /// How long it has been under way, in microseconds.
    pub age_us: f64,
    /// How far it has come.
    #[serde(serialize_with = "stage")]
    pub stage: Stage,
    pub request_bytes: u64,
    pub notifications: u32,
}

impl<S: FactsSource> Pipeline<S> {
    /// What is under way now. Costs a look at every call in flight, conversation and stream.
    #[must_use]
    pub fn survey(&self, now: Nanos) -> Survey {
        let mut survey = Survey {
            at: now,
            streams: self.tracker.stream_counts(),
            ..Survey::default()
        };
        let mut open: Vec<_> = self.tracker.open_calls().collect();
        survey.open = open.len();
        for it in &open {
            let Some(pid) = self.facts_of(it.responder()).map(|facts| facts.pid) else {
                continue;
            };
            if it.stage == Stage::Answered || LONG.contains(&&*it.call.method.0) {
                continue;
            }
            let load = survey.loads.entry(pid).or_default();
            load.pending += 1;
            load.waiting += u32::from(it.stage == Stage::Unread);
            load.last_byte = self.moved.get(&pid).copied();
            load.oldest = Some(load.oldest.map_or(it.call.ended, |oldest| oldest.min(it.call.ended)));
        }
        open.sort_by_key(|it| it.call.ended);
        open.truncate(LISTED);
        let calls = open.into_iter().filter_map(|it| self.open_call(&it, now));
        survey.calls = calls.collect();
        let conversations = self.tracker.conversations();
        survey.conversations = conversations
            .map(|it| Conversation {
                id: it.id,
                client: self.party([it.client; 2]),
                server: self.party([it.server; 2]),
                transport: transport_code(it.transport),
                protocol_version: it.version.map(Into::into),
            })
            .collect();
        survey
    }

    fn open_call(&self, it: &mcp_proto::OpenCall<'_>, now: Nanos) -> Option<OpenCall> {
        let call = it.call;
        // There is no call without a record.
        let run = self.run.as_ref()?;
        let clock: ClockOffset = self.origin.clock;
        let start = call.request.first_written.unwrap_or(call.ended);
        Some(OpenCall {
            call: run.call(call.connection, call.direction, call.sequence),
            transport: transport_code(call.transport),
            protocol_version: call.protocol_version.clone().or_else(|| it.version.map(Into::into)),
            direction: call.direction,
            method: call.method.0.clone(),
            tool: call.tool.clone(),
            prompt: call.prompt.clone(),
            resource: call.resource.clone(),
            request_id: raw_token(&call.request_id.0),
            client: self.party(it.client),
            server: self.party(it.server),
            start_unix_ns: clock.unix(start),
            start_mono_ns: start,
            age_us: super::parts::micros(now.saturating_sub(start)),
            stage: it.stage,
            request_bytes: call.request.bytes,
            notifications: call.notifications,
        })
    }

    fn facts_of(&self, known: [&Endpoint; 2]) -> Option<&Arc<ProcessFacts>> {
        known
            .into_iter()
            .find_map(|endpoint| self.processes.facts(endpoint.process?))
    }

    fn party(&self, known: [&Endpoint; 2]) -> Option<Party> {
        let named = known
            .into_iter()
            .find(|endpoint| endpoint.name.is_some())
            .unwrap_or(known[1]);
        Party::new(named.clone(), self.facts_of(known))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn stage<S: Serializer>(stage: &Stage, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(stage.code())
}
