//! The table of the connections.

use std::collections::{BTreeMap, HashMap, VecDeque};

use agent_abi::{DataRecord, EndpointKey, SocketEvent, SocketRecord, Tcp, flags};
use mcp_proto::{Nanos, Side, StreamId};

use super::connection::{Connection, End, Lane};
use super::{Carried, Network, Route};
use crate::calls::limits;

/// Where a stream is: its connection, which end writes it, and whether it is plaintext.
#[derive(Clone, Copy, Debug)]
struct Where {
    connection: u64,
    writer: usize,
    is_plain: bool,
}

/// A TLS session's socket is known: what becomes of the socket's own streams.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::calls) struct Opened {
    /// The session's bytes are the connection's plaintext.
    pub(in crate::calls) is_bound: bool,
    /// The streams that the socket writes and reads.
    pub(in crate::calls) ciphertext: [Option<StreamId>; 2],
}

/// The TCP connections that are known.
#[derive(Debug, Default)]
pub(in crate::calls) struct Sockets {
    /// By the socket that showed first: ids rise with time, so the oldest come first.
    connections: BTreeMap<u64, Connection>,
    /// Connection and end of each socket.
    sockets: HashMap<u64, (u64, usize)>,
    /// Open sockets whose other end has not shown.
    lone: HashMap<Route, Vec<u64>>,
    streams: HashMap<StreamId, Where>,
    closing: VecDeque<(Nanos, u64)>,
    closed: VecDeque<(Nanos, u64)>,
    evicted: u64,
}

impl Sockets {
    /// Takes what became of a socket.
    pub(in crate::calls) fn told(&mut self, record: &SocketRecord) {
        if record.event == SocketEvent::Closed as u32 {
            return self.close(record);
        }
        let (connection, end) = match self.sockets.get(&record.socket) {
            Some(&known) => known,
            None => self.open(record.socket, record),
        };
        let Some(end) = self.end(connection, end) else { return };
        if end.route.is_none() {
            end.route = Route::of(record);
        }
        if record.netns != 0 {
            end.netns = record.netns;
        }
        end.connected |= record.event == SocketEvent::Connected as u32 || record.connect_us > 0;
        if record.connect_us > 0 {
            end.connect_us = record.connect_us;
        }
        measure(end, record.tcp);
    }

    /// The streams that a record of a TCP socket is about. A socket that nobody has told of has
    /// streams of its own.
    pub(in crate::calls) fn wire(&mut self, record: &DataRecord) -> Option<Carried> {
        let (id, end) = match self.sockets.get(&record.pair) {
            Some(&known) => known,
            None => self.insert(End::new(record.pair)),
        };
        let connection = self.connections.get_mut(&id)?;
        measure(connection.ends[end].as_mut()?, record.tcp);
        let writer = writer(record, end);
        let stream = connection.wire.stream(writer, record.stream);
        let at = Where {
            connection: id,
            writer,
            is_plain: false,
        };
        self.streams.entry(stream).or_insert(at);
        Some(connection.carried(&connection.wire, stream, writer))
    }

    /// The streams that a record of a TLS session is about that runs over `socket`.
    pub(in crate::calls) fn plain(&mut self, socket: u64, record: &DataRecord) -> Option<Carried> {
        let &(id, end) = self.sockets.get(&socket)?;
        let connection = self.connections.get_mut(&id)?;
        measure(connection.ends[end].as_mut()?, record.tcp);
        let writer = writer(record, end);
        let lane = connection.plain.as_mut()?;
        let stream = lane.stream(writer, record.stream);
        let lane = *lane;
        let at = Where {
            connection: id,
            writer,
            is_plain: true,
        };
        self.streams.entry(stream).or_insert(at);
        Some(connection.carried(&lane, stream, writer))
    }

    /// A TLS session runs over `socket`. `lane` is what it has been known by; its first stream is
    /// the one that the session writes.
    pub(in crate::calls) fn bind(&mut self, session: u64, socket: u64, lane: Lane, is_used: bool) -> Opened {
        let (id, end) = match self.sockets.get(&socket) {
            Some(&known) => known,
            None => self.insert(End::new(socket)),
        };
        let mut opened = Opened::default();
        let Some(connection) = self.connections.get_mut(&id) else {
            return opened;
        };
        connection.is_sealed = true;
        let [own, others] = [connection.wire.streams[end], connection.wire.streams[1 - end]];
        opened.ciphertext = [own, others];
        let Some(it) = connection.ends[end].as_mut().filter(|end| end.session.is_none()) else {
            return opened;
        };
        it.session = Some(session);
        match connection.plain {
            // Offsets that count from different bytes cannot be brought together.
            Some(known) => opened.is_bound = !is_used && known.fresh == lane.fresh,
            None => {
                let mut lane = lane;
                if end == 1 {
                    lane.streams.reverse();
                }
                for (writer, stream) in lane.streams.into_iter().enumerate() {
                    let at = Where {
                        connection: id,
                        writer,
                        is_plain: true,
                    };
                    self.streams.extend(stream.map(|stream| (stream, at)));
                }
                connection.plain = Some(lane);
                opened.is_bound = true;
            }
        }
        opened
    }

    /// The connection of `stream` turns out to carry ciphertext. Returns its streams.
    pub(in crate::calls) fn seal(&mut self, stream: StreamId) -> [Option<StreamId>; 2] {
        let known = self.streams.get(&stream);
        let connection = known.and_then(|at| self.connections.get_mut(&at.connection));
        connection.map_or([None, None], |connection| {
            connection.is_sealed = true;
            connection.wire.streams
        })
    }

    /// Whether the connection of `stream` carries ciphertext, and for which of its two sides a
    /// session is known.
    pub(in crate::calls) fn sealed(&self, stream: StreamId) -> Option<[bool; 2]> {
        let at = self.streams.get(&stream)?;
        let connection = self.connections.get(&at.connection).filter(|it| it.is_sealed)?;
        let has_session = |end: usize| connection.ends[end].as_ref().is_some_and(|end| end.session.is_some());
        Some([has_session(at.writer), has_session(1 - at.writer)])
    }

    /// What is known of the connection that carries `stream`, which the client writes or reads.
    pub(in crate::calls) fn network(&self, stream: StreamId, client: Side) -> Option<Network> {
        let at = self.streams.get(&stream)?;
        let connection = self.connections.get(&at.connection)?;
        let client = if client == Side::Writer { at.writer } else { 1 - at.writer };
        Some(connection.network(client, at.is_plain))
    }

    /// The endpoints that are to be told that the connection of `stream` is watched or ignored;
    /// none when they know. TLS sessions are not judged by endpoint: their plaintext comes from a
    /// library that knows of none.
    pub(in crate::calls) fn tally(&mut self, stream: StreamId, is_watched: bool) -> Vec<EndpointKey> {
        let at = self.streams.get(&stream).filter(|at| !at.is_plain || is_watched);
        let Some(connection) = at.and_then(|at| self.connections.get_mut(&at.connection)) else {
            return Vec::new();
        };
        if connection.tallied == Some(true) || connection.tallied == Some(is_watched) {
            return Vec::new();
        }
        connection.tallied = Some(is_watched);
        connection.endpoints()
    }

    /// Streams of connections that have been closed for long enough by `now`.
    pub(in crate::calls) fn take_ended(&mut self, now: Nanos) -> Vec<(StreamId, Nanos)> {
        let mut ended = Vec::new();
        while let Some((due, id)) = self.closing.pop_front_if(|(due, _)| *due <= now) {
            let at = due - limits::CLOSING;
            let connection = self.connections.get(&id);
            ended.extend(connection.into_iter().flat_map(Connection::streams).map(|it| (it, at)));
            self.closed.push_back((at.saturating_add(limits::KEEP_CLOSED), id));
        }
        while let Some((_, id)) = self.closed.pop_front_if(|(due, _)| *due <= now) {
            self.remove(id);
        }
        ended
    }

    /// Open connections that were forgotten to stay within bounds.
    pub(in crate::calls) fn evicted(&self) -> u64 {
        self.evicted
    }

    fn end(&mut self, connection: u64, end: usize) -> Option<&mut End> {
        self.connections.get_mut(&connection)?.ends[end].as_mut()
    }

    /// A socket has come into view: at the other end of a known connection, or on a new one.
    fn open(&mut self, socket: u64, record: &SocketRecord) -> (u64, usize) {
        let mut end = End::new(socket);
        end.netns = record.netns;
        end.route = Route::of(record);
        let Some(route) = end.route else {
            return self.insert(end);
        };
        let Some(other) = self.other_end(route, record.netns) else {
            self.lone.entry(route).or_default().push(socket);
            return self.insert(end);
        };
        let (id, _) = other;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ends[1] = Some(end);
        }
        self.sockets.insert(socket, (id, 1));
        (id, 1)
    }

    /// Takes the open socket at the other end of `route` that waits for its own: one of the same
    /// namespace before one of another. Loopback does not leave its namespace.
    fn other_end(&mut self, route: Route, netns: u32) -> Option<(u64, usize)> {
        let key = route.reversed();
        let waiting = self.lone.get(&key)?;
        let within = |socket: &&u64| {
            let end = self.sockets.get(socket).and_then(|(id, end)| {
                let connection = self.connections.get(id)?;
                connection.ends[*end].as_ref()
            });
            end.is_some_and(|end| end.netns == netns)
        };
        // The latest: an earlier one whose end was missed cannot be meant.
        let own = waiting.iter().rev().find(within);
        let found = own.or_else(|| waiting.last().filter(|_| !route.is_loopback())).copied()?;
        self.forget_lone(key, found);
        self.sockets.get(&found).copied()
    }

    fn forget_lone(&mut self, route: Route, socket: u64) {
        if let Some(waiting) = self.lone.get_mut(&route) {
            waiting.retain(|waiting| *waiting != socket);
            if waiting.is_empty() {
                self.lone.remove(&route);
            }
        }
    }

    fn insert(&mut self, end: End) -> (u64, usize) {
        let id = end.socket;
        if self.connections.len() >= limits::CONNECTIONS {
            self.make_room();
        }
        self.sockets.insert(id, (id, 0));
        self.connections.insert(id, Connection::new(end));
        (id, 0)
    }

    /// The closed give way first, then whichever showed first.
    fn make_room(&mut self) {
        if let Some((_, id)) = self.closed.pop_front() {
            self.remove(id);
        } else if let Some((&id, _)) = self.connections.first_key_value() {
            self.evicted += 1;
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        for stream in connection.streams() {
            self.streams.remove(&stream);
        }
        for end in connection.ends.into_iter().flatten() {
            self.sockets.remove(&end.socket);
            if let Some(route) = end.route {
                self.forget_lone(route, end.socket);
            }
        }
    }

    fn close(&mut self, record: &SocketRecord) {
        let Some(&(id, end)) = self.sockets.get(&record.socket) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let mut route = None;
        if let Some(end) = connection.ends[end].as_mut() {
            end.is_closed = true;
            measure(end, record.tcp);
            route = end.route;
        }
        let all_closed = connection.ends.iter().flatten().all(|end| end.is_closed);
        if all_closed && connection.closed.is_none() {
            connection.closed = Some(record.at);
            self.closing.push_back((record.at.saturating_add(limits::CLOSING), id));
        }
        if let Some(route) = route {
            self.forget_lone(route, record.socket);
        }
    }
}

/// Number of the end that writes what a record of `end` is about.
fn writer(record: &DataRecord, end: usize) -> usize {
    if record.flags & flags::READ == 0 { end } else { 1 - end }
}

/// Where the kernel could measure, it has a round-trip time.
fn measure(end: &mut End, tcp: Tcp) {
    if tcp != Tcp::default() {
        end.tcp = tcp;
    }
}
