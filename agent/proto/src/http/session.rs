//! Sessions: which conversation a token on the wire names.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::tracking::Place;
use crate::hash::Seeded;
use crate::tracker::Tracker;
use crate::{ConnectionId, Outcome, Transport};

/// A session of a server. Proxies pass tokens on: the same one at another address is another hop.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey {
    pub(crate) token: Arc<str>,
    /// Stands for the server's address.
    pub(crate) service: u64,
}

/// The sessions that are known, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    known: HashMap<SessionKey, ConnectionId, Seeded>,
    order: VecDeque<SessionKey>,
}

impl Sessions {
    pub(crate) fn get(&self, key: &SessionKey) -> Option<ConnectionId> {
        self.known.get(key).copied()
    }

    /// Takes a session in; returns the conversations that it replaces or that give way.
    fn insert(&mut self, key: SessionKey, id: ConnectionId, bound: usize) -> [Option<ConnectionId>; 2] {
        let replaced = self.known.insert(key.clone(), id).filter(|old| *old != id);
        if replaced.is_none() {
            self.order.push_back(key);
        }
        let oldest = (self.known.len() > bound).then(|| self.order.pop_front()).flatten();
        let evicted = oldest.and_then(|oldest| self.known.remove(&oldest));
        [replaced, evicted]
    }

    pub(crate) fn remove(&mut self, key: &SessionKey) -> Option<ConnectionId> {
        self.order.retain(|known| known != key);
        self.known.remove(key)
    }
}

impl Tracker {
    /// The conversation of a session, begun now if it is not known.
    pub(crate) fn session(&mut self, key: SessionKey, transport: Transport, place: Place) -> ConnectionId {
        if let Some(known) = self.sessions.get(&key) {
            return known;
        }
        let id = self.open_conversation(place, transport, Some(key.clone()));
        self.begin_session(key, id);
        id
    }

    /// A conversation has been given a session.
    pub(crate) fn begin_session(&mut self, key: SessionKey, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.begin_session(&key.token);
        }
        let ended = self.sessions.insert(key, id, self.output.limits.sessions);
        for old in ended.into_iter().flatten() {
            self.output.stats.sessions_evicted += 1;
            self.end_conversation(old, Outcome::Pending);
        }
    }

    /// Nothing more will be said in a conversation.
    pub(crate) fn end_conversation(&mut self, id: ConnectionId, outcome: Outcome) {
        if let Some(mut connection) = self.connections.remove(&id) {
            connection.end_all(outcome, self.latest, &mut self.output);
        }
    }
}
