//! How streams, connections and observation end.

use std::cmp::Reverse;

use crate::connection::{Connection, note};
use crate::track::{Answered, State};
use crate::tracker::{Timer, Tracker};
use crate::{ConnectionId, Direction, Fault, FaultKind, Loss, Nanos, Outcome, ProcessId, Side, StreamId};

impl Tracker {
    /// A process has ended. Its last transfers are to be given before.
    pub fn process_exited(&mut self, process: ProcessId, at: Nanos) {
        self.latest = self.latest.max(at);
        // What a forked child used, the process that it came from goes on with.
        let heir = self.programs.remove(&process);
        self.output.servers.remove(&process);
        let heir = heir.filter(|heir| self.used.contains_key(heir));
        let mut touched = Vec::new();
        let mut gone = Vec::new();
        let used = self.used.remove(&process).unwrap_or_default();
        if let Some(streams) = heir.and_then(|heir| self.used.get_mut(&heir)) {
            let new: Vec<_> = used.iter().copied().filter(|id| !streams.contains(id)).collect();
            streams.extend(new);
        }
        for id in used.iter().copied() {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            let writer_gone = stream.writers.exited(process, heir);
            let reader_gone = stream.readers.exited(process, heir);
            if let Some((connection, direction)) = stream.connection()
                && let Some(connection) = self.connections.get_mut(&connection)
            {
                let ending = connection.ending();
                let (writer, reader) = match direction {
                    Direction::ClientToServer => (&mut ending.client_exited, &mut ending.server_exited),
                    Direction::ServerToClient => (&mut ending.server_exited, &mut ending.client_exited),
                };
                if writer_gone {
                    writer.get_or_insert(at);
                }
                if reader_gone {
                    reader.get_or_insert(at);
                }
                if (writer_gone || reader_gone) && !touched.contains(&connection.id) {
                    touched.push(connection.id);
                }
            }
            if let State::Web { link, direction } = stream.state {
                gone.push((link, direction, writer_gone, reader_gone));
            }
            if reader_gone {
                self.flush_answered(id);
            }
        }
        for (link, direction, writer_gone, reader_gone) in gone {
            let (asker, answerer) = (Outcome::ClientExit, Outcome::ServerExit);
            let (writer, reader) = match direction {
                Direction::ClientToServer => (asker, answerer),
                Direction::ServerToClient => (answerer, asker),
            };
            if writer_gone {
                self.link_end_exited(link, writer, at);
            } else if reader_gone {
                self.link_end_exited(link, reader, at);
            }
        }
        for connection in touched {
            self.end_if_clear(connection, false, at);
        }
        for id in used {
            let Some(stream) = self.streams.get(&id) else {
                continue;
            };
            if stream.is_finished() {
                self.end_of_bytes(id, at);
                self.remove_stream(id);
            } else if stream.writers.are_gone() {
                let deadline = at.saturating_add(self.output.limits.deserted_wait);
                self.timers.push(Reverse((deadline, Timer::Deserted(id))));
            }
        }
    }

    /// Forgets a stream to which nobody has written since all who did have ended.
    fn leave_deserted(&mut self, id: StreamId, at: Nanos) {
        if self.streams.get(&id).is_some_and(|stream| stream.writers.are_gone()) {
            self.end_of_bytes(id, at);
            self.flush_answered(id);
            self.remove_stream(id);
        }
    }

    /// The socket that writes `stream` is closed; the one that reads it is as well, or is not seen.
    pub fn closed(&mut self, stream: StreamId, at: Nanos) {
        self.latest = self.latest.max(at);
        self.end_of_stream(stream, at);
    }

    /// The reader has read the end: nothing more will come.
    pub(crate) fn end_of_stream(&mut self, id: StreamId, at: Nanos) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut stream.ended, true) {
            return;
        }
        self.end_of_bytes(id, at);
        self.settle(id);
        self.flush_answered(id);
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        if let Some((connection, direction)) = stream.connection() {
            if let Some(connection) = self.connections.get_mut(&connection) {
                let ending = connection.ending();
                match direction {
                    Direction::ClientToServer => ending.client_closed.get_or_insert(at),
                    Direction::ServerToClient => ending.server_closed.get_or_insert(at),
                };
            }
            self.end_if_clear(connection, false, at);
        }
        if let Some(stream) = self.streams.get(&id)
            && let State::Web { link, direction } = stream.state
        {
            self.link_closed(link, direction, at);
        }
        if self.streams.get(&id).is_some_and(|stream| stream.is_finished()) {
            self.remove_stream(id);
        }
    }

    /// What is in pieces or lacks its newline gets no better any more.
    fn end_of_bytes(&mut self, id: StreamId, at: Nanos) {
        for side in [Side::Writer, Side::Reader] {
            while let Some(stream) = self.streams.get_mut(&id)
                && let Some(parked) = stream.bytes.unpark(side, true, &self.output.limits)
            {
                self.piece(&parked.transfer());
            }
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let gap = stream.bytes.miss_rest();
        if let Some(gap) = gap {
            self.gap(id, gap, at);
        }
        self.last_line(id, at);
        self.retry_early(id, false);
    }

    /// Emits the answered calls of a stream whose reader will read no more.
    pub(crate) fn flush_answered(&mut self, id: StreamId) {
        self.settle(id);
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        while let Some(Answered { connection, slot, .. }) = stream.answered.pop_front() {
            if let Some(connection) = self.connections.get_mut(&connection) {
                stream.give_up_waiting(slot, connection);
                connection.complete(slot, &mut self.output);
            }
        }
    }

    /// Ends the calls of a connection when it is clear how, else waits for what may explain it.
    fn end_if_clear(&mut self, id: ConnectionId, grace_over: bool, now: Nanos) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if let Some((outcome, at)) = connection.verdict(grace_over) {
            connection.end_unanswered(outcome, at, &mut self.output);
        } else if !grace_over && !connection.end_waits() {
            connection.ending().waits = true;
            let deadline = now.saturating_add(self.output.limits.exit_grace);
            self.timers.push(Reverse((deadline, Timer::Ending(id))));
        }
    }

    /// When [`Tracker::handle_timeout`] is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Nanos> {
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let unresumed = self.unresumed.front().map(|it| it.deadline);
        timer.into_iter().chain(unresumed).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Nanos) {
        self.latest = self.latest.max(now);
        while let Some(Reverse((at, timer))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            match timer {
                Timer::Instants(id) => self.stop_waiting(id, now),
                Timer::Link(id) => self.link_timeout(id, now),
                Timer::Deserted(id) => self.leave_deserted(id, now),
                Timer::Ending(id) => {
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.ending().waits = false;
                    }
                    self.end_if_clear(id, true, now);
                    self.remove_if_over(id);
                }
            }
        }
        self.end_unresumed(now);
    }

    /// Emits the answered calls of a stream that have waited long enough for their instants.
    fn stop_waiting(&mut self, id: StreamId, now: Nanos) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.timer = None;
        while let Some(&Answered { connection, slot, .. }) = stream.answered.front() {
            if self
                .connections
                .get(&connection)
                .is_some_and(|it| it.calls.get(slot).is_some())
            {
                match stream.deadline(&mut self.connections, &self.output.limits) {
                    Some(deadline) if deadline <= now => {}
                    _ => break,
                }
                if let Some(connection) = self.connections.get_mut(&connection) {
                    stream.give_up_waiting(slot, connection);
                    connection.complete(slot, &mut self.output);
                }
            }
            stream.answered.pop_front();
        }
        self.settle(id);
    }

    /// Observation ends: everything in flight is emitted.
    pub fn finish(&mut self, now: Nanos) {
        self.latest = self.latest.max(now);
        let mut streams: Vec<StreamId> = self.streams.keys().copied().collect();
        streams.sort_unstable();
        for id in &streams {
            self.end_of_bytes(*id, now);
        }
        for id in &streams {
            self.flush_answered(*id);
        }
        let mut connections: Vec<ConnectionId> = self.connections.keys().copied().collect();
        connections.sort_unstable();
        for id in connections {
            if let Some(connection) = self.connections.get_mut(&id) {
                let (outcome, at) = connection.verdict(true).unwrap_or((Outcome::Pending, now));
                connection.end_all(outcome, at, &mut self.output);
            }
        }
        for id in streams {
            self.remove_stream(id);
        }
        self.connections.clear();
        self.half.clear();
        self.timers.clear();
    }

    /// Makes room by forgetting the oldest stream, one that is not MCP if possible.
    pub(crate) fn evict_stream(&mut self) {
        const LOOKED_AT: usize = 64;
        let known = |id: &StreamId| self.streams.get(id).map(|stream| stream.connection().is_some());
        let candidates = self.ages.iter().take(LOOKED_AT);
        let at = candidates.clone().position(|id| known(id) != Some(true)).unwrap_or(0);
        let Some(id) = self.ages.remove(at) else {
            return;
        };
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        self.output.stats.streams_evicted += 1;
        if let Some((connection, _)) = stream.connection() {
            let process = stream.writers.latest();
            let fault = Fault {
                kind: FaultKind::Evicted,
                at: self.latest,
                stream: id,
                connection: Some(connection),
                process,
                bytes: 0,
            };
            self.output.fault(&mut stream.reported, fault);
            if let Some(connection) = self.connections.get_mut(&connection) {
                for call in connection.calls.iter_mut() {
                    note(&mut call.call.loss, Loss::Evicted);
                }
                connection.end_all(Outcome::Pending, self.latest, &mut self.output);
            }
        }
        self.remove_stream(id);
    }

    fn last_line(&mut self, id: StreamId, at: Nanos) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let item = stream.framer.end(stream.bytes.cursor(), &self.output.limits);
        if let Some(item) = item {
            self.take(id, item, at);
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.count(&mut self.output);
        }
    }

    pub(crate) fn remove_stream(&mut self, id: StreamId) {
        self.stop_holding(id);
        let Some(mut stream) = self.streams.remove(&id) else {
            return;
        };
        self.output.stats.bytes_skipped += stream.pending();
        stream.framer.give_up();
        if let State::Web { link, .. } = stream.state {
            self.leave_link(id, link);
        }
        self.ages.retain(|known| *known != id);
        for process in stream.writers.all().iter().chain(stream.readers.all()) {
            if let Some(streams) = self.used.get_mut(process) {
                streams.retain(|used| *used != id);
                if streams.is_empty() {
                    self.used.remove(process);
                }
            }
        }
        if let Some((connection, direction)) = stream.connection() {
            if let Some(connection) = self.connections.get_mut(&connection) {
                *connection.stream(direction) = None;
            }
            // Nothing may join what is coming to its end.
            self.half.retain(|half| *half != connection);
            self.remove_if_over(connection);
        }
    }

    fn remove_if_over(&mut self, id: ConnectionId) {
        let over = |connection: &Connection| {
            connection.client_to_server.is_none() && connection.server_to_client.is_none() && !connection.end_waits()
        };
        if self.connections.get(&id).is_some_and(|connection| over(connection)) {
            if let Some(mut connection) = self.connections.remove(&id) {
                let (outcome, at) = connection.verdict(true).unwrap_or((Outcome::Pending, self.latest));
                connection.end_all(outcome, at, &mut self.output);
            }
            self.half.retain(|half| *half != id);
        }
    }
}
