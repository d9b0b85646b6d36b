//! What is known between inputs, and which rule takes which input.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mcp_proto::Nanos;
use serde::Serialize;

use super::board::Board;
use super::limits::{HOUSEKEEPING, MAX_NAME, MAX_PROCESSES};
use super::rules::{CgroupState, HostState, ServerState, Usage};
use super::{
    ActiveFlag, AgentInput, CallInput, FaultInput, Flag, FlagEvent, InFlight, Levels, ProcessEvent, ProcessRef, Subject,
};
use crate::host::{CgroupSample, ClockOffset, Ends, HostSample, ProcessSample, Samples};

/// Takes what is measured and gives what it means. Time enters by parameter and never goes back.
#[derive(Debug)]
pub struct Engine {
    pub(super) levels: Levels,
    pub(super) board: Board,
    pub(super) processes: BTreeMap<u32, Known>,
    /// Servers by their client.
    pub(super) clients: BTreeMap<u32, BTreeSet<u32>>,
    pub(super) servers: BTreeMap<Arc<str>, ServerState>,
    pub(super) cgroups: BTreeMap<Arc<str>, CgroupState>,
    pub(super) host: HostState,
    housekeeping: Nanos,
    refused: u64,
}

/// What is known of a process.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) name: Arc<str>,
    pub(super) start_time: Option<u64>,
    pub(super) program: u64,
    pub(super) is_server: bool,
    /// Its client has it for itself, over its standard streams.
    pub(super) is_private: bool,
    pub(super) client: Option<u32>,
    pub(super) client_is_dead: bool,
    pub(super) first_parent: Option<u32>,
    pub(super) parent: u32,
    pub(super) flight: InFlight,
    pub(super) last_byte: Nanos,
    /// When the youngest call began that was answered.
    pub(super) answered: Nanos,
    /// Calls in a row that lay unread for most of their time.
    pub(super) queued: u32,
    pub(super) usage: Usage,
}

/// How full the engine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EngineStats {
    /// Processes that are known.
    pub processes: usize,
    /// Conditions that are watched.
    pub watches: usize,
    /// Processes and conditions that found no room.
    pub refused: u64,
    /// Events that nobody took in time.
    pub dropped: u64,
}

impl Engine {
    /// An engine that knows nothing yet.
    #[must_use]
    pub fn new(levels: Levels, clock: ClockOffset) -> Self {
        Self {
            levels,
            board: Board::new(clock),
            processes: BTreeMap::new(),
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            cgroups: BTreeMap::new(),
            host: HostState::default(),
            housekeeping: 0,
            refused: 0,
        }
    }

    /// Takes all that a sampler has found in one tick.
    pub fn samples(&mut self, samples: &Samples, now: Nanos) {
        if let Some(host) = &samples.host {
            self.host(host);
        }
        for cgroup in &samples.cgroups {
            self.cgroup(cgroup);
        }
        for process in &samples.processes {
            self.process(process);
        }
        for &pid in &samples.gone {
            self.event(pid, ProcessEvent::Exited, now);
        }
    }

    /// Takes a sample of the host.
    pub fn host(&mut self, sample: &HostSample) {
        self.weigh_host(sample);
    }

    /// Takes a sample of a control group.
    pub fn cgroup(&mut self, sample: &CgroupSample) {
        self.weigh_cgroup(sample);
    }

    /// Takes a sample of a process.
    pub fn process(&mut self, sample: &ProcessSample) {
        let process = ProcessRef {
            pid: sample.pid,
            start_time: Some(sample.start_time),
            name: Some(&sample.comm),
            program: 0,
        };
        if self.know(process, sample.at) {
            self.weigh_process(sample);
            self.weigh_life(sample.pid, sample.at);
        }
    }

    /// A process is an MCP server, and this is its client.
    pub fn server(&mut self, server: ProcessRef<'_>, client: Option<ProcessRef<'_>>, now: Nanos) {
        if !self.know(server, now) {
            return;
        }
        let client = client.map(|client| client.pid).filter(|&client| client != server.pid);
        if let Some(known) = self.processes.get_mut(&server.pid) {
            known.is_server = true;
            if let Some(client) = client
                && known.client != Some(client)
            {
                let before = known.client.replace(client);
                known.client_is_dead = false;
                self.clients.entry(client).or_default().insert(server.pid);
                if let Some(before) = before {
                    self.part(before, server.pid);
                }
            }
        }
    }

    /// Takes a call that has ended.
    pub fn call(&mut self, call: &CallInput<'_>) {
        if let Some(server) = call.server {
            self.server(server, call.client, call.ended);
        }
        self.weigh_call(call);
    }

    /// Takes how the agent itself is. To be told every few seconds.
    pub fn agent(&mut self, agent: &AgentInput<'_>) {
        self.weigh_agent(agent);
    }

    /// Other thresholds are in force. What is raised stays so until its next value.
    pub fn set_levels(&mut self, levels: Levels) {
        self.levels = levels;
    }

    /// This is the time of day.
    pub fn set_clock(&mut self, clock: ClockOffset) {
        self.board.clock = clock;
    }

    /// Takes a deviation from the protocol.
    pub fn fault(&mut self, fault: &FaultInput<'_>) {
        self.weigh_fault(fault);
    }

    /// Takes what a server has not answered yet. To be told every few seconds while there is any.
    pub fn in_flight(&mut self, pid: u32, flight: InFlight, now: Nanos) {
        if let Some(known) = self.processes.get_mut(&pid) {
            known.flight = flight;
            known.last_byte = known.last_byte.max(flight.last_byte.unwrap_or(0));
            self.weigh_queue(pid, None, now);
            self.weigh_life(pid, now);
        }
    }

    /// Takes who holds the other ends of a server's standard input and output.
    pub fn ends(&mut self, pid: u32, ends: &Ends, now: Nanos) {
        self.weigh_ends(pid, ends, now);
    }

    /// Something happened to a process.
    pub fn event(&mut self, pid: u32, event: ProcessEvent, now: Nanos) {
        match event {
            ProcessEvent::OomKilled => self.weigh_kill(pid, now),
            ProcessEvent::Exited => self.exited(pid, now),
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Nanos) {
        if now < self.housekeeping {
            return;
        }
        self.housekeeping = now + HOUSEKEEPING;
        let pids: Vec<u32> = self.processes.keys().copied().collect();
        for pid in pids {
            self.weigh_life(pid, now);
        }
        self.weigh_groups(now);
        self.weigh_budgets(now);
        self.weigh_scale(now);
        self.board.sweep(now);
    }

    /// When [`Engine::tick`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Nanos {
        self.housekeeping
    }

    /// The next change of a flag.
    pub fn poll_event(&mut self) -> Option<FlagEvent> {
        self.board.poll_event()
    }

    /// The flags that are raised, by flag and subject.
    pub fn active(&self) -> impl Iterator<Item = &ActiveFlag> {
        self.board.raised()
    }

    /// Whether a flag is raised.
    #[must_use]
    pub fn is_active(&self, flag: Flag, subject: &Subject) -> bool {
        self.board.is_raised(flag, subject)
    }

    /// How full it is.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            processes: self.processes.len(),
            watches: self.board.watching(),
            refused: self.refused + self.board.refused,
            dropped: self.board.dropped,
        }
    }

    /// Notes what is known of a process. Whether there is room for it.
    fn know(&mut self, process: ProcessRef<'_>, now: Nanos) -> bool {
        let other = |known: &Known| {
            let both = known.start_time.zip(process.start_time);
            both.is_some_and(|(before, now)| before != now)
        };
        if self.processes.get(&process.pid).is_some_and(other) {
            self.exited(process.pid, now);
        }
        if self.processes.len() >= MAX_PROCESSES && !self.processes.contains_key(&process.pid) {
            self.refused += 1;
            return false;
        }
        let known = self.processes.entry(process.pid).or_insert_with(|| Known {
            last_byte: now,
            ..Known::default()
        });
        known.start_time = known.start_time.or(process.start_time);
        // A sample knows the command only: what a call has told stays.
        let better = process.program != 0 || known.name.is_empty();
        if let Some(name) = process.name.filter(|name| better && **name != *known.name) {
            known.name = shortened(name);
        }
        if process.program != 0 {
            known.program = process.program;
        }
        true
    }

    fn exited(&mut self, pid: u32, now: Nanos) {
        if let Some(known) = self.processes.remove(&pid) {
            self.board.ended(pid, now);
            if let Some(client) = known.client {
                self.part(client, pid);
            }
        }
        for server in self.clients.remove(&pid).unwrap_or_default() {
            if let Some(known) = self.processes.get_mut(&server) {
                known.client_is_dead = true;
            }
        }
    }

    /// A client no longer has this server.
    fn part(&mut self, client: u32, server: u32) {
        if let Some(servers) = self.clients.get_mut(&client) {
            servers.remove(&server);
            if servers.is_empty() {
                self.clients.remove(&client);
            }
        }
    }
}

/// A name from the wire, cut to the length that is kept.
pub(super) fn shortened(name: &str) -> Arc<str> {
    let end = (0..=name.len().min(MAX_NAME))
        .rev()
        .find(|&end| name.is_char_boundary(end));
    name[..end.unwrap_or(0)].into()
}
