//! Calls that a process passes on: it serves a call, and meanwhile makes the same call elsewhere.

use crate::connection::InFlight;
use crate::slab::Slot;
use crate::track::State;
use crate::tracker::Tracker;
use crate::{Call, CallRef, ConnectionId, Direction, ProcessId};

/// Streams of a relay that are searched for the call that it passes on.
const MAX_STREAMS: usize = 256;

fn same(one: &Call, other: &Call) -> bool {
    let target = |call: &Call| [call.tool.clone(), call.prompt.clone(), call.resource.clone()];
    one.direction == other.direction && one.method == other.method && target(one) == target(other)
}

impl Tracker {
    /// Finds out whom the requests of processes that also answer such requests are made for.
    pub(crate) fn link_relays(&mut self) {
        for (connection, slot) in std::mem::take(&mut self.output.asked) {
            let Some((relayed, by)) = self.relayed(connection, slot) else {
                continue;
            };
            if let Some(it) = self.in_flight(relayed.connection, by) {
                it.is_relayed = true;
            }
            if let Some(it) = self.in_flight(connection, slot) {
                it.call.relays = Some(relayed);
            }
        }
    }

    fn in_flight(&mut self, connection: ConnectionId, slot: Slot) -> Option<&mut InFlight> {
        self.connections.get_mut(&connection)?.calls.get_mut(slot)
    }

    /// The oldest call that the requester of this one serves, that is the same, and that nobody
    /// has passed on yet.
    fn relayed(&self, connection: ConnectionId, slot: Slot) -> Option<(CallRef, Slot)> {
        let call = &self.connections.get(&connection)?.calls.get(slot)?.call;
        let relay = match call.direction {
            Direction::ClientToServer => call.client.process,
            Direction::ServerToClient => call.server.process,
        }?;
        let mut conversations: Vec<ConnectionId> = Vec::new();
        for id in self.used.get(&relay)?.iter().take(MAX_STREAMS) {
            conversations.extend(self.served(*id, relay, call.direction));
        }
        conversations.retain(|id| *id != connection);
        conversations.sort_unstable();
        conversations.dedup();
        let candidates = conversations.iter().filter_map(|id| self.connections.get(id));
        let calls = candidates.flat_map(|candidate| candidate.calls.slots().map(|(slot, it)| (candidate.id, slot, it)));
        calls
            .filter(|(_, _, it)| !it.is_relayed && it.answered.is_none() && same(&it.call, call))
            .min_by_key(|(id, _, it)| (it.call.ended, *id, it.call.sequence))
            .map(|(id, slot, it)| {
                let carried_by = self.connections.get(&id).map_or([None, None], |it| it.carried_by);
                let mut streams = it.call.streams;
                for (stream, known) in streams.iter_mut().zip(carried_by) {
                    *stream = stream.or(known);
                }
                let relayed = CallRef {
                    connection: id,
                    direction: it.call.direction,
                    sequence: it.call.sequence,
                    streams,
                    session: it.call.session.clone(),
                };
                (relayed, slot)
            })
    }

    /// The conversations whose requests of `direction` a process reads from a stream.
    fn served(&self, id: crate::StreamId, reader: ProcessId, direction: Direction) -> Vec<ConnectionId> {
        let Some(stream) = self.streams.get(&id) else {
            return Vec::new();
        };
        if stream.direction() != Some(direction) || !stream.readers.all().contains(&reader) {
            return Vec::new();
        }
        match stream.state {
            State::Watched { connection, .. } => vec![connection],
            State::Web { link, .. } => self.links.get(&link).map_or_else(Vec::new, |link| {
                let exchanges = link.exchanges.iter().filter_map(|exchange| exchange.conversation);
                exchanges.collect()
            }),
            _ => Vec::new(),
        }
    }
}
