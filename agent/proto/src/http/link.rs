//! One connection that carries HTTP: its two directions and the exchanges under way.

use std::collections::VecDeque;

use super::exchange::Exchange;
use super::h1::H1;
use super::h2::H2;
use super::{ExchangeKey, Part};
use crate::limits::Limits;
use crate::recognise::Suspect;
use crate::{ConnectionId, Direction, HttpVersion, Nanos, StreamId};

/// The framing of one direction.
#[derive(Debug)]
pub(crate) enum Wire {
    Http1(Box<H1>),
    Http2(Box<H2>),
}

impl Wire {
    pub(crate) fn push<'a>(
        &mut self,
        position: u64,
        bytes: &'a [u8],
        limits: &Limits,
    ) -> (usize, Option<(ExchangeKey, Part<'a>)>) {
        match self {
            Self::Http1(wire) => wire.push(position, bytes, limits),
            Self::Http2(wire) => wire.push(position, bytes, limits),
        }
    }

    pub(crate) fn gap(&mut self, start: u64, len: u64, limits: &Limits) -> Option<(ExchangeKey, Part<'static>)> {
        match self {
            Self::Http1(wire) => wire.gap(len),
            Self::Http2(wire) => wire.gap(start, len, limits),
        }
    }

    /// The response that has just begun has no body, whatever its head says.
    pub(crate) fn no_body(&mut self) {
        if let Self::Http1(wire) = self {
            wire.no_body();
        }
    }

    /// The response that has just begun is a stream of events.
    pub(crate) fn streams(&mut self) {
        if let Self::Http1(wire) = self {
            wire.streams();
        }
    }

    pub(crate) fn end(&mut self, limits: &Limits) -> Option<(ExchangeKey, Part<'static>)> {
        match self {
            Self::Http1(wire) => wire.end(),
            Self::Http2(wire) => wire.end(limits),
        }
    }

    /// Takes the number of bytes that were passed over in search of a beginning.
    pub(crate) fn take_skipped(&mut self) -> u64 {
        match self {
            Self::Http1(_) => 0,
            Self::Http2(wire) => wire.take_skipped(),
        }
    }

    /// Whether the message that was last cut was taken back by its sender.
    pub(crate) fn was_reset(&self) -> bool {
        matches!(self, Self::Http2(wire) if wire.reset().is_some())
    }

    /// The exchange is over: nothing more is expected of it.
    pub(crate) fn close(&mut self, exchange: ExchangeKey) {
        if let Self::Http2(wire) = self {
            wire.close(exchange);
        }
    }

    /// Position of the first byte of a head that is not complete.
    pub(crate) fn open_head(&self) -> Option<u64> {
        match self {
            Self::Http1(wire) => wire.open_head(),
            Self::Http2(wire) => wire.open_head(),
        }
    }

    /// Position of the first byte of the message that was last reported.
    pub(crate) fn head_start(&self) -> u64 {
        match self {
            Self::Http1(wire) => wire.head_start(),
            Self::Http2(wire) => wire.head_start(),
        }
    }
}

/// Bytes of the response's direction that came before their request.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) position: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) since: Nanos,
}

/// What is known of how a connection ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Closing {
    pub(crate) client_closed: Option<Nanos>,
    pub(crate) server_closed: Option<Nanos>,
    /// A timer runs.
    pub(crate) waits: bool,
}

impl Closing {
    /// Whether one side has closed its end.
    pub(crate) fn is_begun(self) -> bool {
        self.client_closed.is_some() || self.server_closed.is_some()
    }
}

/// Pieces that came behind a request to switch protocols, and where they begin.
pub(crate) type Behind = Vec<(u64, Vec<u8>)>;

/// A connection that carries HTTP.
#[derive(Debug)]
pub(crate) struct Link {
    /// Its streams: requests first.
    pub(crate) streams: [Option<StreamId>; 2],
    pub(crate) wires: [Wire; 2],
    pub(crate) exchanges: VecDeque<Exchange>,
    /// Whose response is under way (HTTP/1).
    answering: Option<ExchangeKey>,
    /// Stands for the server's address.
    pub(crate) service: u64,
    /// The conversations of exchanges that name no session, the current one last.
    pub(crate) conversations: Vec<ConnectionId>,
    pub(crate) is_mcp: bool,
    /// Complete exchanges that were not MCP.
    pub(crate) strange: u32,
    /// What is counted while nobody knows what it carries; then capture is asked for.
    pub(crate) suspect: Option<Box<Suspect>>,
    #[expect(clippy::box_collection, reason = "nothing mostly waits")]
    pub(crate) waiting: Option<Box<VecDeque<Waiting>>>,
    pub(crate) waiting_bytes: usize,
    /// Bytes of the client's behind a request to switch protocols, until it is answered.
    pub(crate) behind_upgrade: Option<Box<Behind>>,
    /// What waits has waited long enough.
    pub(crate) is_overdue: bool,
    /// A timer runs for what waits.
    pub(crate) has_timer: bool,
    pub(crate) closing: Closing,
}

impl Link {
    pub(crate) fn version(&self) -> HttpVersion {
        match self.wires[0] {
            Wire::Http1(_) => HttpVersion::Http1,
            Wire::Http2(_) => HttpVersion::Http2,
        }
    }

    pub(crate) fn new(wires: [Wire; 2]) -> Self {
        Self {
            streams: [None, None],
            wires,
            exchanges: VecDeque::new(),
            answering: None,
            service: 0,
            conversations: Vec::new(),
            is_mcp: false,
            strange: 0,
            suspect: Some(Box::default()),
            behind_upgrade: None,
            is_overdue: false,
            waiting: None,
            waiting_bytes: 0,
            has_timer: false,
            closing: Closing::default(),
        }
    }

    /// Capture was asked for.
    pub(crate) fn is_watched(&self) -> bool {
        self.suspect.is_none()
    }

    /// The first bytes of the server's that wait for their request.
    pub(crate) fn first_waiting(&self) -> Option<&Waiting> {
        self.waiting.as_ref()?.front()
    }

    /// The exchange that a part of a direction belongs to.
    pub(crate) fn exchange(&mut self, direction: Direction, key: ExchangeKey) -> Option<&mut Exchange> {
        let key = match (direction, &self.wires[1]) {
            (Direction::ServerToClient, Wire::Http1(_)) => self.answering?,
            _ => key,
        };
        self.exchanges.iter_mut().find(|exchange| exchange.key == key)
    }

    /// The exchange that a response answers which was written at `at`.
    pub(crate) fn begin_answer(&mut self, key: ExchangeKey, at: Nanos) -> Option<&mut Exchange> {
        if matches!(self.wires[1], Wire::Http2(_)) {
            return self.exchange(Direction::ServerToClient, key);
        }
        let next = |exchange: &&mut Exchange| exchange.answer.is_none() && exchange.at <= at;
        let found = self.exchanges.iter_mut().find(next);
        self.answering = found.as_ref().map(|exchange| exchange.key);
        found
    }

    /// The response under way is over (HTTP/1).
    pub(crate) fn end_answer(&mut self) {
        self.answering = None;
    }

    /// Whether what comes next from the server answers a request that has not come.
    pub(crate) fn is_early(&self) -> bool {
        let awaited = match &self.wires[1] {
            Wire::Http1(_) => {
                self.answering.is_some()
                    || self
                        .exchanges
                        .iter()
                        .any(|exchange| exchange.answer.is_none() && exchange.is_asked)
            }
            Wire::Http2(_) => !self.exchanges.is_empty(),
        };
        !awaited && self.closing.client_closed.is_none()
    }

    /// Whether a request to switch to WebSocket waits for its answer.
    pub(crate) fn is_upgrading(&self) -> bool {
        self.exchanges
            .back()
            .is_some_and(|last| last.is_asked && last.answer.is_none() && last.asked.fields.websocket)
    }

    /// Takes the exchange out.
    pub(crate) fn remove(&mut self, key: ExchangeKey) -> Option<Exchange> {
        let at = self.exchanges.iter().position(|exchange| exchange.key == key)?;
        for wire in &mut self.wires {
            wire.close(key);
        }
        self.exchanges.remove(at)
    }
}
