//! Ring records in; calls, faults and verdicts out. No system calls but those of the facts' source:
//! a recording goes through here as the live ring does.

mod bytes;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use agent_abi::{Record, VerdictCode, VerdictEntry};
use mcp_proto::{Call, Direction, Event, Limits, Loss, Nanos, ProcessId, Stats, StreamId, Tracker, Verdict};

use super::children::Children;
use super::endpoints::{EndpointJudgement, Endpoints};
use super::network::{Keys, network};
use super::places::Places;
use super::programs::{Program, Programs};
use super::record::{CallRecord, CallSource, FaultRecord};
use super::sessions::Sessions;
use super::sockets::{Sockets, is_plaintext};
use super::syscalls::Architecture;
use super::trace_id::Run;
use super::upstreams::Upstreams;
use super::windows::Windows;
use crate::host::{ClockOffset, FactsSource, ProcessFacts, Processes};
use crate::sink::Losses;

/// Processes of which it is kept when they last moved a byte.
const MAX_MOVED: usize = 8192;

/// Something to be told to the outside.
#[derive(Debug)]
pub enum Output {
    /// A call has ended.
    Call(Box<CallRecord>),
    /// A peer broke the protocol, or something was not understood.
    Fault(FaultRecord),
}

/// Which calls are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All.
    All,
    /// Those with one of these processes, or a descendant of one, at either end.
    Processes(HashSet<u32>),
}

/// What the pipeline has to know of the host that the records come from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// From CLOCK_MONOTONIC to the time of day.
    pub clock: ClockOffset,
    /// The kernel's boot id: inode numbers mean something within one boot.
    pub boot_id: String,
    /// Of its kernel.
    pub architecture: Architecture,
    /// Inode numbers of the pipes and sockets that were open before observation began.
    pub preexisting: HashSet<u64>,
}

/// From records to calls.
pub struct Pipeline<S> {
    pub(super) tracker: Tracker,
    pub(super) processes: Processes<S>,
    places: Places,
    sockets: Sockets,
    sessions: Sessions,
    endpoints: Endpoints,
    keys: Keys,
    /// Known with the first record of bytes.
    pub(super) run: Option<Run>,
    programs: Programs,
    windows: Windows,
    children: Children,
    upstreams: Upstreams,
    pub(super) origin: Origin,
    selection: Selection,
    /// When processes last moved a byte of a stream that may be MCP.
    pub(super) moved: HashMap<u32, Nanos>,
    /// Processes with sockets that carry TLS.
    sealed: Vec<u32>,
    /// Processes that the kernel kills for want of memory, and since when.
    oom_kills: Vec<(u32, Nanos)>,
    /// The latest instant of any record.
    latest: Nanos,
    outputs: VecDeque<Output>,
    undecodable: u64,
    /// Records of TLS sessions that could not be told together with those of the other end.
    unaligned: u64,
}

impl<S: FactsSource> Pipeline<S> {
    /// An empty pipeline.
    pub fn new(source: S, origin: Origin, selection: Selection) -> Self {
        Self {
            tracker: Tracker::new(Limits::default()),
            processes: Processes::new(source),
            places: Places::default(),
            sockets: Sockets::default(),
            sessions: Sessions::default(),
            endpoints: Endpoints::default(),
            keys: Keys::default(),
            run: None,
            programs: Programs::default(),
            windows: Windows::default(),
            children: Children::default(),
            upstreams: Upstreams::default(),
            origin,
            selection,
            moved: HashMap::new(),
            sealed: Vec::new(),
            oom_kills: Vec::new(),
            latest: 0,
            outputs: VecDeque::new(),
            undecodable: 0,
            unaligned: 0,
        }
    }

    /// Takes one record of the ring.
    pub fn record(&mut self, bytes: &[u8]) {
        match Record::decode(bytes) {
            Ok(record) => self.take(record),
            Err(_) => self.undecodable += 1,
        }
    }

    fn take(&mut self, record: Record<'_>) {
        match record {
            Record::Data(record, payload) => self.data(&record, payload),
            Record::Socket(record) => self.socket(&record),
            Record::Bind(record) => self.bound(&record),
            Record::Fork(fork) => self.forked(fork.header.tgid, fork.value, fork.at),
            Record::Exec { header, comm, args, .. } => {
                self.children.executed(header.tgid, comm);
                self.programs.executed(header.tgid, comm, args);
            }
            Record::Exit(exit) => self.exited(exit.header.tgid, exit.value, exit.at),
            Record::Wait(wait, answer) => self.upstreams.record(&wait, answer),
            Record::Syscalls(told) => {
                let (architecture, process) = (self.origin.architecture, told.header.tgid);
                self.windows
                    .syscalls
                    .record(architecture, process, told.from, told.to, told.uses());
            }
            Record::OomKill(kill) => self.oom_kills.push((kill.header.tgid, kill.at)),
            // That is the sensor's business.
            Record::Mapped(_) => {}
        }
        self.collect();
    }

    /// Records went missing since the last time: what may have been concluded from what is left
    /// says so.
    pub fn records_lost(&mut self) {
        self.tracker.records_lost();
        for output in &mut self.outputs {
            if let Output::Call(call) = output
                && call.response_bytes == 0
                && !call.loss.contains(&Loss::Gap)
            {
                call.loss.push(Loss::Gap);
            }
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Nanos) {
        if self.tracker.poll_timeout().is_some_and(|due| due <= now) {
            self.tracker.handle_timeout(now);
            self.collect();
        }
        let mut overdue = false;
        while let Some(held) = self.sessions.overdue(now) {
            overdue = true;
            self.release(held, None);
        }
        if overdue {
            self.collect();
        }
        self.endpoints.tick(now);
        self.windows.tick(now, || self.tracker.oldest_call());
        self.processes.expire(now);
    }

    /// Ends observation: what is in flight comes out as it is.
    pub fn finish(&mut self, now: Nanos) {
        for held in self.sessions.finish() {
            self.release(held, None);
        }
        self.tracker.finish(now);
        self.collect();
    }

    /// Verdicts since the last time this was asked: the stream's key, and what to keep under it.
    pub fn take_judgements(&mut self) -> Vec<(u64, VerdictEntry)> {
        self.places.take_judgements()
    }

    /// Verdicts on servers since the last time this was asked.
    pub fn take_endpoint_judgements(&mut self) -> Vec<EndpointJudgement> {
        self.endpoints.take_judgements()
    }

    /// Processes whose sockets were found to carry TLS since the last time this was asked.
    pub fn take_sealed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.sealed)
    }

    /// Processes that the kernel has chosen to kill for want of memory since the last time this was
    /// asked, and when.
    pub fn take_oom_kills(&mut self) -> Vec<(u32, Nanos)> {
        std::mem::take(&mut self.oom_kills)
    }

    /// The next call or fault.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Facts of processes that were seen for the first time, for a recording.
    pub fn take_fresh_facts(&mut self) -> Vec<Arc<ProcessFacts>> {
        self.processes.take_fresh()
    }

    /// The source of facts, for a replay to feed.
    pub fn facts_source(&mut self) -> &mut S {
        self.processes.source_mut()
    }

    /// What the protocol side has counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.tracker.stats()
    }

    /// What was lost on the way through here, by name.
    pub fn count_losses(&self, losses: &mut Losses) {
        losses.add("undecodable_records", self.undecodable);
        losses.add("call_times_evicted", self.windows.evicted);
        losses.add("sockets_evicted", self.sockets.evicted);
        losses.add("tls_sessions_unbound", self.sessions.unbound);
        losses.add("tls_records_dropped", self.sessions.dropped);
        losses.add("tls_records_unaligned", self.unaligned);
    }

    /// The process of this pid. What it was started as is read with its first byte: most processes
    /// of a host never move one that matters.
    fn process(&mut self, pid: u32) -> ProcessId {
        match self.programs.take(pid) {
            Some(Program { comm, args }) => self.processes.execed(pid, &comm, None, &args),
            None => {
                let process = self.processes.seen(pid);
                if let Some(parent) = self.programs.take_parent(pid) {
                    let parent = self.processes.seen(parent);
                    self.tracker.forked(parent, process);
                }
                process
            }
        }
    }

    fn forked(&mut self, child: u32, parent: u32, at: Nanos) {
        self.processes.forked(child, at);
        self.children.forked(child, parent, at);
        self.programs.forked(child, parent);
        if let Selection::Processes(members) = &mut self.selection
            && members.contains(&parent)
        {
            members.insert(child);
        }
    }

    fn exited(&mut self, pid: u32, status: u32, at: Nanos) {
        self.programs.exited(pid);
        self.upstreams.exited(pid);
        self.moved.remove(&pid);
        self.children.exited(pid, status, at);
        if let Some(process) = self.processes.exited(pid, at) {
            self.tracker.process_exited(process, at);
        }
    }

    /// Takes what the tracker has concluded.
    fn collect(&mut self) {
        while let Some(event) = self.tracker.poll_event() {
            match event {
                Event::Verdict { stream, verdict } => self.judge(stream, verdict),
                Event::Call(call) => self.call(*call),
                Event::Fault(fault) => {
                    let writer = fault.process.and_then(|process| self.processes.facts(process));
                    if self.is_selected(writer) {
                        let record = FaultRecord::new(&fault, writer, self.origin.clock);
                        self.outputs.push_back(Output::Fault(record));
                    }
                }
            }
        }
    }

    fn judge(&mut self, stream: StreamId, verdict: Verdict) {
        let code = self.places.judge(stream, verdict);
        let Some(socket) = self.sockets.ends(stream).into_iter().flatten().next() else {
            return;
        };
        match code {
            // One of a connection's two streams stands for it.
            Some(VerdictCode::Watch) if stream.0 & 1 == 0 => {
                self.endpoints.watched(socket.endpoints(), !is_plaintext(stream));
            }
            // What was not seen from its start may be TLS, and is no reason.
            Some(VerdictCode::Ignore) if stream.0 & 1 == 0 && !self.places.is_midway(stream) => {
                self.endpoints.ignored(socket.endpoints(), self.latest);
            }
            _ => {}
        }
    }

    fn call(&mut self, call: Call) {
        let facts = |process: Option<ProcessId>| process.and_then(|process| self.processes.facts(process));
        let (client, server) = (facts(call.client.process), facts(call.server.process));
        if !self.is_selected(client) && !self.is_selected(server) {
            return;
        }
        // There is no call without a record.
        let Some(run) = &self.run else { return };
        let Origin { boot_id, clock, .. } = &self.origin;
        let key = self.keys.of(&call, &self.sockets, &self.places, boot_id);
        let responder = match call.direction {
            Direction::ClientToServer => server,
            Direction::ServerToClient => client,
        };
        let source = CallSource {
            account: responder
                .and_then(|facts| self.windows.account(&call, facts.pid, &self.children, &self.upstreams)),
            run,
            connection: &key,
            client,
            server,
            network: network(&self.sockets, &call),
            clock: *clock,
        };
        let record = CallRecord::new(call, source);
        self.outputs.push_back(Output::Call(Box::new(record)));
    }

    fn is_selected(&self, process: Option<&Arc<ProcessFacts>>) -> bool {
        match &self.selection {
            Selection::All => true,
            Selection::Processes(members) => process.is_some_and(|facts| members.contains(&facts.pid)),
        }
    }
}

#[cfg(test)]
mod tests;
