//! What the engine is told besides samples.

use std::hash::{DefaultHasher, Hash, Hasher};

use mcp_proto::{Direction, Nanos, Outcome};

use crate::calls::{CallRecord, FaultRecord, Party};
use crate::host::ProcessFacts;

/// A process and what is known of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessRef<'a> {
    /// Its id.
    pub pid: u32,
    /// When it began, in clock ticks since boot.
    pub start_time: Option<u64>,
    /// What to call it: its own name, else its command's.
    pub name: Option<&'a str>,
    /// What tells its program and arguments from others; 0 when they are not known.
    pub program: u64,
}

/// A call that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CallInput<'a> {
    /// What was asked.
    pub kind: CallKind<'a>,
    /// The MCP server's process, when it was seen.
    pub server: Option<ProcessRef<'a>>,
    /// The MCP client's process, when it was seen.
    pub client: Option<ProcessRef<'a>>,
    /// The server's name, also without a process.
    pub server_name: Option<&'a str>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the server refused the session of it, which had worked before.
    pub session_refused: bool,
    /// What the requester waited, or the responder took.
    pub latency_ms: Option<f64>,
    /// How long the request lay unread.
    pub queue_ms: Option<f64>,
    /// When it began, CLOCK_MONOTONIC.
    pub started: Option<Nanos>,
    /// When it ended, CLOCK_MONOTONIC.
    pub ended: Nanos,
    /// What most of its time was spent on.
    pub cause: Option<&'a str>,
}

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind<'a> {
    /// A tool.
    Tool(&'a str),
    /// A resource.
    Resource,
    /// Whether a token is valid: a server's request to an authorization server.
    TokenCheck,
    /// Anything else.
    Other(&'a str),
}

/// A deviation from the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultInput<'a> {
    /// Stable name of its kind.
    pub code: &'a str,
    /// Who wrote it.
    pub writer: Option<ProcessRef<'a>>,
    /// Bytes that it concerns.
    pub bytes: u64,
    /// When, CLOCK_MONOTONIC.
    pub at: Nanos,
}

/// The calls that a server has not answered. Requests that stay open by their nature
/// (subscriptions, long polls) do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// How many.
    pub pending: u32,
    /// How many of them the server has not even read.
    pub waiting: u32,
    /// When the oldest began, CLOCK_MONOTONIC.
    pub oldest: Option<Nanos>,
    /// When a byte last went to or from the server, CLOCK_MONOTONIC.
    pub last_byte: Option<Nanos>,
}

/// How the agent itself is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentInput<'a> {
    /// Why the history is not written, when it is not.
    pub history_paused: Option<&'a str>,
    /// Entries that it has lost so.
    pub history_lost: u64,
    /// Records that found no room between kernel and agent, since the last time.
    pub records_lost: u64,
    /// As of when, CLOCK_MONOTONIC.
    pub at: Nanos,
}

/// Something that happened to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// It ended.
    Exited,
    /// The kernel chose it to be killed for want of memory.
    OomKilled,
}

impl<'a> ProcessRef<'a> {
    /// The process of facts, under another name if there is one.
    #[must_use]
    pub fn new(facts: &'a ProcessFacts, name: Option<&'a str>) -> Self {
        let mut program = DefaultHasher::new();
        (&facts.exe, &facts.cmdline).hash(&mut program);
        let known = facts.exe.is_some() || !facts.cmdline.is_empty();
        Self {
            pid: facts.pid,
            start_time: facts.start_time,
            name: name.or(facts.comm.as_deref()),
            program: if known { program.finish().max(1) } else { 0 },
        }
    }

    fn of(party: Option<&'a Party>) -> Option<Self> {
        let party = party?;
        Some(Self::new(party.facts.as_deref()?, party.name.as_deref()))
    }
}

impl<'a> From<&'a CallRecord> for CallInput<'a> {
    fn from(call: &'a CallRecord) -> Self {
        let kind = match (call.direction, &*call.method) {
            (Direction::ServerToClient, method) => CallKind::Other(method),
            (_, "tools/call") => call
                .tool
                .as_deref()
                .map_or(CallKind::Other("tools/call"), CallKind::Tool),
            (_, "resources/read") => CallKind::Resource,
            (_, method) => CallKind::Other(method),
        };
        Self {
            kind,
            server: ProcessRef::of(call.server.as_ref()),
            client: ProcessRef::of(call.client.as_ref()),
            server_name: call.server.as_ref().and_then(Party::label),
            outcome: call.outcome,
            // 404 to a request of a session says that the session is not known (2025-03-26 and later).
            session_refused: call.outcome == Outcome::HttpError && &*call.method != "initialize",
            latency_ms: call.latency_us.map(|micros| micros / 1000.0),
            queue_ms: call.parts_us.request_queue.map(|micros| micros / 1000.0),
            started: call.start_mono_ns,
            ended: call.ended,
            cause: call.dominant_cause,
        }
    }
}

impl<'a> From<&'a FaultRecord> for FaultInput<'a> {
    fn from(fault: &'a FaultRecord) -> Self {
        Self {
            code: fault.fault,
            writer: fault.pid.map(|pid| ProcessRef {
                pid,
                name: fault.comm.as_deref(),
                ..ProcessRef::default()
            }),
            bytes: fault.bytes,
            at: fault.at_mono_ns,
        }
    }
}
