//! What is under way at an instant: calls in flight, conversations and streams.

use crate::connection::InFlight;
use crate::track::State;
use crate::{Call, ConnectionId, Direction, Endpoint, Tracker, Transport};

/// A call that has not ended.
#[derive(Clone, Copy, Debug)]
pub struct OpenCall<'a> {
    /// What is known of it so far. `ended` is when it was asked.
    pub call: &'a Call,
    /// The client, by this call or by its conversation.
    pub client: [&'a Endpoint; 2],
    /// The server, likewise.
    pub server: [&'a Endpoint; 2],
    /// The protocol's revision, as the conversation negotiated it.
    pub version: Option<&'a str>,
    /// How far it has come.
    pub stage: Stage,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Whoever is asked is watched and has not read all of the request.
    Unread,
    /// It is worked on, as far as can be seen.
    Working,
    /// The answer has been written and not been read.
    Answered,
}

impl Stage {
    /// Stable name for output.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Working => "working",
            Self::Answered => "answered",
        }
    }
}

/// A conversation that has not ended.
#[derive(Clone, Copy, Debug)]
pub struct Conversation<'a> {
    /// Its id.
    pub id: ConnectionId,
    /// How messages travel.
    pub transport: Transport,
    /// The client, as far as it is known.
    pub client: &'a Endpoint,
    /// The server, as far as it is known.
    pub server: &'a Endpoint,
    /// The protocol's revision, as negotiated.
    pub version: Option<&'a str>,
}

/// How many streams there are by what was decided about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// They carry MCP.
    pub watched: u64,
    /// Nothing was decided yet.
    pub unjudged: u64,
    /// They do not carry MCP.
    pub ignored: u64,
}

impl Tracker {
    /// The calls in flight, in no order.
    pub fn open_calls(&self) -> impl Iterator<Item = OpenCall<'_>> {
        self.connections.values().flat_map(|connection| {
            connection.calls.slots().map(|(_, it)| OpenCall {
                call: &it.call,
                client: [&it.call.client, &connection.client],
                server: [&it.call.server, &connection.server],
                version: connection.version.as_deref(),
                stage: stage(it, connection.sides_seen[it.call.direction as usize].1),
            })
        })
    }

    /// The conversations that have not ended, in no order.
    pub fn conversations(&self) -> impl Iterator<Item = Conversation<'_>> {
        let open = self.connections.values().filter(|connection| !connection.is_over());
        open.map(|connection| Conversation {
            id: connection.id,
            transport: connection.transport(),
            client: &connection.client,
            server: &connection.server,
            version: connection.version.as_deref(),
        })
    }

    /// How many streams there are.
    #[must_use]
    pub fn stream_counts(&self) -> StreamCounts {
        let mut counts = StreamCounts::default();
        for stream in self.streams.values() {
            let count = match stream.state {
                State::Unjudged(_) => &mut counts.unjudged,
                State::Watched { .. } | State::Web { .. } => &mut counts.watched,
                State::Ignored { .. } => &mut counts.ignored,
            };
            *count += 1;
        }
        counts
    }
}

fn stage(it: &InFlight, reader_seen: bool) -> Stage {
    if it.answered.is_some() {
        Stage::Answered
    } else if reader_seen && it.call.request.last_read.is_none() {
        Stage::Unread
    } else {
        Stage::Working
    }
}

impl OpenCall<'_> {
    /// The end that was asked, by what is known of it.
    #[must_use]
    pub fn responder(&self) -> [&Endpoint; 2] {
        match self.call.direction {
            Direction::ClientToServer => self.server,
            Direction::ServerToClient => self.client,
        }
    }
}
