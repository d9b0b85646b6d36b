//! JSON-RPC messages in the text of a body.
//!
//! The text may lie scattered over its stream: in chunks, on several `data:` lines, or compressed.
//! So the framer counts bytes of text, and what it finds is translated into the stream's positions.

use crate::json::Envelope;
use crate::limits::Limits;
use crate::ndjson::{Framer, Item};

/// Where a message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Position of its first byte in the stream.
    pub(crate) start: u64,
    /// Position after its last byte.
    pub(crate) end: u64,
    /// Bytes of the message itself.
    pub(crate) bytes: u64,
}

/// What the text of a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A message; its envelope is with whoever is told.
    Message {
        extent: Extent,
        /// Its middle is missing.
        truncated: bool,
    },
    /// Text that is not JSON, of so many bytes.
    Junk(u64),
    /// A message whose end is missing.
    Cut,
}

impl Found {
    /// The same, with nothing of it at `end` or beyond.
    pub(crate) fn until(self, end: u64) -> Self {
        match self {
            Self::Message { extent, truncated } => Self::Message {
                extent: Extent {
                    start: extent.start.min(end.saturating_sub(1)),
                    end: extent.end.min(end),
                    ..extent
                },
                truncated,
            },
            other => other,
        }
    }
}

/// Finds the messages of one document, or of one event after the other.
#[derive(Debug)]
pub(crate) struct Messages {
    framer: Framer,
    /// Bytes of text given so far.
    given: u64,
    /// Where the document's first byte lies, in text and in the stream.
    first: Option<(u64, u64)>,
    /// Where the latest run of neighbouring bytes began, in text and in the stream.
    run: (u64, u64),
    /// Position after the latest byte.
    end: u64,
}

impl Messages {
    pub(crate) fn new() -> Self {
        Self {
            framer: Framer::new(false),
            given: 0,
            first: None,
            run: (0, 0),
            end: 0,
        }
    }

    /// Position of the first byte of the document that is not complete.
    pub(crate) fn open_since(&self) -> Option<u64> {
        self.first.map(|(_, position)| position)
    }

    /// Takes text that lies at `at`. Line ends in it are white space.
    pub(crate) fn push(&mut self, at: u64, text: &[u8], limits: &Limits, take: &mut impl FnMut(&Envelope, Found)) {
        let mut at = at;
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            if index > 0 {
                self.give(at, b" ", limits, take);
                at += 1;
            }
            self.give(at, line, limits, take);
            at += line.len() as u64;
        }
    }

    /// The document goes on in a new line, which lies nowhere.
    pub(crate) fn new_line(&mut self, limits: &Limits, take: &mut impl FnMut(&Envelope, Found)) {
        self.give(self.end, b" ", limits, take);
    }

    /// So many bytes of the document are missing.
    pub(crate) fn gap(&mut self, len: u64, limits: &Limits) -> Option<Found> {
        let hole = (self.given, self.given.saturating_add(len));
        let item = self.framer.gap(self.given, Some(hole), limits);
        self.given = hole.1;
        self.end = self.end.saturating_add(len);
        item.map(|_| Found::Cut)
    }

    /// The document is complete.
    pub(crate) fn finish(&mut self, limits: &Limits, take: &mut impl FnMut(&Envelope, Found)) {
        if self.first.is_some() {
            let end = self.end;
            self.give(end, b"\n", limits, take);
        }
        self.first = None;
    }

    fn give(&mut self, at: u64, mut text: &[u8], limits: &Limits, take: &mut impl FnMut(&Envelope, Found)) {
        if text.is_empty() {
            return;
        }
        self.run = (self.given, at);
        let blank = text.iter().all(u8::is_ascii_whitespace);
        if self.first.is_none() && !blank {
            self.first = Some((self.given, at));
        }
        while !text.is_empty() {
            let (taken, item) = self.framer.push(self.given, text, limits);
            self.given += taken as u64;
            text = &text[taken..];
            if !blank {
                self.end = self.run.1 + (self.given - self.run.0);
            }
            if let Some(item) = item {
                let found = self.translate(item);
                take(self.framer.envelope(), found);
            }
            if taken == 0 {
                return;
            }
        }
    }

    fn translate(&self, item: Item) -> Found {
        match item {
            Item::Message {
                start,
                end,
                bytes,
                truncated,
                ..
            } => Found::Message {
                extent: Extent {
                    start: self.position(start),
                    end: self.after(end).max(self.position(start)),
                    bytes,
                },
                truncated,
            },
            Item::Junk { bytes, .. } => Found::Junk(bytes),
            Item::Cut { .. } => Found::Cut,
        }
    }

    /// Where a byte of text lies: exactly within the latest run, else as the document's first byte.
    fn position(&self, text: u64) -> u64 {
        match self.first {
            Some((_, position)) if text < self.run.0 => position,
            _ => (self.run.1 + text.saturating_sub(self.run.0)).min(self.end),
        }
    }

    /// As [`Self::position`], of the end of a range: else the end of what came last.
    fn after(&self, text: u64) -> u64 {
        let within = self.run.1 + text.saturating_sub(self.run.0);
        if text > self.run.0 {
            within.min(self.end)
        } else {
            self.end
        }
    }
}
