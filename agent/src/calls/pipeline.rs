//! Ring records in; calls, faults and verdicts out. No system calls but those of the facts' source:
//! a recording goes through here as the live ring does.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use agent_abi::{DataRecord, Record, VerdictCode, VerdictEntry, flags};
use mcp_proto::{
    Call, Carrier, ConnectionId, Content, Event, Limits, Loss, Nanos, PairId, ProcessId, Side, Stats, StreamId,
    Tracker, Transfer, Verdict,
};

use super::record::{CallRecord, CallSource, FaultRecord};
use super::trace_id::ConnectionKey;
use crate::host::{ClockOffset, FactsSource, ProcessFacts, Processes};

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

/// Where a stream is kept in the kernel, and what it was last told.
struct Stream {
    key: u64,
    ino: u64,
    grants: u32,
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
    keys: BTreeMap<ConnectionId, Arc<ConnectionKey>>,
    /// Parents of processes that have not executed a program or moved a byte yet.
    forks: HashMap<u32, u32>,
    started: HashMap<u32, Started>,
    started_order: VecDeque<u32>,
    origin: Origin,
    selection: Selection,
    judgements: Vec<(u64, VerdictEntry)>,
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
            keys: BTreeMap::new(),
            forks: HashMap::new(),
            started: HashMap::new(),
            started_order: VecDeque::new(),
            origin,
            selection,
            judgements: Vec::new(),
            outputs: VecDeque::new(),
            undecodable: 0,
        }
    }

    /// Takes one record of the ring.
    pub fn record(&mut self, bytes: &[u8]) {
        match Record::decode(bytes) {
            Ok(Record::Data(record, payload)) => self.data(&record, payload),
            Ok(Record::Fork(fork)) => self.forked(fork.header.tgid, fork.value, fork.at),
            Ok(Record::Exec { header, comm, args, .. }) => self.executed(header.tgid, comm, args),
            Ok(Record::Exit(exit)) => self.exited(exit.header.tgid, exit.at),
            Ok(Record::Socket(_) | Record::Bind(_) | Record::Mapped(_)) => {}
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
        self.processes.expire(now);
    }

    /// Ends observation: what is in flight comes out as it is.
    pub fn finish(&mut self, now: Nanos) {
        self.tracker.finish(now);
        self.collect();
    }

    /// Verdicts since the last time this was asked: the stream's key, and what to keep under it.
    pub fn take_judgements(&mut self) -> Vec<(u64, VerdictEntry)> {
        std::mem::take(&mut self.judgements)
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

    fn data(&mut self, record: &DataRecord, payload: &[u8]) {
        let stream = StreamId(record.stream);
        if record.flags & flags::FIRST != 0 {
            self.note_stream(record);
        }
        let socket = record.flags & flags::SOCKET != 0;
        let transfer = Transfer {
            stream,
            pair: (record.pair != 0).then_some(PairId(record.pair)),
            carrier: match (socket, record.flags & flags::NAMED != 0) {
                _ if record.flags & (flags::TCP | flags::TLS) != 0 => Carrier::Tcp,
                (false, _) => Carrier::Pipe,
                (true, false) => Carrier::SocketPair,
                (true, true) => Carrier::UnixSocket,
            },
            fresh: record.ino != 0 && !self.origin.preexisting.contains(&record.ino),
            absolute: record.flags & flags::TCP != 0,
            ends: None,
            side: if record.flags & flags::READ != 0 {
                Side::Reader
            } else {
                Side::Writer
            },
            process: self.process(record.header.tgid),
            entered: if record.entered == 0 {
                record.exited
            } else {
                record.entered
            },
            exited: record.exited,
            offset: record.offset,
            len: record.len,
            content: Content {
                at: u64::from(record.at),
                bytes: payload,
            },
            last: record.flags & flags::LAST != 0,
        };
        self.tracker.transfer(&transfer);
    }

    fn note_stream(&mut self, record: &DataRecord) {
        let &DataRecord { stream, key, ino, .. } = record;
        let known = self.streams.entry(stream).or_insert(Stream { key, ino, grants: 0 });
        if known.ino == 0 {
            known.ino = ino;
        }
        if self.streams.len() > MAX_STREAMS {
            self.streams.pop_first();
        }
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

    fn judge(&mut self, stream: StreamId, verdict: Verdict) {
        let Some(known) = self.streams.get_mut(&stream.0) else {
            return;
        };
        let verdict = match verdict {
            Verdict::Watch => VerdictCode::Watch,
            Verdict::Ignore => VerdictCode::Ignore,
            Verdict::LookAgain => {
                known.grants += 1;
                VerdictCode::LookAgain
            }
        };
        let entry = VerdictEntry {
            stream: stream.0,
            ino: known.ino,
            verdict: verdict as u32,
            grants: known.grants,
        };
        self.judgements.push((known.key, entry));
    }

    fn call(&mut self, call: Call) {
        let facts = |process: Option<ProcessId>| process.and_then(|process| self.processes.facts(process));
        let (client, server) = (facts(call.client.process), facts(call.server.process));
        if !self.is_selected(client) && !self.is_selected(server) {
            return;
        }
        let key = self.keys.entry(call.connection).or_insert_with(|| {
            let inode = |stream: Option<StreamId>| {
                stream
                    .and_then(|stream| self.streams.get(&stream.0))
                    .map_or(0, |stream| stream.ino)
            };
            let [to_server, to_client] = call.streams;
            Arc::new(ConnectionKey(format!(
                "{}/{}/{}",
                self.origin.boot_id,
                inode(to_server),
                inode(to_client)
            )))
        });
        let source = CallSource {
            connection: &Arc::clone(key),
            client,
            server,
            clock: self.origin.clock,
        };
        self.outputs
            .push_back(Output::Call(Box::new(CallRecord::new(call, source))));
        if self.keys.len() > MAX_KEYS {
            self.keys.pop_first();
        }
    }

    fn is_selected(&self, process: Option<&Arc<ProcessFacts>>) -> bool {
        match &self.selection {
            Selection::All => true,
            Selection::Processes(members) => process.is_some_and(|facts| members.contains(&facts.pid)),
        }
    }
}
