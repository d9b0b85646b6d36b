//! What a page is made from: lines of `trace --json` and of its events, as they are read back.

use serde::Deserialize;
use serde_json::Value;

/// A call, as `trace --json` writes it. Fields that are not shown are left out.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are those of `CallRecord`")]
pub struct CallDocument {
    pub call: String,
    pub trace_id: String,
    pub transport: String,
    pub direction: String,
    pub method: String,
    pub tool: Option<String>,
    pub prompt: Option<String>,
    pub resource: Option<String>,
    pub request_id: Value,
    pub client: Option<PartyDocument>,
    pub server: Option<PartyDocument>,
    pub start_unix_ns: Option<u64>,
    pub start_mono_ns: Option<u64>,
    pub latency_us: Option<f64>,
    pub parts_us: PartsDocument,
    pub outcome: String,
    pub error_code: Option<i64>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    #[serde(default)]
    pub causes_us: CausesDocument,
    pub dominant_cause: Option<String>,
    #[serde(default)]
    pub upstreams: Vec<UpstreamDocument>,
    #[serde(default)]
    pub syscalls: Vec<SyscallDocument>,
    #[serde(default)]
    pub shared_window: bool,
    pub resources: Option<ResourcesDocument>,
    #[serde(default)]
    pub loss: Vec<String>,
}

/// One side.
#[derive(Clone, Debug, Deserialize)]
pub struct PartyDocument {
    pub pid: Option<u32>,
    pub name: Option<String>,
    pub comm: Option<String>,
}

/// The parts of the latency, in microseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct PartsDocument {
    pub request_queue: Option<f64>,
    pub server: Option<f64>,
    pub response_queue: Option<f64>,
    pub transfer: Option<f64>,
}

/// One system call.
#[derive(Clone, Debug, Deserialize)]
pub struct SyscallDocument {
    pub name: String,
    pub count: u64,
    pub us: f64,
    #[serde(default)]
    pub durations: Vec<DurationsDocument>,
}

/// How often a system call took less than so long, and at least half of that.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct DurationsDocument {
    pub below_us: Option<f64>,
    pub count: u32,
}

/// The causes by name, in microseconds.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct CausesDocument(std::collections::BTreeMap<String, Option<f64>>);

impl CausesDocument {
    /// Those that were measured.
    pub(super) fn known(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().filter_map(|(name, us)| Some((&**name, (*us)?)))
    }
}

/// Someone the server waited for.
#[derive(Clone, Debug, Deserialize)]
pub struct UpstreamDocument {
    pub peer: String,
    pub kind: Option<String>,
    pub address: Option<String>,
    pub us: f64,
    pub bytes: u64,
    pub connect_us: Option<f64>,
    pub first_byte_us: Option<f64>,
    pub exit_status: Option<i32>,
}

/// What the server's process used within the window.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ResourcesDocument {
    pub cpu_us: f64,
    pub major_faults: u64,
    pub stream_bytes: u64,
}

/// An event of a flag, as `trace --events` writes it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are those of `FlagEvent`")]
pub struct FlagDocument {
    pub event: String,
    pub flag: String,
    pub severity: String,
    pub title: String,
    pub subject: Value,
    pub name: Option<String>,
    pub advice: String,
    pub since_mono_ns: u64,
    pub at_mono_ns: u64,
}

impl FlagDocument {
    /// Whether it may have to do with the call: it is about the host, about one of its processes or
    /// about its server or tool.
    #[must_use]
    pub fn concerns(&self, call: &CallDocument) -> bool {
        let parties = || [&call.client, &call.server].into_iter().flatten();
        let is = |field: &str, value: Option<&str>| value.is_some() && self.subject[field].as_str() == value;
        let server = call.server.as_ref();
        match self.subject["kind"].as_str() {
            Some("process") => parties().any(|party| party.pid.map(u64::from) == self.subject["pid"].as_u64()),
            Some("server" | "tool") => {
                let name = server.and_then(|server| server.name.as_deref().or(server.comm.as_deref()));
                is("server", name) && (self.subject["kind"] == "server" || is("tool", call.tool.as_deref()))
            }
            Some("group") => false,
            _ => true,
        }
    }

    /// Whether it is the same flag about the same subject.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.flag == other.flag && self.subject == other.subject
    }
}
