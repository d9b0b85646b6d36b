//! What comes out: flags raised, updated and cleared, with evidence.

use std::sync::Arc;

use mcp_proto::Nanos;
use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{Flag, Severity, definition};
use crate::host::ClockOffset;

/// What a flag is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// The host.
    Host,
    /// A block device.
    Device {
        /// Its name.
        device: Arc<str>,
    },
    /// A control group.
    Cgroup {
        /// Its path.
        path: Arc<str>,
    },
    /// One process.
    Process {
        /// Its id.
        pid: u32,
    },
    /// All processes of one client that are alike.
    Group {
        /// The client.
        client_pid: u32,
        /// What tells their program and arguments from others.
        program: u64,
    },
    /// All instances of a server.
    Server {
        /// Its name.
        server: Arc<str>,
    },
    /// A tool of a server.
    Tool {
        /// The server's name.
        server: Arc<str>,
        /// The tool's name.
        tool: Arc<str>,
    },
}

/// One figure or name of the evidence.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// How many, or a size.
    Count(u64),
    /// A share, a time, a rate.
    Number(f64),
    /// A name.
    Text(Arc<str>),
    /// Process ids.
    Pids(Vec<u32>),
}

/// Figures and names by the keys that the flag's definition lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence(pub Vec<(&'static str, Value)>);

impl Evidence {
    /// Adds one; what is not known is left out.
    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Option<Value>>) -> Self {
        if let Some(value) = value.into() {
            self.0.push((name, value));
        }
        self
    }
}

impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A flag that is raised.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveFlag {
    /// Which.
    pub flag: Flag,
    /// What it is about.
    pub subject: Subject,
    /// What to call that: the server's own word for its name, else its command's.
    pub name: Option<Arc<str>>,
    /// How bad it is.
    pub severity: Severity,
    /// Since when, CLOCK_MONOTONIC.
    pub since: Nanos,
    /// What was last measured.
    pub value: f64,
    /// The threshold that it has passed.
    pub threshold: f64,
    /// What shows it.
    pub evidence: Evidence,
}

impl ActiveFlag {
    /// What it is about, in words: `files[4242]`, `files search`, `host`. From the wire: not to be
    /// shown on a terminal as it is.
    #[must_use]
    pub fn target(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        match &self.subject {
            Subject::Host => "host".to_owned(),
            Subject::Device { device } => device.to_string(),
            Subject::Cgroup { path } => path.to_string(),
            Subject::Process { pid } => format!("{name}[{pid}]"),
            Subject::Group { client_pid, .. } => format!("{name} of client {client_pid}"),
            Subject::Server { server } => server.to_string(),
            Subject::Tool { server, tool } => format!("{server} {tool}"),
        }
    }
}

/// What has happened to a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was raised.
    Raised,
    /// It is worse, better or otherwise different.
    Updated,
    /// It was cleared.
    Cleared(ClearReason),
}

/// Why a flag was cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClearReason {
    /// The values are well again.
    Recovered,
    /// The process has ended.
    Ended,
    /// Nothing has been heard of it for a while.
    Quiet,
}

/// One change of one flag. As JSON it is an object with the keys of [`ActiveFlag`] and what the
/// definition says.
#[derive(Clone, Debug, PartialEq)]
pub struct FlagEvent {
    /// What has happened.
    pub change: Change,
    /// When, CLOCK_MONOTONIC.
    pub at: Nanos,
    /// The flag as it is, or was.
    pub flag: ActiveFlag,
    /// From CLOCK_MONOTONIC to the time of day.
    pub clock: ClockOffset,
}

impl FlagEvent {
    /// `raised`, `updated` or `cleared`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.change {
            Change::Raised => "raised",
            Change::Updated => "updated",
            Change::Cleared(_) => "cleared",
        }
    }
}

impl Serialize for FlagEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cleared = match self.change {
            Change::Cleared(reason) => Some(reason),
            Change::Raised | Change::Updated => None,
        };
        let mut out = serializer.serialize_struct("FlagEvent", 16)?;
        out.serialize_field("event", self.code())?;
        serialize_flag(&self.flag, self.clock, &mut out)?;
        out.serialize_field("at_unix_ns", &self.clock.unix(self.at))?;
        out.serialize_field("at_mono_ns", &self.at)?;
        out.serialize_field("cleared_because", &cleared)?;
        out.end()
    }
}

fn serialize_flag<S: SerializeStruct>(flag: &ActiveFlag, clock: ClockOffset, out: &mut S) -> Result<(), S::Error> {
    let definition = definition(flag.flag);
    out.serialize_field("flag", definition.code)?;
    out.serialize_field("family", &definition.family)?;
    out.serialize_field("severity", &flag.severity)?;
    out.serialize_field("title", definition.title)?;
    out.serialize_field("subject", &flag.subject)?;
    out.serialize_field("name", &flag.name)?;
    out.serialize_field("target", &flag.target())?;
    out.serialize_field("since_unix_ns", &clock.unix(flag.since))?;
    out.serialize_field("since_mono_ns", &flag.since)?;
    out.serialize_field("value", &flag.value)?;
    out.serialize_field("threshold", &flag.threshold)?;
    out.serialize_field("evidence", &flag.evidence)?;
    out.serialize_field("advice", definition.advice)
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<u32> for Value {
    fn from(count: u32) -> Self {
        Self::Count(count.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}
