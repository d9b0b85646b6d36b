//! TLS sessions, until the socket is known that carries them.
//!
//! Plaintext is seen at the library, ciphertext at the socket. Which session a socket carries is
//! known when the library's next record goes out. What comes before that waits here: it may belong
//! to a connection whose other end is seen as well.

use std::collections::{HashMap, VecDeque};

use agent_abi::{BindRecord, DataRecord, flags};
use mcp_proto::Nanos;

/// Sessions that are remembered; the oldest give way.
const MAX_SESSIONS: usize = 16_384;
/// Bytes that wait for the socket of one session.
const MAX_HELD: usize = 256 * 1024;
/// Bytes that wait in all.
const MAX_HELD_IN_ALL: usize = 8 * 1024 * 1024;
/// How long after a write of its own a session waits for its socket: the write goes out next.
const PATIENCE: Nanos = 100_000_000;

/// A record that waits.
type Held = (DataRecord, Box<[u8]>);

#[derive(Debug, Default)]
struct Session {
    socket: Option<u64>,
    /// It lives without a socket.
    alone: bool,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// When it first wrote without anything going out.
    wrote: Option<Nanos>,
}

/// Where the plaintext of a session belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// To the connection of this socket.
    Socket(u64),
    /// To nothing that is known.
    Unknown,
    /// That is not known yet: the record waits.
    Waits,
}

/// Every TLS session that is known.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    known: HashMap<u64, Session>,
    order: VecDeque<u64>,
    /// Sessions that wait for their socket after a write.
    impatient: VecDeque<(Nanos, u64)>,
    held_bytes: usize,
    /// Sessions that live without a socket: nobody knows between whom, and the other end's view of
    /// them is another connection.
    pub(super) unbound: u64,
    /// Records that were dropped with the sessions that they waited for.
    pub(super) dropped: u64,
}

impl Sessions {
    fn session(&mut self, id: u64) -> &mut Session {
        if !self.known.contains_key(&id) {
            self.order.push_back(id);
            if self.order.len() > MAX_SESSIONS
                && let Some(oldest) = self.order.pop_front()
                && let Some(session) = self.known.remove(&oldest)
            {
                self.held_bytes -= session.held_bytes;
                self.dropped += session.held.len() as u64;
            }
        }
        self.known.entry(id).or_default()
    }

    /// Says where a record belongs, and keeps it when that is not known yet.
    pub(super) fn place(&mut self, record: &DataRecord, payload: &[u8]) -> Carrier {
        let room = MAX_HELD_IN_ALL.saturating_sub(self.held_bytes);
        let session = self.session(record.pair);
        match session.socket {
            _ if session.alone => return Carrier::Unknown,
            Some(socket) => return Carrier::Socket(socket),
            None => {}
        }
        let bytes = size_of::<DataRecord>() + payload.len();
        session.held.push_back((*record, payload.into()));
        session.held_bytes += bytes;
        let full = session.held_bytes > MAX_HELD || bytes > room;
        let first_write = record.flags & flags::READ == 0 && session.wrote.is_none();
        if first_write {
            session.wrote = Some(record.exited);
        }
        self.held_bytes += bytes;
        if first_write || full {
            let deadline = if full {
                0
            } else {
                record.exited.saturating_add(PATIENCE)
            };
            self.impatient.push_back((deadline, record.pair));
        }
        Carrier::Waits
    }

    /// The socket of a session is known: what has waited for that. A session that was given up on
    /// stays what it has been.
    pub(super) fn bind(&mut self, bind: &BindRecord) -> VecDeque<Held> {
        self.session(bind.session).socket = Some(bind.socket);
        let mut held = self.take(bind.session);
        for (record, _) in &mut held {
            let reads = record.flags & flags::READ != 0;
            let before = if reads { bind.read } else { bind.written };
            record.offset = record.offset.wrapping_add(before);
            if bind.fresh != 0 {
                record.flags |= flags::FRESH;
            }
        }
        held
    }

    /// What has waited too long, of one session after the other.
    pub(super) fn overdue(&mut self, now: Nanos) -> Option<VecDeque<Held>> {
        let at = self.impatient.iter().position(|(deadline, _)| *deadline <= now)?;
        let (_, id) = self.impatient.remove(at)?;
        let session = self.known.get_mut(&id).filter(|it| it.socket.is_none() && !it.alone);
        if let Some(session) = session {
            session.alone = true;
            self.unbound += 1;
        }
        Some(self.take(id))
    }

    /// Everything that still waits: nothing more will come.
    pub(super) fn finish(&mut self) -> Vec<VecDeque<Held>> {
        let ids: Vec<u64> = self.order.iter().copied().collect();
        let waiting = ids.into_iter().map(|id| {
            if let Some(session) = self.known.get_mut(&id).filter(|it| !it.held.is_empty()) {
                session.alone = true;
                self.unbound += 1;
            }
            self.take(id)
        });
        waiting.filter(|held| !held.is_empty()).collect()
    }

    fn take(&mut self, id: u64) -> VecDeque<Held> {
        let Some(session) = self.known.get_mut(&id) else {
            return VecDeque::new();
        };
        self.held_bytes -= std::mem::take(&mut session.held_bytes);
        std::mem::take(&mut session.held)
    }
}
