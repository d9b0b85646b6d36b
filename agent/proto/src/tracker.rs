//! The whole: transfers and exits in, events out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use crate::connection::Connection;
use crate::hash::Seeded;
use crate::http::ending::Unresumed;
use crate::http::link::Link;
use crate::http::session::Sessions;
use crate::limits::Limits;
use crate::ndjson::Item;
use crate::output::Output;
use crate::recognise::Held;
use crate::stats::Stats;
use crate::stream::Gap;
use crate::track::{Action, State, Track};
use crate::{ConnectionId, Content, Event, Nanos, PairId, ProcessId, Side, StreamId, Transfer, Verdict};

/// Follows every stream of a host and reports the calls on those that carry MCP.
#[derive(Debug)]
pub struct Tracker {
    pub(crate) streams: HashMap<StreamId, Box<Track>, Seeded>,
    pub(crate) connections: HashMap<ConnectionId, Box<Connection>, Seeded>,
    /// Streams by the processes that use them.
    pub(crate) used: HashMap<ProcessId, Vec<StreamId>, Seeded>,
    /// The program that a forked process goes on with, as the first process that ran it.
    pub(crate) programs: HashMap<ProcessId, ProcessId, Seeded>,
    /// Connections that lack a direction.
    pub(crate) half: Vec<ConnectionId>,
    /// Streams that hold messages until they belong to a connection.
    pub(crate) holding: Vec<StreamId>,
    /// Connections that carry HTTP, by what their two streams have in common.
    pub(crate) links: HashMap<PairId, Box<Link>, Seeded>,
    pub(crate) sessions: Sessions,
    /// Calls whose response streams ended before their answers, the oldest first.
    pub(crate) unresumed: VecDeque<Unresumed>,
    /// Streams by age, for eviction.
    pub(crate) ages: VecDeque<StreamId>,
    pub(crate) timers: BinaryHeap<Reverse<(Nanos, Timer)>>,
    pub(crate) output: Output,
    pub(crate) next_connection: u64,
    pub(crate) latest: Nanos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Answered calls of the stream wait for their instants.
    Instants(StreamId),
    /// A stream of the connection has ended without a known reason.
    Ending(ConnectionId),
    /// A connection that carries HTTP has ended, or responses on it wait for their requests.
    Link(PairId),
    /// Everybody who wrote to the stream has ended, and its reader has not read the end.
    Deserted(StreamId),
}

impl Tracker {
    /// A tracker that keeps within `limits`.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            streams: HashMap::default(),
            connections: HashMap::default(),
            used: HashMap::default(),
            programs: HashMap::default(),
            half: Vec::new(),
            holding: Vec::new(),
            links: HashMap::default(),
            sessions: Sessions::default(),
            unresumed: VecDeque::new(),
            ages: VecDeque::new(),
            timers: BinaryHeap::new(),
            output: Output::new(limits),
            next_connection: 0,
            latest: 0,
        }
    }

    /// A process was created by `parent` and has not executed a program of its own: what it reads
    /// and writes belongs to its parent's conversations.
    pub fn forked(&mut self, parent: ProcessId, child: ProcessId) {
        let program = self.programs.get(&parent).copied().unwrap_or(parent);
        if self.programs.len() < self.output.limits.streams {
            self.programs.insert(child, program);
        }
    }

    /// Transfers went missing, nobody knows whose: every call in flight says so from now on.
    pub fn records_lost(&mut self) {
        for connection in self.connections.values_mut() {
            connection.lost_bytes();
        }
    }

    /// The next conclusion. To be called until it gives none, after each input.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.output.poll()
    }

    /// When the oldest of the calls in flight was asked.
    #[must_use]
    pub fn oldest_call(&self) -> Option<Nanos> {
        let calls = self
            .connections
            .values()
            .flat_map(|connection| connection.calls.slots());
        calls.map(|(_, it)| it.call.ended).min()
    }

    /// Counters, as of now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let lines: u64 = self.streams.values().map(|stream| stream.pending()).sum();
        let waiting: u64 = self.links.values().map(|link| link.waiting_bytes as u64).sum();
        let pending = lines + waiting;
        let stats = self.output.stats;
        let bytes = stats.bytes_parsed + stats.bytes_skipped + stats.bytes_missing + pending;
        Stats {
            bytes,
            bytes_pending: pending,
            ..stats
        }
    }

    /// Takes one data syscall, or one piece of it.
    pub fn transfer(&mut self, t: &Transfer<'_>) {
        self.latest = self.latest.max(t.exited);
        let most = self.output.limits.stream_bytes;
        if t.offset <= most && t.len <= most && t.content.at <= t.len {
            self.piece(t);
            self.unpark(t);
            self.link_relays();
            return;
        }
        let (offset, len) = (t.offset.min(most), t.len.min(most));
        let content = Content {
            at: t.content.at.min(len),
            ..t.content
        };
        let t = Transfer {
            offset,
            len,
            content,
            ..*t
        };
        self.piece(&t);
        self.unpark(&t);
        self.link_relays();
    }

    fn unpark(&mut self, t: &Transfer<'_>) {
        while let Some(stream) = self.streams.get_mut(&t.stream)
            && let Some(parked) = stream.bytes.unpark(t.side, false, &self.output.limits)
        {
            self.piece(&parked.transfer());
        }
    }

    pub(crate) fn piece(&mut self, t: &Transfer<'_>) {
        // Nearly all pieces are of known users of recognised streams.
        if let Some(stream) = self.streams.get_mut(&t.stream)
            && let State::Watched { connection, direction } = stream.state
            && stream.user(t) == Some(t.process)
            && t.len > 0
            && let Some(connection) = self.connections.get_mut(&connection)
        {
            stream.watched_piece(t, connection, direction, &mut self.output);
            if let Some(deadline) = stream.arm(&mut **connection, &self.output.limits) {
                self.timers.push(Reverse((deadline, Timer::Instants(t.stream))));
            }
            if let Some(early) = connection.early {
                self.retry_early(early, true);
            }
            return;
        }
        if !self.streams.contains_key(&t.stream) {
            if t.len == 0 {
                // The end of a stream that carried nothing, or that is done with.
                return;
            }
            self.open(t);
        }
        let Some(stream) = self.streams.get_mut(&t.stream) else {
            return;
        };
        let output = &mut self.output;
        let users = match t.side {
            Side::Writer => &mut stream.writers,
            Side::Reader => &mut stream.readers,
        };
        let program = self.programs.get(&t.process).copied().unwrap_or(t.process);
        let new_user = users.note(t.process, program, output.limits.users_per_side);
        if new_user {
            stream.one_sided = false;
        }
        if matches!(stream.state, State::Ignored { .. }) {
            output.stats.bytes_skipped = output.stats.bytes_skipped.saturating_add(stream.bytes.pass(t));
        } else if t.side == Side::Reader && t.len == 0 {
            self.end_of_stream(t.stream, t.exited);
        } else {
            let Ok(span) = stream.bytes.admit(t) else {
                return;
            };
            if let Some(span) = span {
                stream.moved(t.side, span, &output.limits);
            }
            let placed = stream.bytes.place(t);
            let bytes = t.content.bytes.get(placed.known..).unwrap_or_default();
            output.stats.bytes_duplicate += (t.content.bytes.len() - bytes.len()) as u64;
            let starved = t.last && t.len > 0 && t.content.bytes.is_empty() && t.content.at == 0;
            if let Some(gap) = placed.before {
                self.gap(t.stream, gap, t.exited);
            }
            self.feed_piece(t, placed.position, bytes);
            if let Some(gap) = placed.after {
                self.gap(t.stream, gap, t.exited);
            }
            self.after_piece(t, starved);
        }
        if new_user {
            self.new_user(t.stream, t.process);
        }
    }

    fn open(&mut self, t: &Transfer<'_>) {
        if self.streams.len() >= self.output.limits.streams {
            self.evict_stream();
        }
        self.streams.insert(t.stream, Box::new(Track::new(t)));
        self.ages.push_back(t.stream);
        self.open_on_link(t.stream);
    }

    /// Gives bytes that are in place to the framer.
    pub(crate) fn feed(&mut self, id: StreamId, mut position: u64, mut bytes: &[u8], now: Nanos) {
        while !bytes.is_empty() {
            let Some(stream) = self.streams.get_mut(&id) else {
                return;
            };
            let output = &mut self.output;
            let (taken, action) = match &mut stream.state {
                State::Watched { connection, direction } => {
                    let direction = *direction;
                    let Some(connection) = self.connections.get_mut(connection) else {
                        return;
                    };
                    stream.watched_bytes(position, bytes, connection, direction, now, output);
                    (bytes.len(), None)
                }
                State::Unjudged(suspect) => {
                    let (taken, item) = stream.framer.push(position, bytes, &output.limits);
                    suspect.captured(taken as u64);
                    let binary = stream.framer.in_junk() && memchr::memchr(0, &bytes[..taken.min(64)]).is_some();
                    let action = if binary { Some(Action::Ignore) } else { None };
                    (
                        taken,
                        action.or_else(|| item.and_then(|item| stream.judge(item, now, output))),
                    )
                }
                State::Web { link, direction } => {
                    let (link, direction) = (*link, *direction);
                    self.http_bytes(id, link, direction, position, bytes);
                    return;
                }
                State::Ignored { .. } => {
                    output.stats.bytes_skipped += bytes.len() as u64;
                    (bytes.len(), None)
                }
            };
            stream.count(output);
            bytes = &bytes[taken..];
            position += taken as u64;
            if let Some(action) = action {
                self.act(id, &action);
            }
            // After each line, so that it makes no difference how a syscall was captured.
            self.give_up_if_hopeless(id);
        }
    }

    /// Ignores a stream under judgement that has shown enough to be none of ours.
    fn give_up_if_hopeless(&mut self, id: StreamId) {
        let limits = &self.output.limits;
        let is_hopeless = |expected| {
            let Some(stream) = self.streams.get(&id) else {
                return false;
            };
            let State::Unjudged(suspect) = &stream.state else {
                return false;
            };
            let open_junk = if stream.framer.in_junk() {
                stream.framer.pending()
            } else {
                0
            };
            suspect.is_hopeless(open_junk, expected, limits)
        };
        if is_hopeless(false) && is_hopeless(self.is_expected(id)) {
            self.act(id, &Action::Ignore);
        }
    }

    /// Takes an item that came without bytes: from the end of a stream.
    pub(crate) fn take(&mut self, id: StreamId, item: Item, now: Nanos) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let output = &mut self.output;
        let action = match &mut stream.state {
            State::Watched { connection, direction } => {
                let direction = *direction;
                let Some(connection) = self.connections.get_mut(connection) else {
                    return;
                };
                stream.item(item, connection, direction, now, output);
                None
            }
            State::Unjudged(_) => stream.judge(item, now, output),
            State::Web { .. } | State::Ignored { .. } => None,
        };
        if let Some(action) = action {
            self.act(id, &action);
        }
    }

    pub(crate) fn gap(&mut self, id: StreamId, gap: Gap, now: Nanos) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let output = &mut self.output;
        let action = match &mut stream.state {
            State::Watched { connection, direction } => {
                let direction = *direction;
                let Some(connection) = self.connections.get_mut(connection) else {
                    return;
                };
                stream.watched_gap(gap, connection, direction, now, output);
                None
            }
            State::Unjudged(suspect) => {
                suspect.incomplete = true;
                output.stats.bytes_missing = output.stats.bytes_missing.saturating_add(gap.len);
                let item = stream.framer.gap(gap.start, gap.len, gap.syscall, &output.limits);
                item.and_then(|item| stream.judge(item, now, output))
            }
            State::Web { link, direction } => {
                let (link, direction) = (*link, *direction);
                self.http_gap(id, link, direction, gap);
                return;
            }
            State::Ignored { .. } => {
                output.stats.bytes_missing = output.stats.bytes_missing.saturating_add(gap.len);
                None
            }
        };
        stream.count(output);
        if let Some(action) = action {
            self.act(id, &action);
        }
    }

    fn after_piece(&mut self, t: &Transfer<'_>, starved: bool) {
        let Some(stream) = self.streams.get_mut(&t.stream) else {
            return;
        };
        // The reader's records come without content as soon as a writer is known.
        let starved = starved && (t.side == Side::Writer || !stream.written.is_seen());
        if matches!(stream.state, State::Unjudged(_)) {
            self.give_up_if_hopeless(t.stream);
            if let Some(stream) = self.streams.get_mut(&t.stream)
                && let State::Unjudged(suspect) = &mut stream.state
                && suspect.wants_more(starved, &self.output.limits)
            {
                self.output.verdict(t.stream, Verdict::LookAgain);
            }
        }
        if let Some(stream) = self.streams.get(&t.stream)
            && let State::Web { link, .. } = stream.state
        {
            self.grant_link(t.stream, link, t.content.bytes.len() as u64, starved);
        }
        self.settle(t.stream);
        // Only now: what is in place is in the framer as well.
        let keep = self.http_open_since(t.stream);
        if let Some(stream) = self.streams.get_mut(&t.stream) {
            stream.prune(keep);
        }
    }

    /// Finds instants for the calls of a stream and sets its timer.
    pub(crate) fn settle(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if let Some(direction) = stream.direction() {
            stream.settle(&mut self.connections, direction, &mut self.output);
            if let Some(deadline) = stream.arm(&mut self.connections, &self.output.limits) {
                self.timers.push(Reverse((deadline, Timer::Instants(id))));
            }
        }
    }

    pub(crate) fn replay(&mut self, id: StreamId, held: VecDeque<Held>) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let Some((connection, direction)) = stream.connection() else {
            return;
        };
        let Some(connection) = self.connections.get_mut(&connection) else {
            return;
        };
        for Held { envelope, seen } in held {
            let limits = &self.output.limits;
            if !connection.puts_off(id, &mut stream.early, direction, &envelope, seen, limits) {
                stream.message(&Held { envelope, seen }, connection, self.latest, &mut self.output);
            }
        }
        if let Some(early) = connection.early {
            self.retry_early(early, true);
        }
    }
}
