//! How exchanges and connections end, and what that says of the calls in them.

use std::cmp::Reverse;
use std::sync::Arc;

use super::exchange::{Exchange, Posted};
use super::messages::Found;
use super::session::SessionKey;
use super::tracking::Place;
use super::{Media, Verb};
use crate::connection::note;
use crate::json::Envelope;
use crate::track::State;
use crate::tracker::{Timer, Tracker};
use crate::{Direction, Loss, Nanos, Outcome, PairId, StreamId, Transport};

/// The first revision in which leaving a response is a cancellation.
const LEAVING_CANCELS: &str = "2026-07-28";

/// A call whose response stream ended before its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unresumed {
    pub(crate) deadline: Nanos,
    posted: Posted,
    outcome: Outcome,
    at: Nanos,
}

impl Tracker {
    /// The message of a direction is complete, or will never be.
    pub(crate) fn end_message(&mut self, place: Place, cut: bool) {
        let limits = Arc::clone(&self.output.limits);
        let Some(link) = self.links.get_mut(&place.link) else {
            return;
        };
        let reset = cut && link.wires[place.direction as usize].was_reset();
        let Some(exchange) = link.exchange(place.direction, place.exchange) else {
            return;
        };
        let body = exchange.bodies[place.direction as usize].take();
        let was_asked = exchange.is_asked;
        exchange.is_obscure |= cut && body.is_some();
        // What goes on behind a gap and ends in order has told at the gap what may be missing.
        let lost = cut || body.as_ref().is_some_and(|body| body.is_lost());
        let answers = place.direction == Direction::ServerToClient;
        let missed = lost && exchange.is_obscure && answers && !link.closing.is_begun();
        if missed {
            self.answers_missed(place, true);
        }
        if let Some(mut body) = body {
            body.finish(&limits, &mut |envelope: &Envelope, found: Found| {
                self.found(place, envelope, found);
            });
        }
        let Some(link) = self.links.get_mut(&place.link) else {
            return;
        };
        let Some(exchange) = link.exchange(place.direction, place.exchange) else {
            return;
        };
        match place.direction {
            Direction::ClientToServer if cut && (was_asked || reset) => {
                // HTTP/2: the client wants no answer any more.
                if let Some(exchange) = link.remove(place.exchange) {
                    self.client_left(place.link, &exchange, place.now);
                }
            }
            Direction::ClientToServer => exchange.is_asked = true,
            // How the connection ended says how the exchange did.
            Direction::ServerToClient if cut && link.closing.is_begun() => link.end_answer(),
            Direction::ServerToClient => {
                link.end_answer();
                if let Some(exchange) = link.remove(place.exchange) {
                    self.conclude(place.link, &exchange, place.now);
                }
            }
        }
    }

    /// Answers to what was posted elsewhere may be among what is missing of a stream, and if it `is_lost`, among all
    /// that is to come.
    pub(crate) fn answers_missed(&mut self, place: Place, is_lost: bool) {
        let exchange = self
            .links
            .get_mut(&place.link)
            .and_then(|link| link.exchange(place.direction, place.exchange));
        if let Some(exchange) = exchange.filter(|it| it.posted.is_empty())
            && let Some(conversation) = exchange.conversation
            && let Some(connection) = self.connections.get_mut(&conversation)
        {
            connection.lost_answers(is_lost);
        }
    }

    /// The response is complete, or as complete as it will be.
    pub(crate) fn conclude(&mut self, pair: PairId, exchange: &Exchange, now: Nanos) {
        let Some(answer) = exchange.answer else {
            return self.abandon(pair, exchange, Outcome::HttpError, now);
        };
        let service = self.links.get(&pair).map_or(0, |link| link.service);
        if exchange.asked.verb == Verb::Delete
            && (200..300).contains(&answer.status)
            && let Some(token) = exchange.session()
        {
            let key = SessionKey {
                token: token.into(),
                service,
            };
            if let Some(id) = self.sessions.remove(&key) {
                self.end_conversation(id, Outcome::Abandoned);
            }
        }
        match answer.status {
            400.. => self.end_posted(&exchange.posted, Outcome::HttpError, None, now),
            // Accepted: the answer comes on another connection.
            202 => {}
            _ if answer.media == Media::EventStream && !exchange.is_obscure => {
                self.leave_dangling(exchange, Outcome::HttpError, now);
            }
            _ if exchange.is_obscure => {
                self.end_posted(&exchange.posted, Outcome::Pending, Some(Loss::Gap), now);
            }
            _ => self.end_posted(&exchange.posted, Outcome::HttpError, None, now),
        }
        let Some(link) = self.links.get_mut(&pair) else {
            return;
        };
        if !exchange.is_mcp {
            link.strange += 1;
            self.judge_link(pair);
        }
    }

    /// The client wants no answer any more.
    pub(crate) fn client_left(&mut self, link: PairId, exchange: &Exchange, at: Nanos) {
        self.abandon(link, exchange, Outcome::Abandoned, at);
    }

    /// The exchange ended without an answer.
    fn abandon(&mut self, link: PairId, exchange: &Exchange, outcome: Outcome, at: Nanos) {
        self.name_last(link, exchange);
        let version = exchange.asked.fields.protocol_version.as_deref();
        let cancels = outcome == Outcome::Abandoned && version.is_some_and(|version| version >= LEAVING_CANCELS);
        if cancels {
            self.end_posted(&exchange.posted, Outcome::Cancelled, None, at);
        } else if exchange.is_resumable || exchange.answer.is_some_and(|answer| answer.status == 202) {
            self.leave_dangling(exchange, outcome, at);
        } else {
            self.end_posted(&exchange.posted, outcome, None, at);
        }
    }

    /// Whoever has read a request without answering it has done so after it was found.
    fn name_last(&mut self, link: PairId, exchange: &Exchange) {
        if let Some(id) = exchange.conversation {
            self.name_ends(link, id);
        }
    }

    fn end_posted(&mut self, posted: &[Posted], outcome: Outcome, loss: Option<Loss>, at: Nanos) {
        for Posted { connection, slot } in posted {
            let Some(connection) = self.connections.get_mut(connection) else {
                continue;
            };
            let Some(it) = connection.calls.get_mut(*slot).filter(|it| it.answered.is_none()) else {
                continue;
            };
            if let Some(loss) = loss {
                note(&mut it.call.loss, loss);
            }
            connection.end(*slot, outcome, at, &mut self.output);
        }
    }

    /// The answers may still come, on a stream that resumes this one.
    fn leave_dangling(&mut self, exchange: &Exchange, outcome: Outcome, at: Nanos) {
        for posted in &exchange.posted {
            let deadline = at.saturating_add(self.output.limits.resume_wait);
            self.unresumed.push_back(Unresumed {
                deadline,
                posted: *posted,
                outcome,
                at,
            });
        }
    }

    /// Ends the calls whose streams nobody has resumed.
    pub(crate) fn end_unresumed(&mut self, now: Nanos) {
        while let Some(first) = self.unresumed.pop_front_if(|first| first.deadline <= now) {
            self.end_posted(&[first.posted], first.outcome, None, first.at);
        }
    }

    /// One side has closed its end of a connection.
    pub(crate) fn link_closed(&mut self, pair: PairId, direction: Direction, at: Nanos) {
        let Some(link) = self.links.get_mut(&pair) else {
            return;
        };
        let closed = match direction {
            Direction::ClientToServer => &mut link.closing.client_closed,
            Direction::ServerToClient => &mut link.closing.server_closed,
        };
        closed.get_or_insert(at);
        let streams = link.streams;
        if !std::mem::replace(&mut link.closing.waits, true) {
            let deadline = at.saturating_add(self.output.limits.exit_grace);
            self.timers.push(Reverse((deadline, Timer::Link(pair))));
        }
        self.retry_waiting(pair, true);
        let Some(stream) = streams[direction as usize] else {
            return;
        };
        while let Some(link) = self.links.get_mut(&pair)
            && let Some((key, part)) = link.wires[direction as usize].end(&self.output.limits)
        {
            self.http_part(stream, pair, direction, key, part, 0, at);
        }
    }

    /// The socket that writes `stream` has closed its side, whether or not all that it wrote was read.
    pub fn writer_closed(&mut self, stream: StreamId, at: Nanos) {
        if let Some(track) = self.streams.get(&stream)
            && let State::Web { link, direction } = track.state
            && let Some(link) = self.links.get_mut(&link)
            && direction == Direction::ClientToServer
        {
            link.closing.client_closed.get_or_insert(at);
        }
    }

    /// Time has passed since something happened to a connection.
    pub(crate) fn link_timeout(&mut self, pair: PairId, now: Nanos) {
        let patience = self.output.limits.early_wait;
        let Some(link) = self.links.get_mut(&pair) else {
            return;
        };
        link.has_timer = false;
        let overdue = link
            .first_waiting()
            .is_some_and(|waiting| waiting.since.saturating_add(patience) <= now);
        if overdue {
            self.retry_waiting(pair, true);
        } else if let Some(waiting) = link.first_waiting() {
            let deadline = waiting.since.saturating_add(patience);
            link.has_timer = true;
            self.timers.push(Reverse((deadline, Timer::Link(pair))));
        }
        let Some(link) = self.links.get_mut(&pair) else {
            return;
        };
        let closed = (link.closing.client_closed, link.closing.server_closed);
        if link.closing.waits && (closed.0.is_some() || closed.1.is_some()) {
            link.closing.waits = false;
            let exchanges = std::mem::take(&mut link.exchanges);
            for exchange in exchanges {
                match closed {
                    (Some(client), server) if server.is_none_or(|server| client <= server) => {
                        self.client_left(pair, &exchange, client);
                    }
                    (client, server) => {
                        let at = server.or(client).unwrap_or(now);
                        self.abandon(pair, &exchange, Outcome::HttpError, at);
                    }
                }
            }
            // Processes live longer than their connections.
            let streams = self.links.get(&pair).map_or([None, None], |link| link.streams);
            for stream in streams.into_iter().flatten() {
                self.flush_answered(stream);
                self.remove_stream(stream);
            }
        }
        self.remove_link_if_over(pair);
    }

    /// A process at one end has ended, and nobody else holds that end.
    pub(crate) fn link_end_exited(&mut self, pair: PairId, outcome: Outcome, at: Nanos) {
        let Some(link) = self.links.get_mut(&pair) else {
            return;
        };
        let mut conversations = link.conversations.clone();
        let left = link.closing.client_closed.filter(|_| outcome == Outcome::ClientExit);
        for exchange in std::mem::take(&mut link.exchanges) {
            // Who closes a connection and then ends has left before.
            match left {
                Some(left) => self.client_left(pair, &exchange, left),
                None => {
                    self.name_last(pair, &exchange);
                    self.end_posted(&exchange.posted, outcome, None, at);
                }
            }
            // Whoever has left has left all of the session, but only its exchanges name it.
            conversations.extend(exchange.conversation);
        }
        for id in conversations {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.end_unanswered(outcome, at, &mut self.output);
            }
        }
    }

    /// Forgets a connection, with what is in flight on it alone.
    pub(crate) fn close_link(&mut self, pair: PairId, at: Nanos) {
        self.retry_waiting(pair, true);
        for stream in self
            .links
            .get(&pair)
            .map_or([None, None], |link| link.streams)
            .into_iter()
            .flatten()
        {
            self.flush_answered(stream);
        }
        let Some(link) = self.links.remove(&pair) else {
            return;
        };
        for waiting in link.waiting.iter().flat_map(|waiting| waiting.iter()) {
            self.output.stats.bytes_skipped += waiting.bytes.len() as u64;
        }
        for exchange in link.exchanges {
            self.end_posted(&exchange.posted, Outcome::Pending, None, at);
        }
        for id in link.conversations {
            self.end_conversation(id, Outcome::Pending);
        }
    }

    /// A stream of a connection is gone.
    pub(crate) fn leave_link(&mut self, id: StreamId, pair: PairId) {
        if let Some(link) = self.links.get_mut(&pair) {
            for stream in &mut link.streams {
                if *stream == Some(id) {
                    *stream = None;
                }
            }
        }
        self.remove_link_if_over(pair);
    }

    fn remove_link_if_over(&mut self, pair: PairId) {
        let over = self
            .links
            .get(&pair)
            .is_some_and(|link| link.streams == [None, None] && !link.closing.waits);
        if over {
            self.close_link(pair, self.latest);
        }
    }

    /// A connection goes on as another protocol.
    pub(crate) fn switched(&mut self, place: Place) {
        let websocket = self
            .links
            .get_mut(&place.link)
            .and_then(|link| link.exchange(place.direction, place.exchange))
            .is_some_and(|exchange| exchange.asked.fields.websocket);
        if websocket {
            self.becomes_websocket(place);
        } else {
            self.give_link_up(place.link);
        }
    }

    /// From here on both directions carry messages in frames, as one conversation.
    fn becomes_websocket(&mut self, place: Place) {
        let id = self.open_conversation(place, Transport::WebSocket, None);
        let Some(mut link) = self.links.remove(&place.link) else {
            return;
        };
        let behind = link.behind_upgrade.take().map_or_else(Vec::new, |behind| *behind);
        for direction in [Direction::ClientToServer, Direction::ServerToClient] {
            let Some(stream) = link.streams[direction as usize] else {
                continue;
            };
            self.becomes_framed(stream, id, direction);
        }
        if let Some(requests) = link.streams[Direction::ClientToServer as usize] {
            for (position, bytes) in behind {
                self.feed(requests, position, &bytes, place.now);
            }
        }
        self.name_peers(id);
    }
}
