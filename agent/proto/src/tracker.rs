//! The whole: transfers and exits in, events out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use crate::connection::{Connection, Part};
use crate::hash::Seeded;
use crate::limits::Limits;
use crate::ndjson::{Framer, Item, Junk};
use crate::output::Output;
use crate::pairing::Seen;
use crate::recognise::{self, Held, Sign, Suspect};
use crate::slab::Slot;
use crate::stats::Stats;
use crate::stream::{ByteStream, Gap};
use crate::timeline::{Span, Timeline, Wait};
use crate::users::{Ends, Users};
use crate::{
    Carrier, ConnectionId, Content, Direction, Event, Fault, FaultKind, Nanos, PairId, ProcessId,
    Side, StreamId, Transfer, Verdict,
};
use crate::{Loss, connection::note};

/// Follows every stream of a host and reports the calls on those that carry MCP.
#[derive(Debug)]
pub struct Tracker {
    pub(crate) streams: HashMap<StreamId, Box<Stream>, Seeded>,
    pub(crate) connections: HashMap<ConnectionId, Box<Connection>, Seeded>,
    /// Streams by the processes that use them.
    pub(crate) used: HashMap<ProcessId, Vec<StreamId>, Seeded>,
    /// Connections that lack a direction.
    pub(crate) half: Vec<ConnectionId>,
    /// Streams that hold messages until they belong to a connection.
    pub(crate) holding: Vec<StreamId>,
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
}

/// One direction of bytes with all that is known of it.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) pair: Option<PairId>,
    pub(crate) carrier: Carrier,
    pub(crate) bytes: ByteStream,
    pub(crate) framer: Framer,
    pub(crate) written: Timeline<(Slot, Part)>,
    pub(crate) read: Timeline<(Slot, Part)>,
    pub(crate) writers: Users,
    pub(crate) readers: Users,
    pub(crate) state: State,
    /// Answered calls whose response came on this stream, with the time it came.
    pub(crate) answered: VecDeque<(Slot, Nanos)>,
    pub(crate) timer: Option<Nanos>,
    /// A side was waited for in vain: it is not worth waiting again until it shows.
    pub(crate) one_sided: bool,
    /// The reader has seen the end.
    pub(crate) ended: bool,
    /// Another framing was reported.
    pub(crate) framing_reported: bool,
    /// Faults reported.
    pub(crate) reported: u32,
}

#[derive(Debug)]
pub(crate) enum State {
    Unjudged(Box<Suspect>),
    Watched {
        connection: ConnectionId,
        direction: Direction,
    },
    Ignored {
        again: bool,
    },
}

/// What a piece of an unjudged stream calls for.
pub(crate) enum Action {
    Join(Direction),
    Held,
    Ignore,
}

impl Stream {
    fn new(t: &Transfer<'_>) -> Self {
        Self {
            id: t.stream,
            pair: t.pair,
            carrier: t.carrier,
            bytes: ByteStream::new(t.fresh),
            framer: Framer::new(!t.fresh),
            written: Timeline::new(),
            read: Timeline::new(),
            writers: Users::default(),
            readers: Users::default(),
            state: State::Unjudged(Box::default()),
            answered: VecDeque::new(),
            timer: None,
            one_sided: false,
            ended: false,
            framing_reported: false,
            reported: 0,
        }
    }

    pub(crate) fn ends(&self) -> Ends<'_> {
        Ends {
            pair: self.pair,
            carrier: self.carrier,
            writers: &self.writers,
            readers: &self.readers,
        }
    }

    pub(crate) fn connection(&self) -> Option<(ConnectionId, Direction)> {
        match self.state {
            State::Watched {
                connection,
                direction,
            } => Some((connection, direction)),
            _ => None,
        }
    }

    /// A message of this stream, with what is known of its writing.
    fn seen(&self, start: u64, end: u64, truncated: bool, now: Nanos) -> Seen {
        let written = self
            .written
            .at_position(start, self.bytes.alignment.writer_shift());
        let read = || {
            self.read
                .at_position(start, self.bytes.alignment.reader_shift())
        };
        let at = written
            .map(|span| span.entered)
            .or_else(|| read().map(|span| span.exited))
            .unwrap_or(now);
        let process = written
            .map(|span| span.process)
            .or_else(|| self.writers.latest());
        Seen {
            stream: self.id,
            start,
            end,
            truncated,
            at,
            process,
        }
    }

    /// Nobody will use this stream any more, as far as can be known.
    pub(crate) fn is_finished(&self) -> bool {
        let no_writer = self.writers.are_gone() || self.writers.all().is_empty();
        let no_reader = self.ended || self.readers.all().is_empty();
        self.readers.are_gone() || (no_writer && no_reader)
    }

    /// A call is emitted without what is not known of its response.
    pub(crate) fn give_up_waiting(&mut self, slot: Slot, connection: &mut Connection) {
        let Some(it) = connection.calls.get_mut(slot) else {
            return;
        };
        let unseen_read = !it.response_read && !self.read.is_seen();
        let unseen_write = !it.response_written && !self.written.is_seen();
        self.one_sided |= unseen_read || unseen_write;
        // What is not aligned is noted when the call is emitted.
        let aligned = self.bytes.alignment.confirmed_reader_shift().is_some();
        if !it.response_read && self.read.is_seen() && aligned {
            note(&mut it.call.loss, Loss::ResponseUnread);
        }
    }

    fn fault(&mut self, kind: FaultKind, start: u64, bytes: u64, now: Nanos, output: &mut Output) {
        let Seen { at, process, .. } = self.seen(start, start, false, now);
        let connection = self.connection().map(|(connection, _)| connection);
        let fault = Fault {
            kind,
            at,
            stream: self.id,
            connection,
            process,
            bytes,
        };
        output.fault(&mut self.reported, fault);
    }

    pub(crate) fn count(&mut self, output: &mut Output) {
        let (parsed, skipped) = self.framer.take_counts();
        output.stats.bytes_parsed += parsed;
        output.stats.bytes_skipped += skipped;
    }

    /// Takes an item of a recognised stream.
    fn item(
        &mut self,
        item: Item,
        connection: &mut Connection,
        direction: Direction,
        now: Nanos,
        output: &mut Output,
    ) {
        match item {
            Item::Message {
                start,
                end,
                truncated,
                cut,
            } => {
                if cut {
                    output.stats.messages_cut += 1;
                    connection.lost_bytes();
                }
                output.stats.messages_truncated += u64::from(truncated);
                let seen = self.seen(start, end, truncated, now);
                let part = connection.message(
                    direction,
                    self.framer.envelope(),
                    seen,
                    &mut self.reported,
                    output,
                );
                self.await_instants(part, seen, now, output);
            }
            Item::Junk { start, bytes, kind } => match kind {
                Junk::Text => {
                    output.stats.lines_polluted += 1;
                    self.fault(FaultKind::StdoutPollution, start, bytes, now, output);
                }
                Junk::Malformed => {
                    output.stats.lines_malformed += 1;
                    self.fault(FaultKind::MalformedFrame, start, bytes, now, output);
                }
                Junk::ContentLength => self.report_framing(start, now, output),
            },
            Item::Cut { .. } => {
                output.stats.messages_cut += 1;
                connection.lost_bytes();
            }
        }
    }

    pub(crate) fn report_framing(&mut self, start: u64, now: Nanos, output: &mut Output) {
        if !std::mem::replace(&mut self.framing_reported, true) {
            self.fault(FaultKind::ContentLengthFraming, start, 0, now, output);
        }
    }

    fn await_instants(
        &mut self,
        part: Option<(Slot, Part)>,
        seen: Seen,
        now: Nanos,
        output: &Output,
    ) {
        let Some(what) = part else { return };
        let wait = Wait {
            start: seen.start,
            end: seen.end,
            what,
        };
        self.written.wait(wait, &output.limits);
        self.read.wait(wait, &output.limits);
        if what.1 == Part::Response {
            self.answered.push_back((what.0, now));
        }
    }

    /// Finds instants, emits what is complete, forgets what nobody waits for.
    pub(crate) fn settle(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        output: &mut Output,
    ) {
        let unaligned =
            self.read.is_seen() && self.bytes.alignment.confirmed_reader_shift().is_none();
        match direction {
            Direction::ClientToServer => connection.unaligned_requests = unaligned,
            Direction::ServerToClient => connection.unaligned_responses = unaligned,
        }
        let written = self.bytes.alignment.writer_shift();
        while let Some((wait, ends)) = self.written.take_settled(Some(written)) {
            connection.written(wait.what, ends);
        }
        while let Some((wait, ends)) = self
            .read
            .take_settled(self.bytes.alignment.confirmed_reader_shift())
        {
            connection.read(wait.what, ends);
        }
        while let Some((slot, _)) = self.answered.front() {
            let Some(it) = connection.calls.get(*slot) else {
                self.answered.pop_front();
                continue;
            };
            let written = it.response_written || (self.one_sided && !self.written.is_seen());
            let read = it.response_read || (self.one_sided && !self.read.is_seen());
            if !(written && read) {
                break;
            }
            connection.complete(*slot, output);
            self.answered.pop_front();
        }
    }

    fn user(&self, t: &Transfer<'_>) -> Option<ProcessId> {
        match t.side {
            Side::Writer => self.writers.latest(),
            Side::Reader => self.readers.latest(),
        }
    }

    /// Takes a piece of a recognised stream by a known process.
    fn watched_piece(
        &mut self,
        t: &Transfer<'_>,
        to: &mut Connection,
        direction: Direction,
        output: &mut Output,
    ) {
        let Ok(span) = self.bytes.admit(t) else {
            return;
        };
        if let Some(span) = span {
            self.moved(t.side, span, &output.limits);
        }
        let placed = self.bytes.place(t);
        let bytes = t.content.bytes.get(placed.known..).unwrap_or_default();
        output.stats.bytes_duplicate += (t.content.bytes.len() - bytes.len()) as u64;
        if let Some(gap) = placed.before {
            self.watched_gap(gap, to, direction, t.exited, output);
        }
        self.watched_bytes(placed.position, bytes, to, direction, t.exited, output);
        if let Some(gap) = placed.after {
            self.watched_gap(gap, to, direction, t.exited, output);
        }
        self.count(output);
        self.settle(to, direction, output);
        self.prune();
    }

    fn moved(&mut self, side: Side, span: Span, limits: &Limits) {
        match side {
            Side::Writer => self.written.push(span, limits),
            Side::Reader => self.read.push(span, limits),
        }
    }

    fn watched_bytes(
        &mut self,
        position: u64,
        bytes: &[u8],
        to: &mut Connection,
        direction: Direction,
        now: Nanos,
        output: &mut Output,
    ) {
        let mut at = 0;
        while at < bytes.len() {
            let (taken, item) =
                self.framer
                    .push(position + at as u64, &bytes[at..], &output.limits);
            at += taken;
            if let Some(item) = item {
                self.item(item, to, direction, now, output);
            }
        }
    }

    fn watched_gap(
        &mut self,
        gap: Gap,
        to: &mut Connection,
        direction: Direction,
        now: Nanos,
        output: &mut Output,
    ) {
        output.stats.bytes_missing = output.stats.bytes_missing.saturating_add(gap.len);
        if let Some(item) = self.framer.gap(gap.start, gap.syscall, &output.limits) {
            self.item(item, to, direction, now, output);
        }
        if !self.framer.in_tail() {
            to.lost_bytes();
        }
    }

    /// Sets the timer of the first answered call; returns when it has to fire, when it is new.
    fn arm(&mut self, connection: &Connection, limits: &Limits) -> Option<Nanos> {
        if self.timer.is_none() {
            self.timer = self.deadline(connection, limits);
            return self.timer;
        }
        None
    }

    fn prune(&mut self) {
        let mut keep = self.framer.open_since().unwrap_or(self.bytes.cursor());
        if let State::Unjudged(suspect) = &self.state
            && let Some(held) = suspect.held.front()
        {
            keep = keep.min(held.seen.start);
        }
        self.written
            .prune(keep, self.bytes.alignment.writer_shift());
        self.read.prune(keep, self.bytes.alignment.reader_shift());
    }

    /// When the first answered call has waited long enough.
    pub(crate) fn deadline(&self, connection: &Connection, limits: &Limits) -> Option<Nanos> {
        let (slot, since) = self.answered.front()?;
        let it = connection.calls.get(*slot)?;
        let watched = (!it.response_read && self.read.is_seen())
            || (!it.response_written && self.written.is_seen());
        let wait = if watched {
            limits.seen_side_wait
        } else {
            limits.unseen_side_wait
        };
        Some(since.saturating_add(wait))
    }
}

impl Tracker {
    /// A tracker that keeps within `limits`.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            streams: HashMap::default(),
            connections: HashMap::default(),
            used: HashMap::default(),
            half: Vec::new(),
            holding: Vec::new(),
            ages: VecDeque::new(),
            timers: BinaryHeap::new(),
            output: Output::new(limits),
            next_connection: 0,
            latest: 0,
        }
    }

    /// The next conclusion. To be called until it gives none, after each input.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.output.poll()
    }

    /// Counters, as of now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let pending = self
            .streams
            .values()
            .map(|stream| stream.framer.pending())
            .sum();
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
        let Limits { stream_bytes, .. } = self.output.limits;
        let (offset, len) = (t.offset.min(stream_bytes), t.len.min(stream_bytes));
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
            && let State::Watched {
                connection,
                direction,
            } = stream.state
            && stream.user(t) == Some(t.process)
            && t.len > 0
            && let Some(connection) = self.connections.get_mut(&connection)
        {
            stream.watched_piece(t, connection, direction, &mut self.output);
            if let Some(deadline) = stream.arm(connection, &self.output.limits) {
                self.timers
                    .push(Reverse((deadline, Timer::Instants(t.stream))));
            }
            return;
        }
        if !self.streams.contains_key(&t.stream) {
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
        let new_user = users.note(t.process, output.limits.users_per_side);
        if new_user {
            stream.one_sided = false;
        }
        if matches!(stream.state, State::Ignored { .. }) {
            output.stats.bytes_skipped = output
                .stats
                .bytes_skipped
                .saturating_add(stream.bytes.pass(t));
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
            self.feed(t.stream, placed.position, bytes, t.exited);
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
        self.streams.insert(t.stream, Box::new(Stream::new(t)));
        self.ages.push_back(t.stream);
    }

    /// Gives bytes that are in place to the framer.
    fn feed(&mut self, id: StreamId, mut position: u64, mut bytes: &[u8], now: Nanos) {
        while !bytes.is_empty() {
            let Some(stream) = self.streams.get_mut(&id) else {
                return;
            };
            let output = &mut self.output;
            let (taken, action) = match &mut stream.state {
                State::Watched {
                    connection,
                    direction,
                } => {
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
                    let binary = stream.framer.in_junk()
                        && memchr::memchr(0, &bytes[..taken.min(64)]).is_some();
                    let action = if binary { Some(Action::Ignore) } else { None };
                    (
                        taken,
                        action.or_else(|| item.and_then(|item| stream.judge(item, now, output))),
                    )
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
        }
    }

    /// Takes an item that came without bytes: from the end of a stream.
    pub(crate) fn take(&mut self, id: StreamId, item: Item, now: Nanos) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let output = &mut self.output;
        let action = match &mut stream.state {
            State::Watched {
                connection,
                direction,
            } => {
                let direction = *direction;
                let Some(connection) = self.connections.get_mut(connection) else {
                    return;
                };
                stream.item(item, connection, direction, now, output);
                None
            }
            State::Unjudged(_) => stream.judge(item, now, output),
            State::Ignored { .. } => None,
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
            State::Watched {
                connection,
                direction,
            } => {
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
                let item = stream.framer.gap(gap.start, gap.syscall, &output.limits);
                item.and_then(|item| stream.judge(item, now, output))
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
        let open_junk = if stream.framer.in_junk() {
            stream.framer.pending()
        } else {
            0
        };
        // The reader's records come without content as soon as a writer is known.
        let starved = starved && (t.side == Side::Writer || !stream.written.is_seen());
        let limits = &self.output.limits;
        if let State::Unjudged(suspect) = &mut stream.state {
            if suspect.is_hopeless(open_junk, false, limits) {
                let expected = self.is_expected(t.stream);
                let limits = &self.output.limits;
                if let Some(stream) = self.streams.get(&t.stream)
                    && let State::Unjudged(suspect) = &stream.state
                    && suspect.is_hopeless(open_junk, expected, limits)
                {
                    self.act(t.stream, &Action::Ignore);
                    return;
                }
            }
            if let Some(stream) = self.streams.get_mut(&t.stream)
                && let State::Unjudged(suspect) = &mut stream.state
                && suspect.wants_more(starved, &self.output.limits)
            {
                self.output.verdict(t.stream, Verdict::LookAgain);
            }
        }
        self.settle(t.stream);
        // Only now: what is in place is in the framer as well.
        if let Some(stream) = self.streams.get_mut(&t.stream) {
            stream.prune();
        }
    }

    /// Finds instants for the calls of a stream and sets its timer.
    pub(crate) fn settle(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if let Some((connection, direction)) = stream.connection()
            && let Some(connection) = self.connections.get_mut(&connection)
        {
            stream.settle(connection, direction, &mut self.output);
            if let Some(deadline) = stream.arm(connection, &self.output.limits) {
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
            let part = connection.message(
                direction,
                &envelope,
                seen,
                &mut stream.reported,
                &mut self.output,
            );
            stream.await_instants(part, seen, self.latest, &self.output);
        }
    }
}

impl Stream {
    /// Takes an item of a stream that is not recognised yet.
    fn judge(&mut self, item: Item, now: Nanos, output: &mut Output) -> Option<Action> {
        match item {
            Item::Message {
                start,
                end,
                truncated,
                ..
            } => {
                let seen = self.seen(start, end, truncated, now);
                let sign = recognise::sign(self.framer.envelope());
                let framed = self.framer.is_framed();
                let State::Unjudged(suspect) = &mut self.state else {
                    return None;
                };
                if sign == Sign::Other {
                    suspect.strange(end - start, None);
                    return None;
                }
                // LSP: what its headers frame is not MCP.
                if framed && !matches!(sign, Sign::Proof(_)) {
                    return Some(Action::Ignore);
                }
                let envelope = Box::new(self.framer.envelope().clone());
                output.stats.held_dropped +=
                    suspect.hold(Held { envelope, seen }, sign, &output.limits);
                Some(match sign {
                    Sign::Proof(direction) => Action::Join(direction),
                    _ => Action::Held,
                })
            }
            Item::Junk { bytes, kind, .. } => {
                let State::Unjudged(suspect) = &mut self.state else {
                    return None;
                };
                suspect.strange(bytes, Some(kind));
                None
            }
            Item::Cut { .. } => None,
        }
    }
}
