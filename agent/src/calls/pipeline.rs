//! Ring records in; calls, faults and verdicts out. No system calls but those of the facts' source:
//! a recording goes through here as the live ring does.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use agent_abi::{DataRecord, Record, SocketRecord, VerdictCode, VerdictEntry, flags};
use mcp_proto::{
    Call, Carrier, ConnectionId, Content, Event, Limits, Loss, Nanos, PairId, ProcessId, SessionToken, Side, Stats,
    StreamId, Tracker, Transfer, Verdict,
};

use super::endpoints::{EndpointJudgement, Endpoints};
use super::record::{CallRecord, CallSource, FaultRecord, Network, TcpRecord};
use super::sessions::{self as session, Sessions};
use super::sockets::{self, Socket, Sockets, Streams};
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

/// Where the kernel keeps a stream, and what it was last told.
#[derive(Default)]
struct Stream {
    /// One place, or one for each of the two sockets that it runs between.
    places: Vec<Place>,
    grants: u32,
    verdict: Option<VerdictCode>,
}

/// One of the places where the kernel keeps a stream.
#[derive(Clone, Copy)]
struct Place {
    key: u64,
    ino: u64,
    /// The kernel's own number of the stream at this place.
    stream: u64,
    reads: bool,
}

impl Stream {
    /// What the kernel is to be told at a place. What the writer's end ships, the reader's need not.
    fn entry(&self, place: Place, verdict: VerdictCode) -> VerdictEntry {
        let both = self.places.iter().any(|other| other.reads != place.reads);
        let told = match verdict {
            VerdictCode::Watch if place.reads && both => VerdictCode::Timing,
            verdict => verdict,
        };
        VerdictEntry {
            stream: place.stream,
            ino: place.ino,
            verdict: told as u32,
            grants: self.grants,
        }
    }
}

/// A program that was started by a process that has not moved a byte yet.
struct Started {
    comm: String,
    args: Vec<String>,
}

/// The stream that a record belongs to.
struct Way {
    stream: StreamId,
    pair: Option<PairId>,
    ends: Option<[u64; 2]>,
}

impl Way {
    /// As the kernel numbers it.
    fn own(record: &DataRecord) -> Self {
        Self {
            stream: StreamId(record.stream),
            pair: (record.pair != 0).then_some(PairId(record.pair)),
            ends: None,
        }
    }

    /// One of `streams`, of a connection that `socket` is an end of.
    fn of(socket: &Socket, streams: Streams, record: &DataRecord) -> Self {
        let (own, other) = socket.numbers();
        let reads = record.flags & flags::READ != 0;
        Self {
            stream: if reads { streams.read } else { streams.written },
            pair: Some(streams.pair),
            ends: Some(if reads { [other, own] } else { [own, other] }),
        }
    }
}

/// Whether bytes begin like a record of TLS (RFC 8446, section 5.1).
fn looks_sealed(bytes: &[u8]) -> bool {
    matches!(bytes, [0x14..=0x17, 3, 0..=4, ..])
}

/// Addresses of client and server, by whichever end is known.
fn addresses(client: Option<&Socket>, server: Option<&Socket>) -> Option<(SocketAddr, SocketAddr)> {
    match (client, server) {
        (Some(client), _) => Some(client.addresses()),
        (None, Some(server)) => {
            let (own, other) = server.addresses();
            Some((other, own))
        }
        (None, None) => None,
    }
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
        socket.tcp = record.tcp;
        socket.place = Some((record.key & !1, record.ino));
        if !socket.sealed && record.flags & flags::FIRST != 0 && looks_sealed(payload) {
            self.seal(record.pair);
            self.sealed.push(record.header.tgid);
            return;
        }
        if socket.sealed {
            return;
        }
        let way = Way::of(socket, socket.streams(), record);
        self.move_bytes(record, payload, way);
    }

    /// A socket carries ciphertext: the kernel is to look out for the session behind it.
    fn seal(&mut self, socket: u64) {
        for id in self.sockets.seal(socket) {
            self.tell_socket(id, VerdictCode::Sealed);
        }
    }

    /// Tells the kernel what a socket is worth, in both directions.
    fn tell_socket(&mut self, socket: u64, verdict: VerdictCode) {
        let Some((key, ino)) = self.sockets.get(socket).and_then(|socket| socket.place) else {
            return;
        };
        for key in [key, key | 1] {
            let entry = VerdictEntry {
                stream: socket,
                ino,
                verdict: verdict as u32,
                grants: 0,
            };
            self.judgements.push((key, entry));
        }
    }

    /// Bytes at the boundary of a TLS library.
    fn plaintext(&mut self, record: &DataRecord, payload: &[u8], socket: Option<u64>) {
        let way = match socket.and_then(|socket| self.sockets.get_mut(socket)) {
            Some(socket) => {
                if record.tcp != agent_abi::Tcp::default() {
                    socket.tcp = record.tcp;
                }
                Way::of(socket, socket.plaintext(), record)
            }
            None => Way::own(record),
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
        self.tell_socket(socket, VerdictCode::Ignore);
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
            self.note_place(way.stream, record);
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

    fn note_place(&mut self, stream: StreamId, record: &DataRecord) {
        let place = Place {
            key: record.key,
            ino: record.ino,
            stream: record.stream,
            reads: record.flags & flags::READ != 0,
        };
        let known = self.streams.entry(stream.0).or_default();
        // A pipe is kept at one place, whoever uses it.
        if let Some(it) = known.places.iter_mut().find(|it| it.key == place.key) {
            if it.ino == 0 {
                it.ino = place.ino;
            }
        } else if known.places.len() < 2 {
            known.places.push(place);
            if let Some(verdict) = known.verdict {
                let entries = known.places.iter().map(|it| (it.key, known.entry(*it, verdict)));
                self.judgements.extend(entries);
            }
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
        let code = match verdict {
            Verdict::Watch => VerdictCode::Watch,
            Verdict::Ignore => VerdictCode::Ignore,
            Verdict::LookAgain => {
                known.grants += 1;
                VerdictCode::LookAgain
            }
        };
        known.verdict = Some(code);
        let entries = known.places.iter().map(|place| (place.key, known.entry(*place, code)));
        self.judgements.extend(entries);
        if let Some(socket) = self.sockets.ends(stream).into_iter().flatten().next() {
            match code {
                VerdictCode::Watch => self.endpoints.watched(socket.endpoints()),
                // One of a connection's two streams stands for it.
                VerdictCode::Ignore if stream.0 & 1 == 0 => {
                    self.endpoints.ignored(socket.endpoints(), self.latest);
                }
                _ => {}
            }
        }
    }

    fn call(&mut self, call: Call) {
        let facts = |process: Option<ProcessId>| process.and_then(|process| self.processes.facts(process));
        let (client, server) = (facts(call.client.process).cloned(), facts(call.server.process).cloned());
        if !self.is_selected(client.as_ref()) && !self.is_selected(server.as_ref()) {
            return;
        }
        let network = self.network(&call);
        let key = self.key(call.connection, call.streams, call.session.as_ref());
        let relays = call.relays.clone().map(|relayed| {
            let key = self.key(relayed.connection, relayed.streams, relayed.session.as_ref());
            (relayed, key)
        });
        let source = CallSource {
            connection: &key,
            client: client.as_ref(),
            server: server.as_ref(),
            network,
            relays,
            clock: self.origin.clock,
        };
        self.outputs
            .push_back(Output::Call(Box::new(CallRecord::new(call, source))));
        if self.keys.len() > MAX_KEYS {
            self.keys.pop_first();
        }
    }

    /// The sockets at the client's and at the server's end of what carried a call's request.
    fn sockets_of(&self, streams: [Option<StreamId>; 2]) -> Option<[Option<&Socket>; 2]> {
        let [to_server, to_client] = streams;
        let ends = match (to_server, to_client) {
            (Some(stream), _) => self.sockets.ends(stream),
            (None, Some(stream)) => {
                let [server, client] = self.sockets.ends(stream);
                [client, server]
            }
            (None, None) => return None,
        };
        ends.iter().any(Option::is_some).then_some(ends)
    }

    fn network(&self, call: &Call) -> Option<Network> {
        let [client, server] = self.sockets_of(call.streams)?;
        let (client_address, server_address) = addresses(client, server)?;
        let tcp = client.or(server)?;
        Some(Network {
            client: client_address,
            server: server_address,
            tls: call
                .streams
                .iter()
                .flatten()
                .any(|stream| sockets::is_plaintext(*stream)),
            tcp: Some(TcpRecord {
                connect_us: Some(tcp.connect_us).filter(|took| *took != 0),
                time_to_first_byte_us: None,
                srtt_us: tcp.tcp.srtt_us,
                retransmits: tcp.tcp.retransmits,
                in_flight_bytes: tcp.tcp.in_flight,
            }),
        })
    }

    /// What identifies a conversation to both of its ends.
    fn key(
        &mut self,
        connection: ConnectionId,
        streams: [Option<StreamId>; 2],
        session: Option<&SessionToken>,
    ) -> Arc<ConnectionKey> {
        if let Some(known) = self.keys.get(&connection) {
            return Arc::clone(known);
        }
        let ends = self
            .sockets_of(streams)
            .and_then(|[client, server]| addresses(client, server));
        let key = match (session, ends) {
            (Some(token), _) => ConnectionKey::of_session(token.expose()),
            (None, Some((client, server))) => ConnectionKey(format!("tcp/{client}/{server}")),
            (None, None) => {
                let inode = |stream: Option<StreamId>| {
                    let known = stream.and_then(|stream| self.streams.get(&stream.0));
                    known
                        .and_then(|known| known.places.first())
                        .map_or(0, |place| place.ino)
                };
                let [to_server, to_client] = streams.map(inode);
                ConnectionKey(format!("{}/{to_server}/{to_client}", self.origin.boot_id))
            }
        };
        let key = Arc::new(key);
        self.keys.insert(connection, Arc::clone(&key));
        key
    }

    fn is_selected(&self, process: Option<&Arc<ProcessFacts>>) -> bool {
        match &self.selection {
            Selection::All => true,
            Selection::Processes(members) => process.is_some_and(|facts| members.contains(&facts.pid)),
        }
    }
}
