//! Responses that come before their request.
//!
//! A record is made when its syscall returns, and a writer's may return after its reader has read,
//! answered and returned. Such a response waits for its request on its own stream.

use std::collections::VecDeque;

use crate::connection::Connection;
use crate::json::Envelope;
use crate::limits::Limits;
use crate::output::Output;
use crate::pairing::Seen;
use crate::recognise::Held;
use crate::rpc::{self, Kind};
use crate::track::Track;
use crate::tracker::Tracker;
use crate::{Direction, Nanos, StreamId};

/// Messages that wait, in their order: few streams ever have any.
pub(crate) type Early = VecDeque<Held>;

impl Connection {
    /// Whether this message answers a request that has not come.
    fn is_early(&self, direction: Direction, envelope: &Envelope) -> bool {
        let requests = match direction {
            Direction::ClientToServer => &self.from_server,
            Direction::ServerToClient => &self.from_client,
        };
        let cancelled = || requests.names.iter().flat_map(|names| &names.cancelled);
        let known = |id: &str| requests.by_id(id).is_some() || cancelled().any(|it| &**it == id);
        matches!(rpc::kind(envelope), Kind::Result | Kind::Error)
            && !self.is_over()
            && rpc::id(envelope).is_some_and(|id| !known(id) && !rpc::unquoted_number(id).is_some_and(known))
    }

    /// Puts a message of `stream` off until its request has come, if it is early. Otherwise the
    /// message is to be taken now.
    pub(crate) fn puts_off(
        &mut self,
        stream: StreamId,
        early: &mut Option<Box<Early>>,
        direction: Direction,
        envelope: &Envelope,
        seen: Seen,
        limits: &Limits,
    ) -> bool {
        let waiting = early.as_ref().map_or(0, |early| early.len());
        let off = waiting < limits.early_responses && self.is_early(direction, envelope);
        if off {
            let envelope = Box::new(envelope.clone());
            early.get_or_insert_default().push_back(Held { envelope, seen });
            self.early = Some(stream);
        }
        off
    }
}

impl Track {
    /// Takes a message that was held, of a recognised stream.
    pub(crate) fn message(&mut self, held: &Held, to: &mut Connection, now: Nanos, output: &mut Output) {
        let Some((_, direction)) = self.connection() else {
            return;
        };
        let Held { envelope, seen } = held;
        let part = to.message(direction, envelope, *seen, None, &mut self.reported, output);
        self.await_instants(to.id, part, *seen, now, output);
    }
}

impl Tracker {
    /// Looks again at the early responses of a stream. Those that have waited too long, or all of
    /// them when nothing more `may_come`, are responses to nothing.
    pub(crate) fn retry_early(&mut self, id: StreamId, may_come: bool) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let Some((connection, direction)) = stream.connection() else {
            return;
        };
        let Some(connection) = self.connections.get_mut(&connection) else {
            return;
        };
        let output = &mut self.output;
        let oldest = self.latest.saturating_sub(output.limits.early_wait);
        for held in stream.early.take().map_or_else(Early::new, |early| *early) {
            let waits = may_come && held.seen.at >= oldest && connection.is_early(direction, &held.envelope);
            if waits {
                stream.early.get_or_insert_default().push_back(held);
            } else {
                stream.message(&held, connection, self.latest, output);
            }
        }
        if stream.early.is_none() {
            connection.early = None;
        }
        self.settle(id);
    }
}
