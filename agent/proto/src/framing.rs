//! How the messages of a recognised stream are framed: as lines, or in WebSocket frames.

use std::collections::VecDeque;

use crate::Direction;
use crate::http::messages::{Found, Messages};
use crate::http::websocket::{WebSocket, WsPart};
use crate::json::Envelope;
use crate::limits::Limits;
use crate::ndjson::{Framer, Item, Junk};

/// Finds messages in one direction of bytes.
#[derive(Debug)]
pub(crate) enum Framing {
    Lines(Box<Framer>),
    WebSocket(Box<Frames>),
    /// HTTP, which is parsed elsewhere.
    Http,
}

/// Messages in WebSocket frames.
#[derive(Debug)]
pub(crate) struct Frames {
    socket: WebSocket,
    messages: Messages,
    /// What was found and not yet handed out: a frame may hold a batch.
    found: VecDeque<(Box<Envelope>, Item)>,
    envelope: Box<Envelope>,
    parsed: u64,
    skipped: u64,
}

impl Frames {
    pub(crate) fn new(direction: Direction) -> Self {
        Self {
            socket: match direction {
                Direction::ClientToServer => WebSocket::requests(false),
                Direction::ServerToClient => WebSocket::responses(false),
            },
            messages: Messages::new(),
            found: VecDeque::new(),
            envelope: Box::default(),
            parsed: 0,
            skipped: 0,
        }
    }

    fn next(&mut self) -> Option<Item> {
        let (envelope, item) = self.found.pop_front()?;
        self.envelope = envelope;
        Some(item)
    }

    fn push(&mut self, position: u64, bytes: &[u8], limits: &Limits) -> (usize, Option<Item>) {
        let mut at = 0;
        loop {
            if let Some(item) = self.next() {
                return (at, Some(item));
            }
            let found = &mut self.found;
            let mut take = |envelope: &Envelope, what: Found| {
                found.extend(item(what).map(|item| (Box::new(envelope.clone()), item)));
            };
            let (taken, part) = self.socket.push(&bytes[at..], limits);
            at += taken;
            self.parsed += taken as u64;
            let end = position + at as u64;
            match part {
                None => return (at, None),
                Some(WsPart::Payload(payload)) => {
                    let start = end.saturating_sub(payload.len() as u64);
                    self.messages.push(start.max(position), payload, limits, &mut take);
                }
                Some(WsPart::Missing(len)) => {
                    if let Some(cut) = self.messages.gap(len, limits) {
                        take(&Envelope::default(), cut);
                    }
                }
                Some(WsPart::End { .. }) => self.messages.finish(limits, &mut take),
                Some(WsPart::Cut) => {
                    self.messages = Messages::new();
                    take(&Envelope::default(), Found::Cut);
                }
                Some(WsPart::Close | WsPart::Bad) => {}
            }
        }
    }

    fn gap(&mut self, len: u64, limits: &Limits) -> Option<Item> {
        match self.socket.gap(len)? {
            WsPart::Missing(len) => item(self.messages.gap(len, limits)?),
            _ => {
                self.messages = Messages::new();
                Some(Item::Cut { start: 0 })
            }
        }
    }
}

fn item(found: Found) -> Option<Item> {
    match found {
        Found::Message { extent, truncated } => Some(Item::Message {
            start: extent.start,
            end: extent.end,
            bytes: extent.bytes,
            truncated,
            cut: false,
        }),
        Found::Junk(bytes) => Some(Item::Junk {
            start: 0,
            bytes,
            kind: Junk::Malformed,
        }),
        Found::Cut => Some(Item::Cut { start: 0 }),
    }
}

static NOTHING: std::sync::LazyLock<Envelope> = std::sync::LazyLock::new(Envelope::default);

impl Framing {
    pub(crate) fn envelope(&self) -> &Envelope {
        match self {
            Self::Lines(lines) => lines.envelope(),
            Self::WebSocket(frames) => &frames.envelope,
            Self::Http => &NOTHING,
        }
    }

    /// Takes the bytes that were parsed and skipped since the last time.
    pub(crate) fn take_counts(&mut self) -> (u64, u64) {
        match self {
            Self::Lines(lines) => lines.take_counts(),
            Self::WebSocket(frames) => (std::mem::take(&mut frames.parsed), std::mem::take(&mut frames.skipped)),
            Self::Http => (0, 0),
        }
    }

    /// Bytes of the line that is not complete.
    pub(crate) fn pending(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.pending(),
            Self::WebSocket(_) | Self::Http => 0,
        }
    }

    /// Where the message that is not complete began, if there is one.
    pub(crate) fn open_since(&self) -> Option<u64> {
        match self {
            Self::Lines(lines) => lines.open_since(),
            Self::WebSocket(frames) => frames.messages.open_since(),
            Self::Http => None,
        }
    }

    /// Whether `Content-Length` headers are in use.
    pub(crate) fn is_framed(&self) -> bool {
        matches!(self, Self::Lines(lines) if lines.is_framed())
    }

    /// Whether the rest of a message is awaited behind a hole.
    pub(crate) fn in_tail(&self) -> bool {
        match self {
            Self::Lines(lines) => lines.in_tail(),
            Self::WebSocket(frames) => frames.messages.open_since().is_some(),
            Self::Http => false,
        }
    }

    /// Counts what is not complete as skipped.
    pub(crate) fn give_up(&mut self) {
        if let Self::Lines(lines) = self {
            lines.give_up();
        }
    }

    /// Begins anew in the middle of what may be a line.
    pub(crate) fn start_over(&mut self) {
        if let Self::Lines(lines) = self {
            lines.start_over();
        }
    }

    /// Whether the line that is not complete is no JSON.
    pub(crate) fn in_junk(&self) -> bool {
        matches!(self, Self::Lines(lines) if lines.in_junk())
    }

    /// As [`Framer::push`].
    pub(crate) fn push(&mut self, position: u64, bytes: &[u8], limits: &Limits) -> (usize, Option<Item>) {
        match self {
            Self::Lines(lines) => lines.push(position, bytes, limits),
            Self::WebSocket(frames) => frames.push(position, bytes, limits),
            Self::Http => (bytes.len(), None),
        }
    }

    /// As [`Framer::gap`].
    pub(crate) fn gap(&mut self, start: u64, len: u64, syscall: Option<(u64, u64)>, limits: &Limits) -> Option<Item> {
        match self {
            Self::Lines(lines) => lines.gap(start, syscall, limits),
            Self::WebSocket(frames) => frames.gap(len, limits),
            Self::Http => None,
        }
    }

    /// As [`Framer::end`].
    pub(crate) fn end(&mut self, position: u64, limits: &Limits) -> Option<Item> {
        match self {
            Self::Lines(lines) => lines.end(position, limits),
            Self::WebSocket(_) | Self::Http => None,
        }
    }
}
