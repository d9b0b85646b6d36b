//! What comes into the history, and what a call is to it.

use std::sync::Arc;

use mcp_proto::Outcome;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::state::UnixMillis;
use crate::calls::{CallRecord, FaultRecord};

/// What TypeScript's SDK answers with when its time is up (`ErrorCode.RequestTimeout`).
const REQUEST_TIMEOUT: i64 = -32001;

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Entry {
    Call(Arc<CallRecord>),
    Fault(Box<FaultRecord>),
    Flag(Box<FlagRow>),
    Resources(Vec<ServerUse>),
    Settings(super::Limits),
}

/// What all processes of a server use at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerUse {
    /// What it is called.
    pub server: String,
    /// Its processes.
    pub processes: u64,
    /// Processors that they keep busy.
    pub cores: f64,
    /// Their physical memory, bytes.
    pub memory: u64,
}

/// A flag, of whatever kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlagRow {
    /// Its stable code.
    pub code: String,
    /// What it is about: a process, a server, the host.
    pub target: String,
    /// `warning` or `critical`.
    pub severity: String,
    /// Since when.
    pub since_unix_ms: UnixMillis,
    /// Until when; `None` while it lasts.
    pub cleared_unix_ms: Option<UnixMillis>,
    /// What it is judged from.
    pub evidence: Value,
}

/// Why a call is kept whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It failed.
    Failed,
    /// It took longer than the threshold.
    Slow,
    /// By chance, decided by the trace id.
    Sampled,
}

impl Reason {
    /// As it is stored.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Slow => "slow",
            Self::Sampled => "sampled",
        }
    }
}

/// Whether the responder failed the call.
#[must_use]
pub fn is_error(call: &CallRecord) -> bool {
    matches!(
        call.outcome,
        Outcome::ToolError | Outcome::RpcError | Outcome::HttpError | Outcome::ServerExit
    )
}

/// Whether the time for the call was up: the requester cancelled or abandoned it, or the answer says so.
#[must_use]
pub fn is_timeout(call: &CallRecord) -> bool {
    matches!(call.outcome, Outcome::Cancelled | Outcome::Abandoned)
        || call.error_code == Some(REQUEST_TIMEOUT)
        || matches!(call.http_status, Some(408 | 504))
}

/// When the call ended.
pub(super) fn ended(call: &CallRecord) -> UnixMillis {
    call.clock.unix(call.ended) / 1_000_000
}
