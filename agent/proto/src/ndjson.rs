//! One JSON message a line: the framing of stdio and of custom socket transports.
//!
//! <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#stdio>

use crate::json::{Envelope, Scanner, Step, Tail};
use crate::limits::Limits;

/// What the framer found. The envelope of a message is in the framer until the next push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Message {
        start: u64,
        end: u64,
        /// Bytes of the message itself.
        bytes: u64,
        /// Its middle was not captured.
        truncated: bool,
        /// The hole before it swallowed the end of another message.
        cut: bool,
    },
    /// A line that is no JSON document.
    Junk { start: u64, bytes: u64, kind: Junk },
    /// A message was lost to missing bytes.
    Cut { start: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Junk {
    Text,
    /// It began like JSON.
    Malformed,
    /// A header of the framing of LSP.
    ContentLength,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// At the start of a line; white space at most.
    Between,
    Json,
    /// To be reported at the end of the line.
    Junk(Junk),
    /// Behind a hole within a message.
    Tail,
    /// To be passed over in silence: nobody knows where the line began.
    Silent,
}

const HEADER: &[u8] = b"content-length:";

/// Finds messages in one direction of bytes.
#[derive(Clone, Debug)]
pub(crate) struct Framer {
    mode: Mode,
    scanner: Scanner,
    /// The line may have begun before the bytes that are here: what does not parse is no fault.
    speculative: bool,
    /// `Content-Length` headers are in use: an object ends without a newline.
    framed: bool,
    line_start: u64,
    /// Bytes of the line so far that were not missing.
    line_bytes: u64,
    prefix: [u8; HEADER.len()],
    prefix_len: usize,
    tail: Vec<u8>,
    /// Behind a hole, a line that ends before this is not the one from before the hole.
    one_line_until: u64,
    /// Up to here the newline was searched for, and found or not.
    searched: (u64, Option<u64>),
    parsed: u64,
    skipped: u64,
}

impl Framer {
    pub(crate) fn new(speculative: bool) -> Self {
        Self {
            mode: Mode::Between,
            scanner: Scanner::new(),
            speculative,
            framed: false,
            line_start: 0,
            line_bytes: 0,
            prefix: [0; HEADER.len()],
            prefix_len: 0,
            tail: Vec::new(),
            one_line_until: 0,
            searched: (0, None),
            parsed: 0,
            skipped: 0,
        }
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        self.scanner.envelope()
    }

    /// Takes the bytes that were parsed and skipped since the last time.
    pub(crate) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.parsed), std::mem::take(&mut self.skipped))
    }

    /// Bytes of the line that is not complete.
    pub(crate) fn pending(&self) -> u64 {
        self.line_bytes
    }

    /// Where the line that is not complete began, if there is one.
    pub(crate) fn open_since(&self) -> Option<u64> {
        match self.mode {
            Mode::Between => None,
            // In a batch, the elements before the last are done with.
            Mode::Json if self.scanner.is_batch() => Some(self.line_start.max(self.scanner.range().0)),
            Mode::Json | Mode::Tail => Some(self.line_start),
            Mode::Junk(_) | Mode::Silent => Some(self.line_start),
        }
    }

    pub(crate) fn is_framed(&self) -> bool {
        self.framed
    }

    /// Whether the rest of a message is awaited behind a hole.
    pub(crate) fn in_tail(&self) -> bool {
        self.mode == Mode::Tail
    }

    /// Counts the line that is not complete as skipped.
    pub(crate) fn give_up(&mut self) {
        self.skipped += self.line_bytes;
        self.next_line();
    }

    /// Begins anew in the middle of what may be a line.
    pub(crate) fn start_over(&mut self) {
        self.give_up();
        self.framed = false;
        self.speculative = true;
    }

    /// Whether the line that is not complete is no JSON.
    pub(crate) fn in_junk(&self) -> bool {
        matches!(self.mode, Mode::Junk(_) | Mode::Silent)
    }

    /// Takes bytes up to and including the next item. `position` is that of the first byte.
    pub(crate) fn push(&mut self, position: u64, bytes: &[u8], limits: &Limits) -> (usize, Option<Item>) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.mode == Mode::Between {
                match byte {
                    b'\n' => {
                        at += 1;
                        self.line_bytes += 1;
                        self.parsed += self.line_bytes;
                        self.next_line();
                        continue;
                    }
                    b' ' | b'\t' | b'\r' => {
                        at += 1;
                        self.line_bytes += 1;
                        continue;
                    }
                    b'{' | b'[' => {
                        self.scanner.reset();
                        self.mode = Mode::Json;
                    }
                    _ => {
                        (self.prefix, self.prefix_len) = ([0; HEADER.len()], 0);
                        self.mode = if self.speculative {
                            Mode::Silent
                        } else {
                            Mode::Junk(Junk::Text)
                        };
                    }
                }
                self.line_start = position + at as u64;
            }
            let newline = self.newline(position, bytes, at);
            let chunk = &bytes[at..newline.unwrap_or(bytes.len())];
            let taken = chunk.len();
            match self.mode {
                Mode::Json => match self.scanner.push(position + at as u64, chunk, limits) {
                    Step::Object(end) => {
                        at += end;
                        self.line_bytes += end as u64;
                        if self.framed {
                            return (at, Some(self.end_framed()));
                        }
                        if self.scanner.is_batch() {
                            return (at, Some(self.message()));
                        }
                        continue;
                    }
                    Step::More => {
                        if self.scanner.is_bad() {
                            self.mode = self.broken();
                        }
                    }
                },
                Mode::Junk(_) => self.header(chunk),
                Mode::Tail => {
                    self.tail.extend_from_slice(chunk);
                    if self.tail.len() > 2 * limits.tail_bytes {
                        self.tail.drain(..self.tail.len() - limits.tail_bytes);
                    }
                }
                Mode::Between | Mode::Silent => {}
            }
            at += taken;
            self.line_bytes += taken as u64;
            if newline.is_some() {
                let end = position + at as u64;
                at += 1;
                self.line_bytes += 1;
                if let Some(item) = self.end_line(end, limits) {
                    return (at, Some(item));
                }
            }
        }
        (at, None)
    }

    /// Bytes from `start` on are missing. `syscall` is where the syscall began and ended when the
    /// bytes are a hole in its middle: writers put no two messages into a syscall that is so large that it
    /// is not captured whole, so what precedes and follows the hole is one message.
    pub(crate) fn gap(&mut self, start: u64, syscall: Option<(u64, u64)>, limits: &Limits) -> Option<Item> {
        let one_message = syscall.is_some_and(|(begin, _)| self.line_start <= begin) && !self.speculative;
        self.one_line_until = syscall.map_or(0, |(_, end)| end);
        match self.mode {
            Mode::Json if self.scanner.is_done() => {
                let item = self.end_line(start, limits);
                self.speculative = true;
                return item;
            }
            Mode::Json if one_message && !self.scanner.is_batch() => {
                self.mode = Mode::Tail;
                self.tail.clear();
                return None;
            }
            Mode::Tail if one_message => {
                self.tail.clear();
                return None;
            }
            _ => {}
        }
        let cut = matches!(self.mode, Mode::Json | Mode::Tail) && !self.speculative;
        let start = self.line_start;
        self.skipped += self.line_bytes;
        self.next_line();
        self.speculative = true;
        cut.then_some(Item::Cut { start })
    }

    /// No more bytes will come: the last line may lack its newline.
    pub(crate) fn end(&mut self, position: u64, limits: &Limits) -> Option<Item> {
        if self.mode == Mode::Json && !self.scanner.is_done() {
            // Cut off by the end, not broken.
            self.skipped += self.line_bytes;
            self.next_line();
            return None;
        }
        (self.mode != Mode::Between)
            .then(|| self.end_line(position, limits))
            .flatten()
    }

    fn newline(&mut self, position: u64, bytes: &[u8], at: usize) -> Option<usize> {
        let from = position + at as u64;
        let end = position + bytes.len() as u64;
        // What an earlier push has found holds for these bytes only if it lies within them.
        let known = match self.searched {
            (until, Some(found)) => until > from && (from..end).contains(&found),
            (until, None) => until >= end,
        };
        if !known {
            let found = memchr::memchr(b'\n', &bytes[at..]).map(|found| from + found as u64);
            self.searched = (found.map_or(end, |found| found + 1), found);
        }
        self.searched.1.map(|found| (found - position) as usize)
    }

    fn message(&self) -> Item {
        let (start, end) = self.scanner.range();
        Item::Message {
            start,
            end,
            bytes: end - start,
            truncated: false,
            cut: false,
        }
    }

    /// An object under `Content-Length` ends without a newline.
    fn end_framed(&mut self) -> Item {
        self.parsed += self.line_bytes;
        let item = self.message();
        self.next_line();
        item
    }

    /// What becomes of a line that began like JSON and is not.
    fn broken(&self) -> Mode {
        if self.speculative {
            Mode::Silent
        } else if self.scanner.had_key() {
            Mode::Junk(Junk::Malformed)
        } else {
            Mode::Junk(Junk::Text)
        }
    }

    /// Looks for the header of another framing at the start of a line.
    fn header(&mut self, chunk: &[u8]) {
        let taken = chunk.len().min(HEADER.len() - self.prefix_len);
        if taken == 0 {
            return;
        }
        self.prefix[self.prefix_len..self.prefix_len + taken].copy_from_slice(&chunk[..taken]);
        self.prefix_len += taken;
        if self.prefix.eq_ignore_ascii_case(HEADER) && self.prefix_len == HEADER.len() {
            self.mode = Mode::Junk(Junk::ContentLength);
        }
    }

    fn end_line(&mut self, end: u64, limits: &Limits) -> Option<Item> {
        let start = self.line_start;
        let mode = match self.mode {
            Mode::Json if !self.scanner.is_done() => self.broken(),
            mode => mode,
        };
        let item = match mode {
            Mode::Between | Mode::Silent => None,
            Mode::Json if self.scanner.is_batch() => None,
            Mode::Json => Some(self.message()),
            Mode::Junk(kind) => {
                self.framed |= kind == Junk::ContentLength;
                Some(Item::Junk {
                    start,
                    bytes: end.saturating_sub(start),
                    kind,
                })
            }
            Mode::Tail => Some(self.end_tail(end, limits)),
        };
        if matches!(item, Some(Item::Message { .. })) || mode == Mode::Json {
            self.parsed += self.line_bytes;
        } else {
            self.skipped += self.line_bytes;
        }
        self.next_line();
        item
    }

    fn end_tail(&mut self, end: u64, limits: &Limits) -> Item {
        let tail = std::mem::take(&mut self.tail);
        let from = end.saturating_sub(tail.len() as u64);
        if end + 1 < self.one_line_until {
            return Item::Cut { start: self.line_start };
        }
        let item = match self.scanner.read_tail(from, &tail, limits) {
            Tail::Message => {
                let (start, end) = self.scanner.range();
                Item::Message {
                    start,
                    end,
                    bytes: end - start,
                    truncated: true,
                    cut: false,
                }
            }
            Tail::Another { at } => {
                self.scanner.reset();
                let _step = self.scanner.push(from + at as u64, &tail[at..], limits);
                let (start, end) = self.scanner.range();
                match self.scanner.is_done() {
                    true => Item::Message {
                        start,
                        end,
                        bytes: end - start,
                        truncated: false,
                        cut: true,
                    },
                    false => Item::Cut { start: self.line_start },
                }
            }
            Tail::Broken => Item::Cut { start: self.line_start },
        };
        self.tail = tail;
        self.tail.clear();
        item
    }

    fn next_line(&mut self) {
        self.mode = Mode::Between;
        self.speculative = false;
        self.line_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(pieces: &[&str]) -> Vec<(Item, Option<String>)> {
        let limits = Limits::default();
        let mut framer = Framer::new(false);
        let mut position = 0;
        let mut out = Vec::new();
        for piece in pieces {
            let mut rest = piece.as_bytes();
            while !rest.is_empty() {
                let (taken, item) = framer.push(position, rest, &limits);
                rest = &rest[taken..];
                position += taken as u64;
                if let Some(item) = item {
                    let id = framer.envelope().boxed(crate::json::Field::Id).map(String::from);
                    out.push((item, id));
                }
            }
        }
        let (parsed, skipped) = framer.take_counts();
        assert_eq!(parsed + skipped + framer.pending(), position);
        out
    }

    fn ids(pieces: &[&str]) -> Vec<String> {
        items(pieces)
            .into_iter()
            .filter_map(|(item, id)| matches!(item, Item::Message { .. }).then_some(id).flatten())
            .collect()
    }

    #[test]
    fn lines_in_any_split() {
        let text =
            "\n  {\"id\":1,\"a\":[1,{\"b\":\"}\\\"\"}]}\r\n\n[{\"id\":2} , {\"id\":\"x\"}]\nlog line\n{\"id\":3}\n";
        for first in 0..text.len() {
            for second in first..text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(ids(&pieces), ["1", "2", "\"x\"", "3"], "{first} {second}");
            }
        }
    }

    #[test]
    fn junk_is_told_apart() {
        let kinds: Vec<_> = items(&["plain\n[INFO] x\n{'a':1}\n{\"a\":1\n{\"a\":}\n"])
            .into_iter()
            .map(|(item, _)| match item {
                Item::Junk { kind, bytes, .. } => (kind, bytes),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [
            (Junk::Text, 5),
            (Junk::Text, 8),
            (Junk::Text, 7),
            (Junk::Malformed, 6),
            (Junk::Malformed, 6),
        ];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn content_length_framing_is_read() {
        let text = "Content-Length: 8\r\n\r\n{\"id\":1}Content-Length: 8\r\n\r\n{\"id\":2}";
        assert_eq!(ids(&[text]), ["1", "2"]);
    }
}
