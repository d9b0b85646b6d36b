//! Ring records in; calls, faults and verdicts out. No system calls but those of the facts' source:
//! a recording goes through here as the live ring does.

mod identity;
mod transport;
mod verdicts;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use agent_abi::{Record, VerdictEntry};
use mcp_proto::{ConnectionId, Event, Limits, Loss, Nanos, ProcessId, Stats, Tracker};

use super::endpoints::{EndpointJudgement, Endpoints};
use super::record::{CallRecord, FaultRecord};
use super::sessions::Sessions;
use super::sockets::Sockets;
use super::trace_id::ConnectionKey;
use crate::host::{ClockOffset, FactsSource, ProcessFacts, Processes};
use verdicts::Stream;

/// Streams whose kernel address is kept; the oldest give way, and keep their verdict for good.
const MAX_STREAMS: usize = 32_768;
/// Connections whose key is kept; the oldest give way, and get the same key again when asked.
const MAX_KEYS: usize = 16_384;
/// Programs started by processes that have not moved a byte yet; the oldest give way.
const MAX_STARTED: usize = 4096;

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
    /// Inode numbers of the pipes and sockets that were open before observation began.
    pub preexisting: HashSet<u64>,
}

/// A program that was started by a process that has not moved a byte yet.
struct Started {
    comm: String,
    args: Vec<String>,
}

/// From records to calls.
pub struct Pipeline<S> {
    tracker: Tracker,
    processes: Processes<S>,
    streams: BTreeMap<u64, Stream>,
    sockets: Sockets,
    sessions: Sessions,
    endpoints: Endpoints,
    keys: BTreeMap<ConnectionId, Arc<ConnectionKey>>,
    /// Parents of processes that have not executed a program or moved a byte yet.
    forks: HashMap<u32, u32>,
    started: HashMap<u32, Started>,
    started_order: VecDeque<u32>,
    origin: Origin,
    selection: Selection,
    judgements: Vec<(u64, VerdictEntry)>,
    /// Processes with sockets that carry TLS.
    sealed: Vec<u32>,
    /// The latest instant of any record.
    latest: Nanos,
    outputs: VecDeque<Output>,
    undecodable: u64,
}

impl<S: FactsSource> Pipeline<S> {
    /// An empty pipeline.
    pub fn new(source: S, origin: Origin, selection: Selection) -> Self {
        Self {
            tracker: Tracker::new(Limits::default()),
            processes: Processes::new(source),
            streams: BTreeMap::new(),
            sockets: Sockets::default(),
            sessions: Sessions::default(),
            endpoints: Endpoints::default(),
            keys: BTreeMap::new(),
            forks: HashMap::new(),
            started: HashMap::new(),
            started_order: VecDeque::new(),
            origin,
            selection,
            judgements: Vec::new(),
            sealed: Vec::new(),
            latest: 0,
            outputs: VecDeque::new(),
            undecodable: 0,
        }
    }

    /// Takes one record of the ring.
    pub fn record(&mut self, bytes: &[u8]) {
        match Record::decode(bytes) {
            Ok(Record::Data(record, payload)) => self.data(&record, payload),
            Ok(Record::Socket(record)) => self.socket(&record),
            Ok(Record::Bind(record)) => self.bound(record.session, record.socket),
            Ok(Record::Fork(fork)) => self.forked(fork.header.tgid, fork.value, fork.at),
            Ok(Record::Exec { header, comm, args, .. }) => self.executed(header.tgid, comm, args),
            Ok(Record::Exit(exit)) => self.exited(exit.header.tgid, exit.at),
            // That is the sensor's business.
            Ok(Record::Mapped(_)) => {}
            Err(_) => self.undecodable += 1,
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
        self.sockets.tick(now);
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
        std::mem::take(&mut self.judgements)
    }

    /// Verdicts on servers since the last time this was asked.
    pub fn take_endpoint_judgements(&mut self) -> Vec<EndpointJudgement> {
        self.endpoints.take_judgements()
    }

    /// Processes whose sockets were found to carry TLS since the last time this was asked.
    pub fn take_sealed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.sealed)
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

    /// Records that could not be decoded.
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// The process of this pid. What it was started as is read with its first byte: most processes
    /// of a host never move one that matters.
    fn process(&mut self, pid: u32) -> ProcessId {
        match self.started.remove(&pid) {
            Some(Started { comm, args }) => self.processes.execed(pid, &comm, None, &args),
            None => {
                let process = self.processes.seen(pid);
                if let Some(parent) = self.forks.remove(&pid) {
                    let parent = self.processes.seen(parent);
                    self.tracker.forked(parent, process);
                }
                process
            }
        }
    }

    fn forked(&mut self, child: u32, parent: u32, at: Nanos) {
        self.processes.forked(child, at);
        if self.forks.len() >= MAX_STARTED {
            self.forks.clear();
        }
        self.forks.insert(child, parent);
        if let Selection::Processes(members) = &mut self.selection
            && members.contains(&parent)
        {
            members.insert(child);
        }
    }

    fn executed(&mut self, pid: u32, comm: &[u8], args: &[u8]) {
        self.forks.remove(&pid);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let args = args.strip_suffix(b"\0").unwrap_or(args);
        let started = Started {
            comm: text(comm),
            args: args.split(|&b| b == 0).map(text).collect(),
        };
        if self.started.insert(pid, started).is_none() {
            self.started_order.push_back(pid);
        }
        if self.started_order.len() > MAX_STARTED
            && let Some(oldest) = self.started_order.pop_front()
        {
            self.started.remove(&oldest);
        }
    }

    fn exited(&mut self, pid: u32, at: Nanos) {
        self.started.remove(&pid);
        self.forks.remove(&pid);
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

    fn is_selected(&self, process: Option<&Arc<ProcessFacts>>) -> bool {
        match &self.selection {
            Selection::All => true,
            Selection::Processes(members) => process.is_some_and(|facts| members.contains(&facts.pid)),
        }
    }
}
