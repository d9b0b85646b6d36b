//! The push automaton: any split of the bytes gives the same envelope.

use super::envelope::Envelope;
use super::field::{Field, Node, Slot};
use super::text::{self, Decoder};
use crate::limits::Limits;

/// What a push ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All bytes were taken.
    More,
    /// One object is complete and its envelope can be read; so many bytes were taken.
    Object(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the document.
    Start,
    /// In a batch, before an element.
    Element,
    /// In a batch, after an element.
    AfterElement,
    FirstKey,
    Key,
    InKey,
    Colon,
    Value,
    /// In a string that is kept.
    InText(Slot),
    /// In a string nobody wants.
    InString {
        escaped: bool,
    },
    /// In a number or literal.
    InToken,
    /// In a container nobody wants.
    Skip,
    /// In a string of such a container.
    SkipString {
        escaped: bool,
    },
    After,
    /// After the document: white space only.
    Done,
    Bad,
}

/// Longest key that any node knows.
const KEY_BYTES: usize = 64;
/// Longest path of nodes, with room.
const PATH: usize = 6;

/// Scans one document: a JSON-RPC message, or a batch of them.
#[derive(Clone, Debug)]
pub(crate) struct Scanner {
    state: State,
    path: [Node; PATH],
    depth: usize,
    /// Open containers below the innermost node.
    nesting: u32,
    /// What becomes of the value that comes next.
    slot: Slot,
    batch: bool,
    /// Some key was complete: what breaks later was meant to be JSON.
    had_key: bool,
    decoder: Decoder,
    key: Vec<u8>,
    /// Where in the bytes at hand the part of a hashed value begins that is not hashed yet.
    digested: usize,
    /// Position of the first byte of the object.
    start: u64,
    /// Position after the last byte of the object.
    end: u64,
    envelope: Envelope,
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Start,
            path: [Node::Root; PATH],
            depth: 0,
            nesting: 0,
            slot: Slot::Skip,
            batch: false,
            had_key: false,
            decoder: Decoder::default(),
            key: Vec::new(),
            digested: 0,
            start: 0,
            end: 0,
            envelope: Envelope::new(),
        }
    }

    pub(crate) fn reset(&mut self) {
        self.state = State::Start;
        self.depth = 0;
        self.nesting = 0;
        self.batch = false;
        self.had_key = false;
        self.envelope.clear();
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Where the last object lay.
    pub(crate) fn range(&self) -> (u64, u64) {
        (self.start, self.end)
    }

    pub(crate) fn is_bad(&self) -> bool {
        self.state == State::Bad
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub(crate) fn is_batch(&self) -> bool {
        self.batch
    }

    pub(crate) fn had_key(&self) -> bool {
        self.had_key
    }

    /// How many of the outermost objects around the present position are nodes: their members
    /// can be looked at when scanning goes on after a hole.
    pub(crate) fn known_depth(&self) -> usize {
        self.depth
    }

    /// Goes on after a hole, before a member of the node at `depth` (1 is the message itself).
    /// Returns what was known before; the envelope begins anew.
    pub(crate) fn resume(&mut self, depth: usize) -> u64 {
        self.depth = depth.min(self.depth);
        self.nesting = 0;
        self.state = State::Key;
        self.envelope.digest.lose();
        std::mem::take(&mut self.envelope.present)
    }

    /// As [`Scanner::resume`], before the brace that closes the message.
    pub(crate) fn resume_at_end(&mut self) -> u64 {
        let before = self.resume(1);
        self.state = State::After;
        before
    }

    /// Joins what was known before a hole with what came after it.
    pub(crate) fn rejoin(&mut self, known: u64) {
        self.envelope.present |= known;
    }

    /// Scans on. `position` is that of the first byte in its stream.
    pub(crate) fn push(&mut self, position: u64, bytes: &[u8], limits: &Limits) -> Step {
        self.digested = 0;
        let step = self.scan(position, bytes, limits);
        if self.envelope.digest.is_open() && !matches!(self.state, State::Colon | State::Value) {
            self.digest_up_to(bytes, bytes.len(), limits);
        }
        step
    }

    /// Hashes what was taken of a value, and ends it where it does.
    fn digest_up_to(&mut self, bytes: &[u8], at: usize, limits: &Limits) {
        self.envelope
            .digest
            .push(bytes.get(self.digested..at).unwrap_or_default(), limits);
        self.digested = at;
        if matches!(self.state, State::After | State::Bad) {
            self.envelope.digest.end();
        }
    }

    fn scan(&mut self, position: u64, bytes: &[u8], limits: &Limits) -> Step {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.state == State::After && self.envelope.digest.is_open() {
                self.digest_up_to(bytes, at, limits);
            }
            match self.state {
                State::Skip => at = self.skip(bytes, at, limits),
                State::SkipString { escaped } => match skip_string(bytes, at, escaped) {
                    Ok(next) => {
                        at = next;
                        self.state = State::Skip;
                    }
                    Err(escaped) => {
                        self.state = State::SkipString { escaped };
                        return Step::More;
                    }
                },
                State::InString { escaped } => match skip_string(bytes, at, escaped) {
                    Ok(next) => {
                        at = next;
                        self.state = State::After;
                    }
                    Err(escaped) => {
                        self.state = State::InString { escaped };
                        return Step::More;
                    }
                },
                State::InText(slot) => at = self.text(slot, bytes, at, limits),
                State::InKey => at = self.rest_of_key(bytes, at),
                State::InToken => at = self.token(bytes, at, limits),
                State::Bad => return Step::More,
                _ if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') => at += 1,
                State::FirstKey | State::Key => match byte {
                    b'"' => at = self.key(bytes, at + 1),
                    b'}' if self.state == State::FirstKey => {
                        at += 1;
                        if self.close(position + at as u64) {
                            return Step::Object(at);
                        }
                    }
                    _ => self.state = State::Bad,
                },
                State::Colon => {
                    self.state = if byte == b':' { State::Value } else { State::Bad };
                    at += 1;
                }
                State::Value => at = self.value(bytes, at, byte, limits),
                State::After => {
                    at += 1;
                    match byte {
                        b',' => self.state = State::Key,
                        b'}' => {
                            if self.close(position + at as u64) {
                                return Step::Object(at);
                            }
                        }
                        _ => self.state = State::Bad,
                    }
                }
                State::Start | State::Element => {
                    match byte {
                        b'{' => {
                            self.envelope.clear();
                            self.start = position + at as u64;
                            self.path[0] = Node::Root;
                            self.depth = 1;
                            self.state = State::FirstKey;
                        }
                        b'[' if self.state == State::Start => {
                            self.batch = true;
                            self.state = State::Element;
                        }
                        _ => self.state = State::Bad,
                    }
                    at += 1;
                }
                State::AfterElement => {
                    self.state = match byte {
                        b',' => State::Element,
                        b']' => State::Done,
                        _ => State::Bad,
                    };
                    at += 1;
                }
                State::Done => self.state = State::Bad,
            }
        }
        Step::More
    }

    /// Closes the innermost node; true when that was the message.
    fn close(&mut self, end: u64) -> bool {
        self.depth = self.depth.saturating_sub(1);
        if self.depth > 0 {
            self.state = State::After;
            return false;
        }
        self.end = end;
        self.state = if self.batch { State::AfterElement } else { State::Done };
        true
    }

    fn node(&self) -> Node {
        self.path
            .get(self.depth.wrapping_sub(1))
            .copied()
            .unwrap_or(Node::Error)
    }

    fn key(&mut self, bytes: &[u8], from: usize) -> usize {
        if let Some(end) = text::plain_end(bytes, from) {
            self.slot = self.node().member(&bytes[from..end]);
            if self.slot == Slot::Digest {
                self.envelope.digest.begin(&bytes[from..end]);
            }
            self.had_key = true;
            // The colon nearly always follows at once.
            if bytes.get(end + 1) == Some(&b':') {
                self.state = State::Value;
                return end + 2;
            }
            self.state = State::Colon;
            return end + 1;
        }
        self.key.clear();
        self.decoder = Decoder::default();
        self.state = State::InKey;
        from
    }

    fn rest_of_key(&mut self, bytes: &[u8], at: usize) -> usize {
        let key = &mut self.key;
        let end = self.decoder.decode(bytes, at, |chunk| {
            let free = KEY_BYTES.saturating_sub(key.len());
            // One byte too many makes a long key unknown to every node.
            key.extend_from_slice(&chunk[..chunk.len().min(free)]);
        });
        let Some(end) = end else { return bytes.len() };
        self.slot = self.node().member(&self.key);
        if self.slot == Slot::Digest {
            self.envelope.digest.begin(&self.key);
        }
        self.had_key = true;
        self.state = State::Colon;
        end
    }

    fn value(&mut self, bytes: &[u8], at: usize, byte: u8, limits: &Limits) -> usize {
        let slot = std::mem::replace(&mut self.slot, Slot::Skip);
        match slot {
            // Some servers send `"error": null` beside a result.
            Slot::Enter(Node::Error) if byte == b'n' => {}
            Slot::Enter(node) => {
                self.envelope.unmark(node.fields());
                if let Some(mark) = node.mark() {
                    self.envelope.mark(mark);
                }
                if byte == b'{' && self.depth < PATH {
                    self.path[self.depth] = node;
                    self.depth += 1;
                    self.state = State::FirstKey;
                    return at + 1;
                }
            }
            Slot::Mark(field) => {
                if byte != b'n' {
                    self.envelope.mark(field);
                }
            }
            Slot::Text(field) | Slot::Token(field) | Slot::Hash(field) => {
                self.envelope.unmark(field.bit());
                if byte == b'"' {
                    return self.begin_text(slot, field, bytes, at + 1, limits);
                }
            }
            Slot::Digest => self.digested = at,
            Slot::Skip => {}
        }
        match byte {
            b'"' => {
                self.state = State::InString { escaped: false };
                at + 1
            }
            b'{' | b'[' => {
                self.nesting = 1;
                self.state = State::Skip;
                at + 1
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                let end = at + token_len(&bytes[at..]);
                if end < bytes.len() {
                    if let Slot::Token(field) = slot {
                        self.envelope.store(field, &bytes[at..end], true, limits);
                    }
                    self.state = State::After;
                    return end;
                }
                self.slot = slot;
                if let Slot::Token(field) = slot {
                    self.envelope.begin(field);
                }
                self.state = State::InToken;
                self.token(bytes, at, limits)
            }
            _ => {
                self.state = State::Bad;
                at
            }
        }
    }

    fn begin_text(&mut self, slot: Slot, field: Field, bytes: &[u8], from: usize, limits: &Limits) -> usize {
        let is_token = matches!(slot, Slot::Token(_));
        if matches!(slot, Slot::Hash(_)) {
            self.envelope.begin_hash();
        } else {
            if let Some(end) = text::plain_end(bytes, from) {
                // A token keeps its quotes.
                let kept = if is_token {
                    &bytes[from - 1..=end]
                } else {
                    &bytes[from..end]
                };
                self.envelope.store(field, kept, is_token, limits);
                self.state = State::After;
                return end + 1;
            }
            self.envelope.begin(field);
            if is_token {
                self.envelope.append(field, b"\"", limits);
            }
        }
        self.decoder = Decoder::default();
        self.state = State::InText(slot);
        from
    }

    fn text(&mut self, slot: Slot, bytes: &[u8], at: usize, limits: &Limits) -> usize {
        let envelope = &mut self.envelope;
        let end = self.decoder.decode(bytes, at, |chunk| match slot {
            Slot::Hash(_) => envelope.append_hash(chunk),
            Slot::Token(field) => {
                for byte in chunk {
                    // Peers may escape differently: what needs no escape is kept without.
                    match byte {
                        b'"' | b'\\' => envelope.append(field, &[b'\\', *byte], limits),
                        0..0x20 => {
                            envelope.append(field, format!("\\u{byte:04x}").as_bytes(), limits);
                        }
                        _ => envelope.append(field, &[*byte], limits),
                    }
                }
            }
            Slot::Text(field) => envelope.append(field, chunk, limits),
            _ => {}
        });
        let Some(end) = end else { return bytes.len() };
        match slot {
            Slot::Token(field) => {
                envelope.append(field, b"\"", limits);
                envelope.finish(field, true);
            }
            Slot::Text(field) => envelope.finish(field, false),
            Slot::Hash(field) => envelope.mark(field),
            _ => {}
        }
        self.state = State::After;
        end
    }

    fn token(&mut self, bytes: &[u8], at: usize, limits: &Limits) -> usize {
        let rest = &bytes[at..];
        let len = token_len(rest);
        if let Slot::Token(field) = self.slot {
            self.envelope.append(field, &rest[..len], limits);
            if len < rest.len() {
                self.envelope.finish(field, true);
            }
        }
        if len < rest.len() {
            self.slot = Slot::Skip;
            self.state = State::After;
        }
        at + len
    }

    /// Passes over a container that nobody wants.
    fn skip(&mut self, bytes: &[u8], from: usize, limits: &Limits) -> usize {
        let mut at = from;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'"' => match skip_string(bytes, at, false) {
                    Ok(next) => at = next,
                    Err(escaped) => {
                        self.state = State::SkipString { escaped };
                        return bytes.len();
                    }
                },
                b'{' | b'[' => {
                    self.nesting += 1;
                    if self.nesting > limits.json_depth {
                        self.state = State::Bad;
                        return at;
                    }
                }
                b'}' | b']' => {
                    self.nesting -= 1;
                    if self.nesting == 0 {
                        self.state = State::After;
                        return at;
                    }
                }
                _ => {}
            }
        }
        at
    }
}

/// The length of the number or literal that bytes begin with.
#[inline]
fn token_len(bytes: &[u8]) -> usize {
    let of_token = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'-' | b'+' | b'.' | b'E');
    bytes.iter().position(|byte| !of_token(byte)).unwrap_or(bytes.len())
}

/// Passes over a string: the index after its closing quote, or whether an escape is open at the end.
#[inline]
fn skip_string(bytes: &[u8], from: usize, escaped: bool) -> Result<usize, bool> {
    let mut at = from + usize::from(escaped);
    loop {
        let Some(rest) = bytes.get(at..) else {
            return Err(true);
        };
        let Some(found) = text::special(rest) else {
            return Err(false);
        };
        if rest[found] == b'"' {
            return Ok(at + found + 1);
        }
        at += found + 2;
    }
}
