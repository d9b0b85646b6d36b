//! From messages in exchanges to calls in conversations.

use super::exchange::Posted;
use super::messages::Found;
use super::session::SessionKey;
use super::tracking::Place;
use super::{ResponseHead, Verb};
use crate::connection::{Connection, Part};
use crate::json::{Envelope, Field};
use crate::pairing::Seen;
use crate::recognise::{self, Sign};
use crate::rpc::{self, Kind};
use crate::tracker::Tracker;
use crate::{ConnectionId, Direction, Outcome, PairId, SessionToken, Transport, connection};

/// The status of a response to a request whose answer comes elsewhere.
const ACCEPTED: u16 = 202;

impl Tracker {
    /// Takes what a body was found to hold.
    pub(crate) fn found(&mut self, place: Place, envelope: &Envelope, found: Found) {
        let (extent, truncated) = match found {
            Found::Message { extent, truncated } => (extent, truncated),
            Found::Junk(bytes) => {
                let conversation = self.exchange_conversation(place);
                if conversation.is_some() && bytes > 0 {
                    self.output.stats.lines_malformed += 1;
                }
                return;
            }
            Found::Cut => {
                self.output.stats.messages_cut += 1;
                if let Some(connection) = self.exchange_conversation(place)
                    && let Some(connection) = self.connections.get_mut(&connection)
                {
                    connection.lost_bytes();
                }
                return;
            }
        };
        self.output.stats.messages_truncated += u64::from(truncated);
        if !self.is_mcp(place, envelope) {
            return;
        }
        let Some(stream) = self.streams.get(&place.stream) else {
            return;
        };
        let seen = Seen {
            bytes: extent.bytes,
            ..stream.seen(extent.start, extent.end, truncated, place.now)
        };
        self.take_message(place, envelope, seen);
    }

    /// Whether a message is MCP's. The first one that is makes its connection worth watching.
    fn is_mcp(&mut self, place: Place, envelope: &Envelope) -> bool {
        let sign = recognise::sign(envelope);
        let Some(link) = self.links.get_mut(&place.link) else {
            return false;
        };
        let (known, service) = (link.is_mcp, link.service);
        let Some(exchange) = link.exchange(place.direction, place.exchange) else {
            return false;
        };
        let asks_likely = exchange.asked.verb == Verb::Post && exchange.asked.fields.accepts_both;
        let in_session = || {
            exchange.session().is_some_and(|token| {
                let token = token.into();
                self.sessions.get(&SessionKey { token, service }).is_some()
            })
        };
        let is_mcp = match sign {
            Sign::Proof(_) | Sign::Mcp => true,
            Sign::Response | Sign::JsonRpc => {
                exchange.is_mcp || asks_likely || (known && sign == Sign::Response) || in_session()
            }
            Sign::Other => false,
        };
        exchange.is_mcp |= is_mcp;
        if is_mcp {
            link.is_mcp = true;
            self.watch_link(place.link);
        }
        is_mcp
    }

    fn exchange_conversation(&mut self, place: Place) -> Option<ConnectionId> {
        self.links
            .get_mut(&place.link)?
            .exchange(place.direction, place.exchange)?
            .conversation
    }

    fn take_message(&mut self, place: Place, envelope: &Envelope, seen: Seen) {
        let kind = rpc::kind(envelope);
        let Some(id) = self.conversation(place, envelope) else {
            return;
        };
        self.name_ends(place.link, id);
        let absolute = self
            .streams
            .get(&place.stream)
            .is_some_and(|stream| stream.bytes.is_absolute());
        let Some(link) = self.links.get_mut(&place.link) else {
            return;
        };
        let http_version = link.version();
        let Some(exchange) = link.exchange(place.direction, place.exchange) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(stream) = self.streams.get_mut(&place.stream) else {
            return;
        };
        // An error may name no request, or one of the server's invention: the exchange tells whom it answers.
        let mut posted = exchange.posted.iter().filter(|posted| posted.connection == id);
        let only = posted
            .next()
            .filter(|_| posted.next().is_none())
            .map(|posted| posted.slot);
        let meant = only.filter(|_| kind == Kind::Error && place.direction == Direction::ServerToClient);
        let part = connection.message(
            place.direction,
            envelope,
            seen,
            meant,
            &mut stream.reported,
            &mut self.output,
        );
        if kind == Kind::Notification && connection.web.as_ref().is_some_and(|web| web.token.is_none()) {
            return self.cancel_elsewhere(place, envelope, seen);
        }
        if let Some((slot, part)) = part
            && let Some(it) = connection.calls.get_mut(slot)
        {
            let call = &mut it.call;
            call.streams[place.direction as usize].get_or_insert(place.stream);
            if part == Part::Request {
                let fields = &exchange.asked.fields;
                let session = connection.web.as_ref().and_then(|web| web.token.clone());
                call.session = session.map(SessionToken);
                call.position = absolute.then_some(seen.start);
                call.http_version = Some(http_version);
                if place.direction == Direction::ClientToServer {
                    exchange.posted.push(Posted { connection: id, slot });
                    if call.protocol_version.is_none() {
                        call.protocol_version.clone_from(&fields.protocol_version);
                    }
                    if call.trace_context.is_none() {
                        call.trace_context.clone_from(&fields.trace_context);
                    } else {
                        call.ambient_context.clone_from(&fields.trace_context);
                    }
                }
            } else {
                let asked = exchange.posted.len();
                exchange
                    .posted
                    .retain(|posted| posted.slot != slot || posted.connection != id);
                if let Some(answer) = exchange.answer
                    && place.direction == Direction::ServerToClient
                {
                    if exchange.posted.len() < asked || exchange.asked.verb == Verb::Post {
                        call.http_status = Some(answer.status);
                    } else {
                        // The answer may overtake the response to its request.
                        call.http_status.get_or_insert(ACCEPTED);
                    }
                }
            }
        }
        stream.await_instants(id, part, seen, place.now, &self.output);
        self.settle(place.stream);
    }

    /// Without a session, a cancellation reaches its call by the client that made both.
    fn cancel_elsewhere(&mut self, place: Place, envelope: &Envelope, seen: Seen) {
        if envelope.bytes(Field::Method) != Some(b"notifications/cancelled") {
            return;
        }
        let (Some(id), Some(own)) = (rpc::token(envelope, Field::RequestId), self.links.get(&place.link)) else {
            return;
        };
        let same = self.links.values().filter(|link| link.service == own.service);
        let conversations = same.flat_map(|link| &link.conversations);
        let found = conversations.filter_map(|conversation| {
            let connection = self.connections.get(conversation)?;
            let slot = connection.from_client.by_id(id)?;
            let call = &connection.calls.get(slot)?.call;
            (call.client.process == seen.process).then_some((*conversation, slot))
        });
        let mut found = found.take(2);
        if let (Some((conversation, slot)), None) = (found.next(), found.next())
            && let Some(connection) = self.connections.get_mut(&conversation)
        {
            connection.end(slot, Outcome::Cancelled, seen.at, &mut self.output);
        }
    }

    /// The conversation that a message belongs to: its session's, else its connection's.
    fn conversation(&mut self, place: Place, envelope: &Envelope) -> Option<ConnectionId> {
        if let Some(known) = self.exchange_conversation(place) {
            return Some(known);
        }
        let link = self.links.get_mut(&place.link)?;
        let (service, current) = (link.service, link.conversations.last().copied());
        let exchange = link.exchange(place.direction, place.exchange)?;
        let legacy = exchange.asked.fields.session.is_none();
        let session = exchange.session().map(|token| SessionKey {
            token: token.into(),
            service,
        });
        let asks = envelope.bytes(Field::Method) == Some(b"initialize");
        let in_flight = |id: ConnectionId| {
            let originator = self.connections.get(&id).map(|connection| &connection.from_client);
            rpc::id(envelope).is_some_and(|rpc_id| originator.is_some_and(|it| it.by_id(rpc_id).is_some()))
        };
        let id = match session {
            Some(session) => {
                let transport = if legacy { Transport::Sse } else { Transport::Http };
                self.session(session, transport, place)
            }
            // Several clients may share a connection, and all count from the same number.
            None => match current.filter(|id| !asks && !in_flight(*id)) {
                Some(known) => known,
                None => {
                    let new = self.open_conversation(place, Transport::Http, None);
                    let conversations = &mut self.links.get_mut(&place.link)?.conversations;
                    if conversations.is_empty() {
                        // Mostly it stays alone.
                        conversations.reserve_exact(1);
                    }
                    conversations.push(new);
                    new
                }
            },
        };
        let link = self.links.get_mut(&place.link)?;
        link.exchange(place.direction, place.exchange)?.conversation = Some(id);
        Some(id)
    }

    /// Begins a conversation over HTTP.
    pub(crate) fn open_conversation(
        &mut self,
        place: Place,
        transport: Transport,
        session: Option<SessionKey>,
    ) -> ConnectionId {
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let stream = self.streams.get(&place.stream);
        let carrier = stream.map_or(crate::Carrier::Tcp, |stream| stream.carrier);
        let mut connection = Connection::new(id, carrier);
        // Which of its messages travel on connections that were never seen, nobody knows.
        connection.incomplete = true;
        connection.web = Some(connection::Web {
            transport,
            token: session.map(|session| session.token),
        });
        self.connections.insert(id, Box::new(connection));
        id
    }

    /// Tells a conversation who is at its ends: whoever used the connection last.
    pub(crate) fn name_ends(&mut self, link: PairId, id: ConnectionId) {
        let Some(link) = self.links.get(&link) else {
            return;
        };
        let stream = |id: Option<crate::StreamId>| id.and_then(|id| self.streams.get(&id));
        let (requests, responses) = (stream(link.streams[0]), stream(link.streams[1]));
        let client = requests
            .and_then(|stream| stream.writers.latest())
            .or_else(|| responses.and_then(|stream| stream.readers.latest()));
        let server = requests
            .and_then(|stream| stream.readers.latest())
            .or_else(|| responses.and_then(|stream| stream.writers.latest()));
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.client.process = client.or(connection.client.process);
            connection.server.process = server.or(connection.server.process);
        }
        if let Some(server) = server {
            self.output.serves(server);
        }
    }

    /// The head of a response has come: it may begin a session.
    pub(crate) fn note_answer(&mut self, place: Place, head: &ResponseHead) {
        let Some(link) = self.links.get_mut(&place.link) else {
            return;
        };
        let service = link.service;
        let Some(exchange) = link.exchange(Direction::ServerToClient, place.exchange) else {
            return;
        };
        for posted in &exchange.posted {
            if let Some(connection) = self.connections.get_mut(&posted.connection)
                && let Some(it) = connection.calls.get_mut(posted.slot)
            {
                it.call.http_status = Some(head.status);
            }
        }
        if let (Some(token), Some(conversation)) = (&head.fields.session, exchange.conversation)
            && exchange.session().is_none()
        {
            let session = SessionKey {
                token: (**token).into(),
                service,
            };
            link.conversations.retain(|owned| *owned != conversation);
            self.begin_session(session, conversation);
        }
    }

    /// An `endpoint` event tells where the messages of a legacy session are posted to.
    pub(crate) fn legacy_session(&mut self, place: Place, token: Box<str>) {
        let Some(link) = self.links.get_mut(&place.link) else {
            return;
        };
        let service = link.service;
        link.is_mcp = true;
        let id = self.session(
            SessionKey {
                token: token.into(),
                service,
            },
            Transport::Sse,
            place,
        );
        self.name_ends(place.link, id);
        if let Some(link) = self.links.get_mut(&place.link)
            && let Some(exchange) = link.exchange(place.direction, place.exchange)
        {
            exchange.conversation = Some(id);
            exchange.is_mcp = true;
        }
        self.watch_link(place.link);
    }
}
