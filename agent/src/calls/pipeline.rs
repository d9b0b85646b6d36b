//! Ring records in; calls, faults and verdicts out. No system calls but those of the facts' source:
//! a recording goes through here as the live ring does.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use agent_abi::{DataRecord, Record, SocketRecord, VerdictCode, VerdictEntry, flags};
use mcp_proto::{
    Call, CallRef, Carrier, Content, Direction, Event, Limits, Loss, Nanos, ProcessId, Side, Stats, StreamId, Tracker,
    Transfer, Verdict,
};

use super::children::Children;
use super::endpoints::{EndpointJudgement, Endpoints};
use super::network::{Keys, network};
use super::places::Places;
use super::programs::{Program, Programs};
use super::record::{CallRecord, CallSource, FaultRecord};
use super::sessions::{self as session, Sessions};
use super::sockets::{Sockets, Way};
use super::windows::Windows;
use crate::host::{ClockOffset, FactsSource, ProcessFacts, Processes};
use crate::sink::Losses;

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

/// Whether bytes begin like a record of TLS (RFC 8446, section 5.1).
fn looks_sealed(bytes: &[u8]) -> bool {
    matches!(bytes, [0x14..=0x17, 3, 0..=4, ..])
}

/// From records to calls.
pub struct Pipeline<S> {
    tracker: Tracker,
    processes: Processes<S>,
    places: Places,
    sockets: Sockets,
    sessions: Sessions,
    endpoints: Endpoints,
    keys: Keys,
    programs: Programs,
    windows: Windows,
    children: Children,
    origin: Origin,
    selection: Selection,
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
            places: Places::default(),
            sockets: Sockets::default(),
            sessions: Sessions::default(),
            endpoints: Endpoints::default(),
            keys: Keys::default(),
            programs: Programs::default(),
            windows: Windows::default(),
            children: Children::default(),
            origin,
            selection,
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
            Ok(Record::Exec { header, comm, args, .. }) => {
                self.children.executed(header.tgid, comm);
                self.programs.executed(header.tgid, comm, args);
            }
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
    }

    fn data(&mut self, record: &DataRecord, payload: &[u8]) {
        if record.flags & flags::TLS != 0 {
            match self.sessions.place(record, payload) {
                session::Carrier::Socket(socket) => self.plaintext(record, payload, Some(socket)),
                session::Carrier::Unknown => self.plaintext(record, payload, None),
                session::Carrier::Waits => {}
            }
        } else if record.flags & flags::TCP != 0 {
            self.tcp(record, payload);
        } else {
            self.move_bytes(record, payload, Way::own(record));
        }
    }

    /// Bytes of a TCP connection.
    fn tcp(&mut self, record: &DataRecord, payload: &[u8]) {
        let Some(socket) = self.sockets.get_mut(record.pair) else {
            return self.move_bytes(record, payload, Way::own(record));
        };
        socket.moved(record);
        let way = Way::of(socket, socket.streams(), record);
        let begins = record.flags & flags::FIRST != 0;
        if begins && !socket.is_sealed && looks_sealed(payload) && !self.places.is_watched(way.stream) {
            self.sockets.seal(record.pair);
            self.sealed.push(record.header.tgid);
        }
        match self.sockets.get_mut(record.pair) {
            Some(socket) if socket.is_sealed => {
                if let Some(news) = socket.news() {
                    self.places.seal(news);
                }
            }
            _ => self.move_bytes(record, payload, way),
        }
    }

    /// Bytes at the boundary of a TLS library.
    fn plaintext(&mut self, record: &DataRecord, payload: &[u8], socket: Option<u64>) {
        let way = match socket.and_then(|socket| self.sockets.get_mut(socket)) {
            Some(socket) => {
                socket.measured(record.tcp);
                Way::of(socket, socket.plaintext(), record)
            }
            None => Way::unbound(record),
        };
        self.move_bytes(record, payload, way);
    }

    fn socket(&mut self, record: &SocketRecord) {
        for (stream, at) in self.sockets.record(record).closed {
            self.tracker.closed(stream, at);
        }
    }

    /// The socket of a TLS session is known: its ciphertext is of no use any more.
    fn bound(&mut self, session: u64, socket: u64) {
        let held = self.sessions.bind(session, socket);
        self.sockets.seal(socket);
        if let Some(known) = self.sockets.get_mut(socket) {
            known.is_bound = true;
            if let Some(news) = known.news() {
                self.places.seal(news);
            }
        }
        self.release(held, Some(socket));
    }

    fn release(&mut self, held: VecDeque<(DataRecord, Box<[u8]>)>, socket: Option<u64>) {
        for (record, payload) in held {
            self.plaintext(&record, &payload, socket);
        }
    }

    fn move_bytes(&mut self, record: &DataRecord, payload: &[u8], way: Way) {
        self.latest = self.latest.max(record.exited);
        if record.flags & flags::FIRST != 0 {
            self.places.note(way.stream, record);
            self.windows.note(record);
        }
        let bits = record.flags;
        let transfer = Transfer {
            stream: way.stream,
            pair: way.pair,
            carrier: match (bits & flags::SOCKET != 0, bits & flags::NAMED != 0) {
                _ if bits & (flags::TCP | flags::TLS) != 0 => Carrier::Tcp,
                (false, _) => Carrier::Pipe,
                (true, false) => Carrier::SocketPair,
                (true, true) => Carrier::UnixSocket,
            },
            fresh: if bits & flags::TLS != 0 {
                bits & flags::FRESH != 0
            } else {
                record.ino != 0 && !self.origin.preexisting.contains(&record.ino)
            },
            absolute: bits & flags::TCP != 0,
            ends: way.ends,
            side: if bits & flags::READ != 0 {
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
            last: bits & flags::LAST != 0,
        };
        self.tracker.transfer(&transfer);
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

    fn exited(&mut self, pid: u32, at: Nanos) {
        self.programs.exited(pid);
        self.children.exited(pid, at);
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
            Some(VerdictCode::Watch) => self.endpoints.watched(socket.endpoints()),
            // One of a connection's two streams stands for it. What was not seen from its start may
            // be TLS, and is no reason.
            Some(VerdictCode::Ignore) if stream.0 & 1 == 0 && !self.places.is_midway(stream) => {
                self.endpoints.ignored(socket.endpoints(), self.latest);
            }
            _ => {}
        }
    }

    fn call(&mut self, call: Call) {
        let facts = |process: Option<ProcessId>| process.and_then(|process| self.processes.facts(process));
        let (client, server) = (facts(call.client.process).cloned(), facts(call.server.process).cloned());
        if !self.is_selected(client.as_ref()) && !self.is_selected(server.as_ref()) {
            return;
        }
        let mut key = |call: &CallRef| self.keys.of(call, &self.sockets, &self.places, &self.origin.boot_id);
        let own = key(&CallRef {
            connection: call.connection,
            direction: call.direction,
            sequence: call.sequence,
            streams: call.streams,
            session: call.session.clone(),
        });
        let relays = call.relays.clone().map(|relayed| {
            let key = key(&relayed);
            (relayed, key)
        });
        let responder = match call.direction {
            Direction::ClientToServer => server.as_ref(),
            Direction::ServerToClient => client.as_ref(),
        };
        let account = responder.and_then(|facts| self.windows.account(&call, facts.pid, &self.children));
        let source = CallSource {
            account,
            connection: &own,
            client: client.as_ref(),
            server: server.as_ref(),
            network: network(&self.sockets, &call),
            relays,
            clock: self.origin.clock,
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
