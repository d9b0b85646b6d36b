//! One stream with everything that is known of it.

use std::collections::VecDeque;

use crate::connection::{Connection, Conversations, Part, Ticket, note};
use crate::early::Early;
use crate::framing::Framing;
use crate::limits::Limits;
use crate::ndjson::{Framer, Item, Junk};
use crate::output::Output;
use crate::pairing::Seen;
use crate::recognise::{self, Held, Sign, Suspect};
use crate::slab::Slot;
use crate::stream::{ByteStream, Gap};
use crate::timeline::{Span, Timeline, Wait};
use crate::users::{Ends, Users};
use crate::{
    Carrier, ConnectionId, Direction, Fault, FaultKind, Loss, Nanos, PairId, ProcessId, Side, StreamId, Transfer,
};

/// One direction of bytes with all that is known of it.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) id: StreamId,
    pub(crate) pair: Option<PairId>,
    pub(crate) carrier: Carrier,
    /// Stand for the addresses of the writer's and of the reader's socket.
    pub(crate) addresses: Option<[u64; 2]>,
    pub(crate) bytes: ByteStream,
    pub(crate) framer: Framing,
    pub(crate) written: Timeline<Ticket>,
    pub(crate) read: Timeline<Ticket>,
    pub(crate) writers: Users,
    pub(crate) readers: Users,
    pub(crate) state: State,
    /// Answered calls whose response came on this stream, with the time it came.
    pub(crate) answered: VecDeque<Answered>,
    pub(crate) timer: Option<Nanos>,
    /// A side was waited for in vain: it is not worth waiting again until it shows.
    pub(crate) one_sided: bool,
    /// The reader has seen the end.
    pub(crate) ended: bool,
    /// Another framing was reported.
    pub(crate) framing_reported: bool,
    /// Faults reported.
    pub(crate) reported: u32,
    /// Responses whose requests have not come.
    pub(crate) early: Option<Box<Early>>,
}

/// A call whose response has come, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) connection: ConnectionId,
    pub(crate) slot: Slot,
    pub(crate) since: Nanos,
}

#[derive(Debug)]
pub(crate) enum State {
    Unjudged(Box<Suspect>),
    Watched {
        connection: ConnectionId,
        direction: Direction,
    },
    /// A direction of a connection that carries HTTP.
    Web {
        link: PairId,
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

impl Track {
    pub(crate) fn new(t: &Transfer<'_>) -> Self {
        let bytes = ByteStream::new(t);
        Self {
            id: t.stream,
            pair: t.pair,
            carrier: t.carrier,
            addresses: t.ends,
            framer: Framing::Lines(Box::new(Framer::new(!bytes.is_fresh()))),
            bytes,
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
            early: None,
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
            State::Watched { connection, direction } => Some((connection, direction)),
            _ => None,
        }
    }

    /// Bytes that wait for what completes them.
    pub(crate) fn pending(&self) -> u64 {
        let opening = match &self.state {
            State::Unjudged(suspect) => suspect.opening.as_ref().map_or(0, |(_, kept)| kept.len() as u64),
            _ => 0,
        };
        self.framer.pending() + opening
    }

    /// Whose requests the stream carries, once that is known.
    pub(crate) fn direction(&self) -> Option<Direction> {
        match self.state {
            State::Watched { direction, .. } | State::Web { direction, .. } => Some(direction),
            _ => None,
        }
    }

    /// A message of this stream, with what is known of its writing.
    pub(crate) fn seen(&self, start: u64, end: u64, truncated: bool, now: Nanos) -> Seen {
        let written = self.written.at_position(start, self.bytes.alignment.writer_shift());
        let read = || self.read.at_position(start, self.bytes.alignment.reader_shift());
        let at = written
            .map(|span| span.entered)
            .or_else(|| read().map(|span| span.exited))
            .unwrap_or(now);
        let process = written.map(|span| span.process).or_else(|| self.writers.latest());
        Seen {
            stream: self.id,
            start,
            end,
            bytes: end - start,
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
    pub(crate) fn item(
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
                bytes,
                truncated,
                cut,
            } => {
                if cut {
                    output.stats.messages_cut += 1;
                    connection.lost_bytes();
                }
                output.stats.messages_truncated += u64::from(truncated);
                let seen = Seen {
                    bytes,
                    ..self.seen(start, end, truncated, now)
                };
                let envelope = self.framer.envelope();
                if !connection.puts_off(self.id, &mut self.early, direction, envelope, seen, &output.limits) {
                    let part = connection.message(direction, envelope, seen, None, &mut self.reported, output);
                    self.await_instants(connection.id, part, seen, now, output);
                }
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

    pub(crate) fn await_instants(
        &mut self,
        connection: ConnectionId,
        part: Option<(Slot, Part)>,
        seen: Seen,
        now: Nanos,
        output: &Output,
    ) {
        let Some((slot, part)) = part else { return };
        let what = Ticket { connection, slot, part };
        let wait = Wait {
            start: seen.start,
            end: seen.end,
            what,
        };
        self.written.wait(wait, &output.limits);
        self.read.wait(wait, &output.limits);
        if part == Part::Response {
            self.answered.push_back(Answered {
                connection,
                slot,
                since: now,
            });
        }
    }

    /// Tells a conversation which sides of this direction are in view.
    pub(crate) fn show_sides(&self, connection: &mut Connection, direction: Direction) {
        let unaligned = self.read.is_seen() && self.bytes.alignment.confirmed_reader_shift().is_none();
        connection.sides_seen[direction as usize] = (self.written.is_seen(), self.read.is_seen());
        match direction {
            Direction::ClientToServer => connection.unaligned_requests = unaligned,
            Direction::ServerToClient => connection.unaligned_responses = unaligned,
        }
    }

    /// Finds instants, emits what is complete, forgets what nobody waits for.
    pub(crate) fn settle(&mut self, among: &mut impl Conversations, direction: Direction, output: &mut Output) {
        let written = self.bytes.alignment.writer_shift();
        while let Some((wait, ends)) = self.written.take_settled(Some(written)) {
            let Ticket { connection, slot, part } = wait.what;
            if let Some(connection) = among.conversation(connection) {
                connection.written(slot, part, ends);
                self.show_sides(connection, direction);
            }
        }
        while let Some((wait, ends)) = self.read.take_settled(self.bytes.alignment.confirmed_reader_shift()) {
            let Ticket { connection, slot, part } = wait.what;
            if let Some(connection) = among.conversation(connection) {
                connection.read(slot, part, ends);
                self.show_sides(connection, direction);
            }
        }
        while let Some(&Answered { connection, slot, .. }) = self.answered.front() {
            let Some(connection) = among.conversation(connection) else {
                self.answered.pop_front();
                continue;
            };
            let Some(it) = connection.calls.get(slot) else {
                self.answered.pop_front();
                continue;
            };
            let written = it.response_written || (self.one_sided && !self.written.is_seen());
            let read = it.response_read || (self.one_sided && !self.read.is_seen());
            if !(written && read) {
                break;
            }
            self.show_sides(connection, direction);
            connection.complete(slot, output);
            self.answered.pop_front();
        }
    }

    pub(crate) fn user(&self, t: &Transfer<'_>) -> Option<ProcessId> {
        match t.side {
            Side::Writer => self.writers.latest(),
            Side::Reader => self.readers.latest(),
        }
    }

    /// Takes a piece of a recognised stream by a known process.
    pub(crate) fn watched_piece(
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
        self.prune(None);
    }

    pub(crate) fn moved(&mut self, side: Side, span: Span, limits: &Limits) {
        match side {
            Side::Writer => self.written.push(span, limits),
            Side::Reader => self.read.push(span, limits),
        }
    }

    pub(crate) fn watched_bytes(
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
            let (taken, item) = self.framer.push(position + at as u64, &bytes[at..], &output.limits);
            at += taken;
            if let Some(item) = item {
                self.item(item, to, direction, now, output);
            }
        }
    }

    pub(crate) fn watched_gap(
        &mut self,
        gap: Gap,
        to: &mut Connection,
        direction: Direction,
        now: Nanos,
        output: &mut Output,
    ) {
        output.stats.bytes_missing = output.stats.bytes_missing.saturating_add(gap.len);
        if let Some(item) = self.framer.gap(gap.start, gap.len, gap.syscall, &output.limits) {
            self.item(item, to, direction, now, output);
        }
        if !self.framer.in_tail() {
            to.lost_bytes();
        }
    }

    /// Sets the timer of the first answered call; returns when it has to fire, when it is new.
    pub(crate) fn arm(&mut self, among: &mut impl Conversations, limits: &Limits) -> Option<Nanos> {
        if self.timer.is_none() {
            self.timer = self.deadline(among, limits);
            return self.timer;
        }
        None
    }

    /// Forgets the syscalls before everything that is still of interest, on HTTP before `keep`.
    pub(crate) fn prune(&mut self, keep: Option<u64>) {
        let open = keep.or_else(|| self.framer.open_since());
        let mut keep = open.unwrap_or(self.bytes.cursor());
        if let State::Unjudged(suspect) = &self.state
            && let Some(held) = suspect.held.front()
        {
            keep = keep.min(held.seen.start);
        }
        if let Some(held) = self.early.as_ref().and_then(|early| early.front()) {
            keep = keep.min(held.seen.start);
        }
        self.written.prune(keep, self.bytes.alignment.writer_shift());
        self.read.prune(keep, self.bytes.alignment.reader_shift());
        if let State::Web { .. } = self.state {
            self.written.rest();
            self.read.rest();
            if self.answered.is_empty() {
                self.answered = VecDeque::new();
            }
        }
    }

    /// When the first answered call has waited long enough.
    pub(crate) fn deadline(&self, among: &mut impl Conversations, limits: &Limits) -> Option<Nanos> {
        let Answered {
            connection,
            slot,
            since,
        } = *self.answered.front()?;
        let it = among.conversation(connection)?.calls.get(slot)?;
        let watched = (!it.response_read && self.read.is_seen()) || (!it.response_written && self.written.is_seen());
        let wait = if watched {
            limits.seen_side_wait
        } else {
            limits.unseen_side_wait
        };
        Some(since.saturating_add(wait))
    }
}

impl Track {
    /// Takes an item of a stream that is not recognised yet.
    pub(crate) fn judge(&mut self, item: Item, now: Nanos, output: &mut Output) -> Option<Action> {
        match item {
            Item::Message {
                start, end, truncated, ..
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
                output.stats.held_dropped += suspect.hold(Held { envelope, seen }, sign, &output.limits);
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
