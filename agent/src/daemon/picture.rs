//! What the daemon knows at the moment: who speaks MCP, what is called, what is under way, which
//! flags are up. Bounded; time comes by parameter.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mcp_proto::Nanos;
use serde::Serialize;
use serde_json::Value;

use super::window::{Figures, Window};
use crate::calls::{CallRecord, OpenCall, Party, Survey};
use crate::flags::{ActiveFlag, Change, FlagEvent, Subject};
use crate::history::{ServerUse, is_error, is_timeout};
use crate::host::{HostSample, Pod, ProcessSample};

/// Endpoints that are known at most.
const ENDPOINTS: usize = 8192;
/// Operations whose last minute is kept.
const OPERATIONS: usize = 2000;
/// Revisions of the protocol and transports that are told of one endpoint.
const KINDS: usize = 8;
/// Bytes of a name from the wire.
const NAME: usize = 128;

/// Server, method and tool, prompt or resource-less target (empty where there is none).
type OperationKey = (String, String, String);

/// The picture.
#[derive(Debug, Default)]
pub(super) struct Picture {
    began: Nanos,
    endpoints: BTreeMap<(u32, &'static str), Endpoint>,
    operations: HashMap<OperationKey, Operation>,
    flags: Vec<(ActiveFlag, Value)>,
    in_flight: Vec<OpenCall>,
    open: usize,
    cpu: Option<f64>,
    memory: Option<f64>,
    /// Endpoints and operations that found no room.
    refused: u64,
}

/// A process that speaks MCP.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Endpoint {
    pid: u32,
    role: &'static str,
    name: Option<String>,
    version: Option<String>,
    comm: Option<String>,
    exe: Option<String>,
    cmdline: Vec<String>,
    container: Option<String>,
    /// The pod that the container belongs to, where that was asked for.
    pod: Option<Arc<Pod>>,
    transports: BTreeSet<&'static str>,
    protocol_versions: BTreeSet<String>,
    /// Conversations that are open.
    sessions: u64,
    /// Calls that it has to answer.
    in_flight: u32,
    /// Calls since it came into view, as this role.
    calls: u64,
    /// Those that failed or were given up.
    failed: u64,
    last_call_unix_ms: Option<u64>,
    #[serde(flatten)]
    usage: Usage,
    /// Codes of the flags that are up about it.
    flags: Vec<&'static str>,
    /// The last minute.
    recent: Figures,
    #[serde(skip)]
    window: Window,
    #[serde(skip)]
    start_time: Option<u64>,
}

/// What the process uses.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Usage {
    /// Cores used on average since the look before.
    cpu: Option<f64>,
    rss_bytes: Option<u64>,
    threads: Option<u32>,
    fds: Option<u64>,
}

/// A method or a tool of a server.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Operation {
    server: String,
    method: String,
    tool: Option<String>,
    in_flight: u64,
    #[serde(flatten)]
    recent: Figures,
    #[serde(skip)]
    window: Window,
}

/// One frame of the live view.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Frame {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) operations: Vec<Operation>,
    pub(super) in_flight: Vec<OpenCall>,
    pub(super) open_calls: usize,
    pub(super) flags: Vec<Value>,
    /// Share of all CPUs of the host.
    pub(super) host_cpu: Option<f64>,
    /// Share of the host's memory.
    pub(super) host_memory: Option<f64>,
    pub(super) refused: u64,
}

impl Endpoint {
    /// What to call it.
    fn label(&self) -> Option<&str> {
        self.name.as_deref().or(self.comm.as_deref())
    }
}

impl Picture {
    pub(super) fn new(began: Nanos) -> Self {
        Self {
            began,
            ..Self::default()
        }
    }

    /// A call has ended.
    pub(super) fn call(&mut self, call: &CallRecord, now: Nanos) {
        let failed = is_error(call) || is_timeout(call);
        let ended = call.clock.unix(call.ended) / 1_000_000;
        for (role, party) in [("client", &call.client), ("server", &call.server)] {
            let Some(endpoint) = self.endpoint(role, party.as_ref(), call.transport, call.protocol_version.as_deref())
            else {
                continue;
            };
            endpoint.calls += 1;
            endpoint.failed += u64::from(failed);
            endpoint.last_call_unix_ms = Some(ended);
            endpoint.window.add(call, now);
        }
        let server = call.server.as_ref().and_then(Party::label).unwrap_or("?");
        let key = key(server, &call.method, call.tool.as_deref());
        if let Some(operation) = self.operation(key, now) {
            operation.window.add(call, now);
        }
    }

    /// What is under way now.
    pub(super) fn survey(&mut self, survey: Survey) {
        for endpoint in self.endpoints.values_mut() {
            endpoint.sessions = 0;
            endpoint.in_flight = 0;
        }
        for it in &survey.conversations {
            for (role, party) in [("client", &it.client), ("server", &it.server)] {
                let version = it.protocol_version.as_deref();
                if let Some(endpoint) = self.endpoint(role, party.as_ref(), it.transport, version) {
                    endpoint.sessions += 1;
                }
            }
        }
        for (&pid, load) in &survey.loads {
            // A client has to answer what servers ask.
            for role in ["server", "client"] {
                if let Some(endpoint) = self.endpoints.get_mut(&(pid, role)) {
                    endpoint.in_flight = load.pending;
                    break;
                }
            }
        }
        for operation in self.operations.values_mut() {
            operation.in_flight = 0;
        }
        for call in &survey.calls {
            let server = call.server.as_ref().and_then(Party::label).unwrap_or("?");
            if let Some(operation) = self.operation(key(server, &call.method, call.tool.as_deref()), survey.at) {
                operation.in_flight += 1;
            }
        }
        self.in_flight = survey.calls;
        self.open = survey.open;
    }

    /// Which pods containers belong to, as far as that is known now.
    pub(super) fn pods(&mut self, of_container: impl Fn(&str) -> Option<Arc<Pod>>) {
        for endpoint in self.endpoints.values_mut().filter(|endpoint| endpoint.pod.is_none()) {
            endpoint.pod = endpoint.container.as_deref().and_then(&of_container);
        }
    }

    /// A process was looked at.
    pub(super) fn process(&mut self, sample: &ProcessSample) {
        for role in ["client", "server"] {
            if let Some(endpoint) = self.endpoints.get_mut(&(sample.pid, role)) {
                endpoint.usage = Usage {
                    cpu: sample.cpu,
                    rss_bytes: Some(sample.rss),
                    threads: Some(sample.threads),
                    fds: sample.fds,
                };
            }
        }
    }

    /// The host was looked at.
    pub(super) fn host(&mut self, sample: &HostSample) {
        self.cpu = sample.cpu;
        self.memory = sample.memory();
    }

    /// A process is gone.
    pub(super) fn gone(&mut self, pid: u32) {
        for role in ["client", "server"] {
            self.endpoints.remove(&(pid, role));
        }
    }

    /// A flag has changed.
    pub(super) fn flag(&mut self, event: &FlagEvent) {
        let same = |flag: &ActiveFlag| flag.flag == event.flag.flag && flag.subject == event.flag.subject;
        self.flags.retain(|(flag, _)| !same(flag));
        if !matches!(event.change, Change::Cleared(_)) {
            let line = serde_json::to_value(event).unwrap_or_default();
            self.flags.push((event.flag.clone(), line));
        }
    }

    /// What the processes of each server use, by what it is called.
    pub(super) fn uses(&self) -> Vec<ServerUse> {
        let mut all: BTreeMap<&str, ServerUse> = BTreeMap::new();
        for endpoint in self.endpoints.values().filter(|endpoint| endpoint.role == "server") {
            let Some((name, memory)) = endpoint.label().zip(endpoint.usage.rss_bytes) else {
                continue;
            };
            let server = all.entry(name).or_insert_with(|| ServerUse {
                server: name.to_owned(),
                processes: 0,
                cores: 0.0,
                memory: 0,
            });
            server.processes += 1;
            server.cores += endpoint.usage.cpu.unwrap_or(0.0);
            server.memory += memory;
        }
        all.into_values().collect()
    }

    /// What to call a process.
    pub(super) fn name(&self, pid: u32) -> Option<String> {
        let endpoint = |role| self.endpoints.get(&(pid, role));
        let endpoint = endpoint("server").or_else(|| endpoint("client"))?;
        endpoint.label().map(str::to_owned)
    }

    pub(super) fn in_flight(&self) -> &[OpenCall] {
        &self.in_flight
    }

    /// The flags that are up, as their last event told.
    pub(super) fn flags(&self) -> Vec<Value> {
        self.flags.iter().map(|(_, line)| line.clone()).collect()
    }

    /// All endpoints, servers first, those with most calls first.
    pub(super) fn endpoints(&self, now: Nanos) -> Vec<Endpoint> {
        let mut endpoints: Vec<_> = self.endpoints.values().cloned().collect();
        for endpoint in &mut endpoints {
            endpoint.recent = endpoint.window.figures(self.began, now);
            let about = |flag: &&ActiveFlag| flag.subject == (Subject::Process { pid: endpoint.pid });
            let flags = self.flags.iter().map(|(flag, _)| flag);
            endpoint.flags = flags.filter(about).map(|flag| flag.flag.code()).collect();
        }
        endpoints.sort_by_key(|endpoint| {
            (
                endpoint.role == "client",
                std::cmp::Reverse(endpoint.calls),
                endpoint.pid,
            )
        });
        endpoints
    }

    /// Everything.
    pub(super) fn frame(&self, now: Nanos) -> Frame {
        let used = |operation: &&Operation| operation.in_flight > 0 || !operation.window.is_quiet(now);
        let operations = self.operations.values().filter(used).cloned();
        let mut operations: Vec<_> = operations
            .map(|operation| Operation {
                recent: operation.window.figures(self.began, now),
                ..operation
            })
            .collect();
        operations.sort_by(|a, b| (&a.server, &a.method, &a.tool).cmp(&(&b.server, &b.method, &b.tool)));
        Frame {
            endpoints: self.endpoints(now),
            operations,
            in_flight: self.in_flight.clone(),
            open_calls: self.open,
            flags: self.flags(),
            host_cpu: self.cpu,
            host_memory: self.memory,
            refused: self.refused,
        }
    }

    fn endpoint(
        &mut self,
        role: &'static str,
        party: Option<&Party>,
        transport: &'static str,
        version: Option<&str>,
    ) -> Option<&mut Endpoint> {
        let party = party?;
        let facts = party.facts.as_ref()?;
        let key = (facts.pid, role);
        let is_other = |known: &Endpoint| known.start_time.is_some() && known.start_time != facts.start_time;
        if self.endpoints.get(&key).is_some_and(is_other) {
            self.endpoints.remove(&key);
        }
        if self.endpoints.len() >= ENDPOINTS && !self.endpoints.contains_key(&key) {
            self.refused += 1;
            return None;
        }
        let endpoint = self.endpoints.entry(key).or_insert_with(|| Endpoint {
            pid: facts.pid,
            role,
            name: None,
            version: None,
            comm: facts.comm.clone(),
            exe: facts.exe.clone(),
            cmdline: facts.cmdline.clone(),
            container: facts.container.clone(),
            pod: None,
            transports: BTreeSet::new(),
            protocol_versions: BTreeSet::new(),
            sessions: 0,
            in_flight: 0,
            calls: 0,
            failed: 0,
            last_call_unix_ms: None,
            usage: Usage::default(),
            flags: Vec::new(),
            recent: Figures::default(),
            window: Window::default(),
            start_time: facts.start_time,
        });
        if let Some(name) = &party.name
            && endpoint.name.as_deref() != Some(bounded(name))
        {
            endpoint.name = Some(bounded(name).to_owned());
        }
        if let Some(version) = &party.version
            && endpoint.version.as_deref() != Some(bounded(version))
        {
            endpoint.version = Some(bounded(version).to_owned());
        }
        endpoint.transports.insert(transport);
        if let Some(version) = version
            && endpoint.protocol_versions.len() < KINDS
            && !endpoint.protocol_versions.contains(version)
        {
            endpoint.protocol_versions.insert(bounded(version).to_owned());
        }
        Some(endpoint)
    }

    fn operation(&mut self, key: OperationKey, now: Nanos) -> Option<&mut Operation> {
        if self.operations.len() >= OPERATIONS && !self.operations.contains_key(&key) {
            self.operations
                .retain(|_, operation| operation.in_flight > 0 || !operation.window.is_quiet(now));
            if self.operations.len() >= OPERATIONS {
                self.refused += 1;
                return None;
            }
        }
        let (server, method, tool) = &key;
        let new = Operation {
            server: server.clone(),
            method: method.clone(),
            tool: (!tool.is_empty()).then(|| tool.clone()),
            in_flight: 0,
            recent: Figures::default(),
            window: Window::default(),
        };
        Some(self.operations.entry(key).or_insert(new))
    }
}

fn key(server: &str, method: &str, tool: Option<&str>) -> OperationKey {
    let own = |name| bounded(name).to_owned();
    (own(server), own(method), own(tool.unwrap_or_default()))
}

fn bounded(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::record::tests::{call, record};

    const SECOND: Nanos = 1_000_000_000;

    fn named(tool: &str) -> CallRecord {
        let mut call = call();
        call.tool = Some(tool.into());
        record(call)
    }

    #[test]
    fn calls_make_endpoints_and_operations() {
        let mut picture = Picture::new(0);
        let call = named("a");
        let server = call
            .server
            .as_ref()
            .and_then(|it| it.facts.as_ref())
            .map(|it| it.pid)
            .unwrap();
        picture.call(&call, SECOND);
        picture.call(&named("b"), SECOND);
        let frame = picture.frame(2 * SECOND);
        assert_eq!(frame.operations.len(), 2);
        let first = &frame.endpoints[0];
        assert_eq!(
            (first.role, first.pid, first.calls, first.recent.calls),
            ("server", server, 2, 2)
        );
        assert!(picture.name(server).is_some());
        picture.gone(server);
        assert!(
            picture
                .frame(2 * SECOND)
                .endpoints
                .iter()
                .all(|endpoint| endpoint.pid != server)
        );
        assert!(picture.frame(200 * SECOND).operations.is_empty(), "a minute is over");
    }

    #[test]
    fn names_from_the_wire_cannot_fill_it() {
        let mut picture = Picture::new(0);
        for n in 0..OPERATIONS + 100 {
            picture.call(&named(&format!("{n}")), SECOND);
        }
        assert_eq!((picture.operations.len(), picture.refused), (OPERATIONS, 100));
        // Those of an hour ago make room.
        picture.call(&named("later"), 3600 * SECOND);
        assert_eq!(picture.operations.len(), 1);
        assert_eq!(
            picture.frame(3600 * SECOND).operations[0].tool.as_deref(),
            Some("later")
        );
    }
}
