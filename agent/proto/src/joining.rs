//! Which streams belong together.

use crate::connection::Connection;
use crate::framing::{Frames, Framing};
use crate::recognise::Suspect;
use crate::rpc::Kind;
use crate::track::{Action, State, Track};
use crate::tracker::Tracker;
use crate::users::{Relation, relation};
use crate::{ConnectionId, Direction, ProcessId, StreamId, Verdict, rpc};

impl Tracker {
    /// Does what a piece of an unjudged stream called for.
    pub(crate) fn act(&mut self, id: StreamId, action: &Action) {
        match action {
            Action::Join(direction) => {
                let known = self.lacking(id, Some(*direction));
                let connection = known.unwrap_or_else(|| self.open_connection(id));
                self.join(id, connection, *direction);
            }
            Action::Held => {
                if !self.holding.contains(&id) {
                    self.holding.push(id);
                }
                self.join_if_lacking(id);
            }
            Action::Ignore => {
                self.stop_holding(id);
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.framer.give_up();
                    stream.count(&mut self.output);
                    if let State::Unjudged(suspect) = &stream.state {
                        self.output.stats.held_dropped += suspect.held.len() as u64;
                        let again = suspect.again;
                        stream.state = State::Ignored { again };
                    }
                    self.output.verdict(id, Verdict::Ignore);
                }
            }
        }
    }

    fn open_connection(&mut self, id: StreamId) -> ConnectionId {
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        if let Some(stream) = self.streams.get(&id) {
            self.connections
                .insert(connection, Box::new(Connection::new(connection, stream.carrier)));
            self.half.push(connection);
        }
        connection
    }

    pub(crate) fn stop_holding(&mut self, id: StreamId) {
        self.holding.retain(|held| *held != id);
    }

    /// The stream that a connection has, when it lacks one.
    fn half_stream(&self, connection: ConnectionId) -> Option<(&Track, Direction)> {
        let known = self.connections.get(&connection)?;
        let (id, direction) = match (known.client_to_server, known.server_to_client) {
            (Some(id), None) => (id, Direction::ClientToServer),
            (None, Some(id)) => (id, Direction::ServerToClient),
            _ => return None,
        };
        Some((self.streams.get(&id)?, direction))
    }

    /// The connection that most surely lacks this stream, if there is one such.
    fn lacking(&self, id: StreamId, direction: Option<Direction>) -> Option<ConnectionId> {
        let stream = self.streams.get(&id)?;
        let fits = |connection: &ConnectionId| {
            let (known, has) = self.half_stream(*connection)?;
            if known.id == id || direction == Some(has) {
                return None;
            }
            Some((relation(known.ends(), stream.ends())?, *connection))
        };
        let found: Vec<_> = self.half.iter().filter_map(fits).collect();
        let best = found.iter().map(|(relation, _)| *relation).min()?;
        // That a process answers must be seen, not guessed: a proxy writes requests as well.
        if best > Relation::BothEnds && direction.is_none() && !answers(stream) {
            return None;
        }
        let mut best = found
            .iter()
            .filter(|(relation, _)| *relation == best)
            .map(|(_, connection)| *connection);
        match (best.next(), best.next()) {
            (only, None) => only,
            (Some(first), Some(second)) => {
                let mut all = [first, second]
                    .into_iter()
                    .chain(best)
                    .filter(|it| self.awaits(*it, stream));
                all.next().filter(|_| all.next().is_none())
            }
            (None, _) => None,
        }
    }

    /// Whether all responses that a stream holds answer calls in flight on a connection.
    fn awaits(&self, connection: ConnectionId, stream: &Track) -> bool {
        let State::Unjudged(suspect) = &stream.state else {
            return false;
        };
        let Some((_, has)) = self.half_stream(connection) else {
            return false;
        };
        let Some(connection) = self.connections.get(&connection) else {
            return false;
        };
        let requests = match has {
            Direction::ClientToServer => &connection.from_client,
            Direction::ServerToClient => &connection.from_server,
        };
        let mut responses = suspect
            .held
            .iter()
            .filter(|held| matches!(rpc::kind(&held.envelope), Kind::Result | Kind::Error))
            .peekable();
        responses.peek().is_some()
            && responses.all(|held| rpc::id(&held.envelope).is_some_and(|id| requests.by_id(id).is_some()))
    }

    /// Whether a known connection lacks a stream with these peers.
    pub(crate) fn is_expected(&self, id: StreamId) -> bool {
        let Some(stream) = self.streams.get(&id) else {
            return false;
        };
        self.half.iter().any(|connection| {
            self.half_stream(*connection)
                .is_some_and(|(known, _)| known.id != id && relation(known.ends(), stream.ends()).is_some())
        })
    }

    fn join_if_lacking(&mut self, id: StreamId) -> bool {
        let Some(connection) = self.lacking(id, None) else {
            return false;
        };
        let Some((_, has)) = self.half_stream(connection) else {
            return false;
        };
        self.join(id, connection, has.reversed());
        true
    }

    fn join(&mut self, id: StreamId, to: ConnectionId, direction: Direction) {
        self.stop_holding(id);
        let (Some(stream), Some(connection)) = (self.streams.get_mut(&id), self.connections.get_mut(&to)) else {
            return;
        };
        let state = State::Watched {
            connection: to,
            direction,
        };
        let State::Unjudged(suspect) = std::mem::replace(&mut stream.state, state) else {
            return;
        };
        *connection.stream(direction) = Some(id);
        connection.carried_by[direction as usize] = Some(id);
        // What was in flight when observation began has ids that nobody knows.
        connection.incomplete |= suspect.incomplete || !stream.bytes.is_fresh();
        self.output.verdict(id, Verdict::Watch);
        if stream.framer.is_framed() {
            stream.report_framing(0, self.latest, &mut self.output);
        }
        self.name_peers(to);
        self.replay(id, suspect.held);
        if let Some(connection) = self.connections.get(&to)
            && connection.client_to_server.is_some()
            && connection.server_to_client.is_some()
        {
            self.half.retain(|half| *half != to);
        } else {
            self.find_other(to);
        }
        self.settle(id);
    }

    /// A direction of HTTP goes on as WebSocket.
    pub(crate) fn becomes_framed(&mut self, id: StreamId, to: ConnectionId, direction: Direction) {
        let (Some(stream), Some(connection)) = (self.streams.get_mut(&id), self.connections.get_mut(&to)) else {
            return;
        };
        stream.framer = Framing::WebSocket(Box::new(Frames::new(direction)));
        stream.state = State::Watched {
            connection: to,
            direction,
        };
        *connection.stream(direction) = Some(id);
        connection.carried_by[direction as usize] = Some(id);
        connection.incomplete = false;
        self.output.verdict(id, Verdict::Watch);
    }

    /// Looks for the direction that a connection lacks: among the streams that hold messages, and
    /// among those that were given up before anybody knew what they belong to.
    fn find_other(&mut self, connection: ConnectionId) {
        for id in self.holding.clone() {
            if self.lacking(id, None) == Some(connection) && self.join_if_lacking(id) {
                return;
            }
        }
        let Some((known, _)) = self.half_stream(connection) else {
            return;
        };
        let mut related: Vec<StreamId> = Vec::new();
        for process in known.writers.all().iter().chain(known.readers.all()) {
            for id in self.used.get(process).into_iter().flatten() {
                let given_up = self.streams.get(id).is_some_and(|other| {
                    matches!(other.state, State::Ignored { again: false })
                        && relation(known.ends(), other.ends()).is_some()
                });
                if given_up && !related.contains(id) {
                    related.push(*id);
                }
            }
        }
        for id in related {
            self.look_again(id);
        }
    }

    fn look_again(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.framer.start_over();
            stream.state = State::Unjudged(Box::new(Suspect::again()));
            self.output.verdict(id, Verdict::LookAgain);
        }
    }

    /// A process was seen on a side of a stream for the first time.
    pub(crate) fn new_user(&mut self, id: StreamId, process: ProcessId) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let streams = self.used.entry(process).or_default();
        if !streams.contains(&id) {
            streams.push(id);
        }
        match &stream.state {
            State::Watched { connection, .. } => {
                let connection = *connection;
                self.name_peers(connection);
                if self.half.contains(&connection) {
                    self.find_other(connection);
                }
            }
            State::Unjudged(suspect) if !suspect.held.is_empty() => {
                self.join_if_lacking(id);
            }
            State::Ignored { again: false } if self.is_expected(id) => self.look_again(id),
            State::Web { direction, .. } => {
                let users = match direction {
                    Direction::ClientToServer => &stream.readers,
                    Direction::ServerToClient => &stream.writers,
                };
                if users.all().contains(&process) {
                    self.output.serves(process);
                }
            }
            State::Unjudged(_) | State::Ignored { .. } => {}
        }
    }

    /// Who the peers are: whoever used the streams last.
    pub(crate) fn name_peers(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let stream = |id: Option<StreamId>| id.and_then(|id| self.streams.get(&id));
        let (requests, responses) = (stream(connection.client_to_server), stream(connection.server_to_client));
        let writer = |stream: Option<&Box<Track>>| stream.and_then(|stream| stream.writers.latest());
        let reader = |stream: Option<&Box<Track>>| stream.and_then(|stream| stream.readers.latest());
        let client = writer(requests).or(reader(responses));
        let server = reader(requests).or(writer(responses));
        connection.client.process = client.or(connection.client.process);
        connection.server.process = server.or(connection.server.process);
        if let Some(server) = connection.server.process {
            self.output.serves(server);
        }
    }
}

/// Whether a stream has shown that it answers: by a response, or by what only servers send.
fn answers(stream: &Track) -> bool {
    match &stream.state {
        State::Unjudged(suspect) => suspect.answers || suspect.is_mcp,
        State::Watched { .. } | State::Web { .. } | State::Ignored { .. } => false,
    }
}
