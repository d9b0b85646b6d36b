//! From bytes of HTTP to exchanges.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use super::body::Body;
use super::exchange::Exchange;
use super::link::Waiting;
use super::messages::Found;
use super::{Coding, ExchangeKey, Media, Part, RequestHead, ResponseHead, Verb};
use crate::json::Envelope;
use crate::stream::Gap;
use crate::track::State;
use crate::tracker::{Timer, Tracker};
use crate::{Direction, Nanos, PairId, StreamId, Verdict};

/// Where a part of HTTP was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) stream: StreamId,
    pub(crate) link: PairId,
    pub(crate) direction: Direction,
    /// The exchange that it belongs to, by the key of its request.
    pub(crate) exchange: ExchangeKey,
    pub(crate) now: Nanos,
}

impl Tracker {
    /// Takes bytes of a direction of HTTP.
    pub(crate) fn http_bytes(&mut self, id: StreamId, pair: PairId, direction: Direction, at: u64, bytes: &[u8]) {
        let now = self.latest;
        if let Some(link) = self.links.get_mut(&pair)
            && link.waiting.is_some()
            && direction == Direction::ServerToClient
        {
            self.await_request(pair, at, bytes, now);
            return;
        }
        self.http_parts(id, pair, direction, at, bytes);
        if direction == Direction::ClientToServer {
            self.retry_waiting(pair, false);
        }
    }

    fn http_parts(&mut self, id: StreamId, pair: PairId, direction: Direction, at: u64, bytes: &[u8]) {
        let now = self.latest;
        let limits = Arc::clone(&self.output.limits);
        let (mut at, mut bytes) = (at, bytes);
        loop {
            let Some(link) = self.links.get_mut(&pair) else {
                self.output.stats.bytes_skipped += bytes.len() as u64;
                return;
            };
            if direction == Direction::ServerToClient && link.is_early() && !link.is_overdue {
                self.await_request(pair, at, bytes, now);
                return;
            }
            if direction == Direction::ClientToServer && link.is_upgrading() {
                let kept = bytes.len().min(limits.opening_bytes.max(limits.tail_bytes));
                link.behind_upgrade
                    .get_or_insert_default()
                    .push((at, bytes[..kept].to_vec()));
                return;
            }
            let (taken, part) = link.wires[direction as usize].push(at, bytes, &limits);
            at += taken as u64;
            bytes = &bytes[taken..];
            let skipped = link.wires[direction as usize].take_skipped();
            self.output.stats.bytes_parsed += taken as u64;
            self.output.stats.bytes_parsed -= skipped;
            self.output.stats.bytes_skipped += skipped;
            let Some((key, part)) = part else {
                self.output.stats.bytes_skipped += bytes.len() as u64;
                return;
            };
            let switches = part == Part::Switched;
            self.http_part(id, pair, direction, key, part, at, now);
            if switches {
                return self.feed(id, at, bytes, now);
            }
        }
    }

    /// Keeps bytes of the server's until the request has come that they answer.
    fn await_request(&mut self, pair: PairId, position: u64, bytes: &[u8], since: Nanos) {
        let Some(link) = self.links.get_mut(&pair) else {
            return;
        };
        link.waiting_bytes += bytes.len();
        link.waiting.get_or_insert_default().push_back(Waiting {
            position,
            bytes: bytes.to_vec(),
            since,
        });
        if link.waiting_bytes > self.output.limits.parked_bytes {
            self.retry_waiting(pair, true);
        } else if !std::mem::replace(&mut link.has_timer, true) {
            let deadline = since.saturating_add(self.output.limits.early_wait);
            self.timers.push(Reverse((deadline, Timer::Link(pair))));
        }
    }

    /// Looks again at what came before its request. What is `overdue` answers nothing that is known.
    pub(crate) fn retry_waiting(&mut self, pair: PairId, overdue: bool) {
        let Some(link) = self.links.get_mut(&pair) else {
            return;
        };
        let Some(id) = link.streams[Direction::ServerToClient as usize] else {
            return;
        };
        if link.waiting.is_none() || (link.is_early() && !overdue) {
            return;
        }
        link.is_overdue = overdue;
        link.waiting_bytes = 0;
        let waiting = link.waiting.take();
        for Waiting { position, bytes, .. } in waiting.into_iter().flat_map(|waiting| *waiting) {
            self.http_bytes(id, pair, Direction::ServerToClient, position, &bytes);
        }
        if let Some(link) = self.links.get_mut(&pair) {
            link.is_overdue = false;
        }
        self.settle(id);
    }

    /// Bytes of a direction of HTTP are missing.
    pub(crate) fn http_gap(&mut self, id: StreamId, pair: PairId, direction: Direction, gap: Gap) {
        self.output.stats.bytes_missing = self.output.stats.bytes_missing.saturating_add(gap.len);
        if direction == Direction::ServerToClient {
            self.retry_waiting(pair, true);
        }
        let limits = Arc::clone(&self.output.limits);
        let Some(link) = self.links.get_mut(&pair) else {
            return;
        };
        let end = gap.start + gap.len;
        let part = link.wires[direction as usize].gap(gap.start, gap.len, &limits);
        if let Some((key, part)) = part {
            self.http_part(id, pair, direction, key, part, end, self.latest);
            self.http_parts(id, pair, direction, end, &[]);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one part with where it was found")]
    pub(crate) fn http_part(
        &mut self,
        stream: StreamId,
        pair: PairId,
        direction: Direction,
        key: ExchangeKey,
        part: Part<'_>,
        end: u64,
        now: Nanos,
    ) {
        let place = |exchange| Place {
            stream,
            link: pair,
            direction,
            exchange,
            now,
        };
        match part {
            Part::Request(head) => return self.asked(place(key), head),
            Part::Response(head) => return self.answered(place(key), &head),
            _ => {}
        }
        let Some(link) = self.links.get_mut(&pair) else {
            return;
        };
        let Some(exchange) = link.exchange(direction, key) else {
            // Of a message that began before anybody looked.
            if direction == Direction::ServerToClient && matches!(part, Part::End | Part::Cut) {
                link.end_answer();
            }
            return;
        };
        let place = place(exchange.key);
        let side = direction as usize;
        match part {
            Part::Body(bytes) => {
                if let Some(body) = exchange.bodies[side].take() {
                    self.body_bytes(place, body, end - bytes.len() as u64, bytes);
                }
            }
            Part::Missing(len) => {
                let cut = exchange.bodies[side]
                    .as_mut()
                    .and_then(|body| body.missing(len, &self.output.limits));
                exchange.is_obscure |= cut.is_some();
                let is_lost = exchange.bodies[side].as_ref().is_some_and(|body| body.is_lost());
                if cut.is_some() {
                    self.answers_missed(place, is_lost);
                }
            }
            Part::Resumed => {
                if let Some(body) = &mut exchange.bodies[side] {
                    body.resumes();
                }
            }
            Part::End => self.end_message(place, false),
            Part::Cut => self.end_message(place, true),
            Part::Switched => self.switched(place),
            Part::Bad => {
                link.strange += 1;
                self.judge_link(pair);
            }
            Part::Request(_) | Part::Response(_) => {}
        }
    }

    /// A request begins.
    fn asked(&mut self, place: Place, head: Box<RequestHead>) {
        let (Some(link), Some(stream)) = (self.links.get_mut(&place.link), self.streams.get(&place.stream)) else {
            return;
        };
        let start = link.wires[place.direction as usize].head_start();
        let at = stream.seen(start, start, false, place.now).at;
        let mut exchange = Exchange::new(place.exchange, head, at);
        let fields = &exchange.asked.fields;
        let posts = exchange.asked.verb == Verb::Post && matches!(fields.media, Media::Json | Media::Unsaid);
        if posts {
            exchange.bodies[0] = Some(Box::new(Body::new(Media::Json, fields.coding)));
        }
        exchange.is_mcp = exchange.is_marked();
        // Every MCP client's POST says that it takes both; nobody else is known to.
        let likely = exchange.is_mcp || (posts && fields.accepts_both);
        link.is_mcp |= exchange.is_mcp;
        if link.exchanges.len() >= self.output.limits.exchanges {
            link.exchanges.pop_front();
            self.output.stats.held_dropped += 1;
        }
        if link.exchanges.is_empty() {
            // Mostly it stays alone.
            link.exchanges = VecDeque::with_capacity(1);
        }
        link.exchanges.push_back(exchange);
        if likely {
            self.watch_link(place.link);
        }
    }

    /// A response begins.
    fn answered(&mut self, place: Place, head: &ResponseHead) {
        let Some(stream) = self.streams.get(&place.stream) else {
            return;
        };
        let Some(link) = self.links.get_mut(&place.link) else {
            return;
        };
        let start = link.wires[1].head_start();
        let at = stream.seen(start, start, false, place.now).at;
        let Some(exchange) = link.begin_answer(place.exchange, at) else {
            return;
        };
        exchange.answered(head);
        let bodiless = exchange.asked.verb == Verb::Head;
        let media = match head.fields.media {
            Media::Unsaid => Media::Other,
            media => media,
        };
        if media != Media::Other && !bodiless {
            exchange.bodies[1] = Some(Box::new(Body::new(media, head.fields.coding)));
        }
        let key = exchange.key;
        if bodiless {
            link.wires[1].no_body();
        } else if media == Media::EventStream && head.fields.coding == Coding::Identity {
            link.wires[1].streams();
        }
        self.note_answer(Place { exchange: key, ..place }, head);
    }

    fn body_bytes(&mut self, place: Place, mut body: Box<Body>, at: u64, bytes: &[u8]) {
        let limits = Arc::clone(&self.output.limits);
        let before = body.notes.lost;
        body.push(at, bytes, &limits, &mut |envelope: &Envelope, found: Found| {
            self.found(place, envelope, found);
        });
        self.output.stats.bytes_undecoded += body.notes.lost - before;
        self.body_back(place, body);
    }

    /// Puts a body back, with what it told besides messages.
    fn body_back(&mut self, place: Place, mut body: Box<Body>) {
        let endpoint = body.notes.endpoint.take();
        let (resumable, lost) = (body.notes.resumable, body.notes.lost > 0);
        if let Some(link) = self.links.get_mut(&place.link)
            && let Some(exchange) = link.exchange(place.direction, place.exchange)
        {
            exchange.is_resumable |= resumable;
            exchange.is_obscure |= lost;
            exchange.bodies[place.direction as usize] = Some(body);
        }
        if let Some(session) = endpoint {
            self.legacy_session(place, session);
        }
    }

    /// Position from which the bytes of a direction of HTTP are still of interest.
    pub(crate) fn http_open_since(&self, id: StreamId) -> Option<u64> {
        let stream = self.streams.get(&id)?;
        let State::Web { link, direction } = stream.state else {
            return None;
        };
        let link = self.links.get(&link)?;
        let open = link.exchanges.iter().filter_map(|it| it.open_since(direction as usize));
        let waiting = link.first_waiting().filter(|_| direction == Direction::ServerToClient);
        let head = link.wires[direction as usize].open_head();
        open.chain(waiting.map(|waiting| waiting.position)).chain(head).min()
    }

    /// Asks for everything that the connection carries.
    pub(crate) fn watch_link(&mut self, pair: PairId) {
        if let Some(link) = self.links.get_mut(&pair)
            && link.suspect.take().is_some()
        {
            for stream in link.streams.into_iter().flatten() {
                self.output.verdict(stream, Verdict::Watch);
            }
        }
    }

    /// Gives a connection up that has carried enough that is not MCP.
    pub(crate) fn judge_link(&mut self, pair: PairId) {
        let limits = &self.output.limits;
        let hopeless = |strange: u32| strange >= limits.strange_exchanges;
        if let Some(link) = self.links.get(&pair)
            && !link.is_mcp
            && hopeless(link.strange)
        {
            self.give_link_up(pair);
        }
    }

    pub(crate) fn give_link_up(&mut self, pair: PairId) {
        let streams = self.links.get(&pair).map_or([None, None], |link| link.streams);
        self.close_link(pair, self.latest);
        for id in streams.into_iter().flatten() {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.state = State::Ignored { again: true };
                self.output.verdict(id, Verdict::Ignore);
            }
        }
    }

    /// Asks for more of a connection that nobody has judged, or gives it up.
    pub(crate) fn grant_link(&mut self, id: StreamId, pair: PairId, bytes: u64, starved: bool) {
        let Some(link) = self.links.get_mut(&pair) else {
            return;
        };
        let Some(suspect) = &mut link.suspect else {
            return;
        };
        suspect.captured(bytes);
        if suspect.is_hopeless(0, link.is_mcp, &self.output.limits) {
            self.give_link_up(pair);
        } else if suspect.wants_more(starved, &self.output.limits) {
            self.output.verdict(id, Verdict::LookAgain);
        }
    }
}
