//! What the history says of a period: how fast, how often, how well, and what to do about it.

mod causes;
mod figures;
mod fleet;
mod gather;
mod html;
mod limits;
mod plot;
mod recommend;
mod text;

use serde::Serialize;

pub use figures::{Direction, Figures, Trend};
pub use fleet::{Database, FleetError, Header};
pub use html::html;
pub use text::text;

use crate::history::{FlagRow, HistoryError, Reader, SessionRow, UnixMillis};

/// Everything that a report says. Times are milliseconds since the Unix epoch, latencies
/// microseconds, rates shares of the calls from 0 to 1. What is not known is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Where.
    pub host: String,
    /// From when,
    pub from_unix_ms: UnixMillis,
    /// until when.
    pub to_unix_ms: UnixMillis,
    /// Seconds of it in which the agent ran.
    pub observed_seconds: f64,
    /// All calls.
    pub total: Figures,
    /// All calls of the period before, of the same length.
    pub before: Option<Figures>,
    /// Against the period before.
    pub trends: Trends,
    /// By server, those with most calls first.
    pub servers: Vec<ServerReport>,
    /// What the processes of servers used, those with most processor time first.
    pub resources: Vec<ResourceUse>,
    /// Operations by their 95th percentile, the slowest first.
    pub slowest_operations: Vec<OperationReport>,
    /// Single calls that were kept whole, the slowest first.
    pub slowest_calls: Vec<SlowCall>,
    /// Sessions.
    pub sessions: Sessions,
    /// Faults of the protocol.
    pub faults: Vec<FaultCount>,
    /// Flags that were up.
    pub flags: Vec<FlagRow>,
    /// What to do, the most urgent first.
    pub recommendations: Vec<Recommendation>,
    /// The period in slots of the same length.
    pub timeline: Vec<Slot>,
    /// Seconds of a slot.
    pub slot_seconds: u64,
    /// Minutes whose sketch is damaged: their calls count, their latencies do not.
    pub damaged_minutes: u64,
}

/// What has changed. `null` where there is too little to compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Trends {
    /// Calls a second.
    pub throughput: Option<Trend>,
    /// Median.
    pub p50: Option<Trend>,
    /// 95th percentile.
    pub p95: Option<Trend>,
    /// Share of failed calls.
    pub error_rate: Option<Trend>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerReport {
    /// Its name.
    pub server: String,
    /// All its calls.
    #[serde(flatten)]
    pub figures: Figures,
    /// Against the period before.
    pub trends: Trends,
    /// Its operations, those with most calls first.
    pub operations: Vec<OperationReport>,
}

/// One method or tool of a server, over all clients.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperationReport {
    /// The server.
    pub server: String,
    /// The method.
    pub method: String,
    /// The tool, for `tools/call`.
    pub tool: Option<String>,
    /// Its calls.
    #[serde(flatten)]
    pub figures: Figures,
    /// Against the period before.
    pub trends: Trends,
    /// What its slow and failed calls spent most of their time on, by how many; of those that were kept whole.
    pub dominant_causes: Vec<CauseCount>,
}

/// How many calls a cause dominates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CauseCount {
    /// The cause; `None` where none holds most of the time, or it is not known.
    pub cause: Option<String>,
    /// Calls.
    pub calls: u64,
}

/// A single call.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "named as in the record of a call")]
pub struct SlowCall {
    pub call: String,
    pub ended_unix_ms: UnixMillis,
    pub server: String,
    pub method: String,
    pub tool: Option<String>,
    pub latency_us: f64,
    pub outcome: String,
    pub dominant_cause: Option<String>,
}

/// What the processes of a server used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResourceUse {
    /// The server.
    pub server: String,
    /// Most processes in one moment.
    pub processes: u64,
    /// Processors kept busy on average while it ran: 1 is one in full.
    pub cpu_mean_cores: Option<f64>,
    /// The most.
    pub cpu_peak_cores: Option<f64>,
    /// Physical memory (resident sets) on average, bytes.
    pub memory_mean_bytes: Option<f64>,
    /// The most.
    pub memory_peak_bytes: Option<f64>,
}

impl ResourceUse {
    /// Nothing is known yet.
    fn of(server: String) -> Self {
        Self {
            server,
            processes: 0,
            cpu_mean_cores: None,
            cpu_peak_cores: None,
            memory_mean_bytes: None,
            memory_peak_bytes: None,
        }
    }
}

/// Sessions of the period.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sessions {
    /// How many.
    pub count: u64,
    /// Median of their length so far, seconds.
    pub median_seconds: Option<f64>,
    /// Median of their calls.
    pub median_calls: Option<u64>,
    /// The last ones.
    pub latest: Vec<SessionRow>,
}

/// Faults of one kind and process name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultCount {
    /// What.
    pub fault: String,
    /// Who.
    pub comm: String,
    /// How often.
    pub count: u64,
}

/// How urgent a recommendation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    /// Calls fail or are given up.
    High,
    /// Calls are slower than they need be.
    Medium,
    /// Good to know.
    Low,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recommendation {
    /// How urgent.
    pub urgency: Urgency,
    /// What it is about.
    pub subject: String,
    /// What to do.
    pub advice: String,
    /// What it is judged from.
    pub evidence: String,
}

/// A stretch of the period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Slot {
    /// When it begins.
    pub start_unix_ms: UnixMillis,
    /// Calls that ended in it.
    pub calls: u64,
    /// Those that failed or were given up.
    pub failed: u64,
    /// Median.
    pub p50_us: Option<f64>,
    /// 95th percentile.
    pub p95_us: Option<f64>,
    /// 99th percentile.
    pub p99_us: Option<f64>,
}

impl Report {
    /// The report on `host` of the period from `from` to `to`.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub fn of(reader: &Reader, host: &str, from: UnixMillis, to: UnixMillis) -> Result<Self, HistoryError> {
        gather::report(reader, host, from, to)
    }
}

#[cfg(test)]
mod tests;
