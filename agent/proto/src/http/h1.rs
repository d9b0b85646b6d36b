//! HTTP/1.0 and 1.1: one direction of one connection.
//!
//! Framing of messages: <https://www.rfc-editor.org/rfc/rfc9112#section-6>.

mod astray;
mod chunks;
mod seek;
mod start;

#[cfg(test)]
mod tests;

use super::{ExchangeKey, Part};
use crate::limits::Limits;
use chunks::{Chunk, Chunks};
use start::{Framing, Head};

pub(crate) use seek::looks_like_request;
pub(crate) use seek::looks_like_response;

/// What travels in this direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Requests,
    Responses,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before or within a head.
    Head,
    /// So many bytes of the body are left; never 0.
    Fixed(u64),
    Chunked(Chunks),
    /// In a chunked body, but nobody knows where in it: the next chunk is looked for.
    Astray,
    UntilClose,
    /// The message is complete, which is yet to be said. `cut`: so is that the next is lost.
    Done {
        cut: bool,
    },
    /// It is yet to be said that the message is lost.
    Cut,
    /// It is yet to be said that another protocol follows.
    Switching,
    Switched,
    /// Nobody knows where a message begins: start lines are looked for.
    Lost,
}

/// Finds the messages of one direction of an HTTP/1 connection.
///
/// After each push, gap or end, [`H1::push`] is to be called with what is left of the bytes, even
/// when that is nothing, until it answers `None`: only then has everything been said.
#[derive(Clone, Debug)]
pub(crate) struct H1 {
    role: Role,
    state: State,
    /// In a head, its bytes so far; while lost, the end of the line so far. Empty in bodies, and
    /// where heads come in one piece.
    buffer: Vec<u8>,
    /// In a head, where its last line begins in the buffer.
    line: usize,
    /// The head was found by looking for it: if it is none, that is no news.
    speculative: bool,
    /// The response goes on behind what is missing, and what comes then is worth finding.
    is_stream: bool,
    head_start: u64,
    exchange: ExchangeKey,
}

impl H1 {
    /// Requests, from the first byte of the connection or (`midway`) from anywhere.
    pub(crate) fn requests(midway: bool) -> Self {
        Self::new(Role::Requests, midway)
    }

    /// Responses, from the first byte of the connection or (`midway`) from anywhere.
    pub(crate) fn responses(midway: bool) -> Self {
        Self::new(Role::Responses, midway)
    }

    fn new(role: Role, midway: bool) -> Self {
        Self {
            role,
            state: if midway { State::Lost } else { State::Head },
            buffer: Vec::new(),
            line: 0,
            speculative: false,
            is_stream: false,
            head_start: 0,
            exchange: 0,
        }
    }

    /// Position of the first byte of the current message's head.
    pub(crate) fn head_start(&self) -> u64 {
        self.head_start
    }

    /// Position of the first byte of a head that is not complete.
    pub(crate) fn open_head(&self) -> Option<u64> {
        (matches!(self.state, State::Head) && !self.buffer.is_empty()).then_some(self.head_start)
    }

    /// The response whose head was just reported answers a HEAD request: it has no body.
    pub(crate) fn no_body(&mut self) {
        if matches!(self.state, State::Fixed(_) | State::Chunked(_) | State::UntilClose) {
            self.state = State::Done { cut: false };
        }
    }

    /// The response whose head was just reported is a stream of events: each is worth having.
    pub(crate) fn streams(&mut self) {
        self.is_stream = true;
    }

    /// Takes bytes up to and including the next part. `position` is that of the first byte.
    pub(crate) fn push<'a>(
        &mut self,
        position: u64,
        bytes: &'a [u8],
        limits: &Limits,
    ) -> (usize, Option<(ExchangeKey, Part<'a>)>) {
        let mut at = 0;
        let part = loop {
            match &mut self.state {
                State::Done { cut } => {
                    let cut = *cut;
                    break Some(self.close(Part::End, if cut { State::Cut } else { State::Head }));
                }
                State::Cut => break Some(self.close(Part::Cut, State::Lost)),
                State::Switching => break Some(self.close(Part::Switched, State::Switched)),
                _ if at == bytes.len() => break None,
                State::Switched => at = bytes.len(),
                State::Lost => at = self.seek(position, bytes, at),
                State::Astray => {
                    let (next, part) = self.find_chunk(position, bytes, at);
                    at = next;
                    if part.is_some() {
                        break part;
                    }
                }
                State::Head => {
                    let (next, part) = self.head(position, bytes, at, limits);
                    at = next;
                    if part.is_some() {
                        break part;
                    }
                }
                State::UntilClose => {
                    let body = &bytes[at..];
                    at = bytes.len();
                    break Some((self.exchange, Part::Body(body)));
                }
                State::Fixed(left) => {
                    let here = clamp(*left, bytes.len() - at);
                    let body = &bytes[at..at + here];
                    at += here;
                    *left -= here as u64;
                    if *left == 0 {
                        self.state = State::Done { cut: false };
                    }
                    break Some((self.exchange, Part::Body(body)));
                }
                State::Chunked(chunks) => {
                    let (taken, found) = chunks.push(&bytes[at..], limits);
                    let before = at;
                    at += taken;
                    match found {
                        None => {}
                        Some(Chunk::Data(len)) => {
                            let body = &bytes[before + taken - len..at];
                            break Some((self.exchange, Part::Body(body)));
                        }
                        Some(Chunk::End) => self.state = State::Done { cut: false },
                        Some(Chunk::Bad) if self.is_stream => {
                            self.state = State::Astray;
                            break Some((self.exchange, Part::Missing(taken as u64)));
                        }
                        Some(Chunk::Bad) => break Some(self.close(Part::Bad, State::Lost)),
                    }
                }
            }
        };
        (at, part)
    }

    /// The connection ended. To be called until it answers `None`.
    pub(crate) fn end(&mut self) -> Option<(ExchangeKey, Part<'static>)> {
        let open = match self.state {
            State::Head => !self.buffer.is_empty() && !self.speculative,
            State::Lost | State::Switched => false,
            State::Done { cut } => {
                return Some(self.close(Part::End, if cut { State::Cut } else { State::Head }));
            }
            State::UntilClose => return Some(self.close(Part::End, State::Head)),
            State::Switching => return Some(self.close(Part::Switched, State::Switched)),
            State::Cut | State::Fixed(_) | State::Chunked(_) | State::Astray => true,
        };
        self.forget_head();
        if !open {
            return None;
        }
        Some(self.close(Part::Cut, State::Head))
    }

    /// Ends the message with its last part.
    fn close<'a>(&mut self, part: Part<'a>, next: State) -> (ExchangeKey, Part<'a>) {
        let key = self.exchange;
        self.exchange += 1;
        self.state = next;
        self.is_stream = false;
        (key, part)
    }

    fn forget_head(&mut self) {
        self.buffer = Vec::new();
        self.line = 0;
        self.speculative = false;
    }

    /// Takes bytes of a head: all at once when it is here as a whole, else line by line.
    fn head<'a>(
        &mut self,
        position: u64,
        bytes: &'a [u8],
        from: usize,
        limits: &Limits,
    ) -> (usize, Option<(ExchangeKey, Part<'a>)>) {
        let mut at = from;
        if self.buffer.is_empty() {
            // Some peers put an empty line before the request line (RFC 9112, 2.2).
            let empty = bytes[at..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
            at += empty.count();
            if at == bytes.len() {
                return (at, None);
            }
            self.head_start = position + at as u64;
            if let Some((len, head)) = start::parse(self.role, &bytes[at..], limits)
                && len <= limits.head_bytes
            {
                return (at + len, self.begin(head));
            }
        }
        while at < bytes.len() {
            // One byte more than may be: whether the head is too long does not depend on its pieces.
            let room = limits.head_bytes.saturating_add(1).saturating_sub(self.buffer.len());
            let rest = &bytes[at..bytes.len().min(at.saturating_add(room))];
            let newline = memchr::memchr(b'\n', rest);
            let piece = &rest[..newline.map_or(rest.len(), |newline| newline + 1)];
            self.buffer.extend_from_slice(piece);
            at += piece.len();
            if self.buffer.len() > limits.head_bytes {
                self.line = self.buffer.len();
                return (at, self.lose());
            }
            let line = &self.buffer[self.line..];
            let plausible = match newline {
                None if self.line > 0 => true,
                None => start::may_begin(self.role, line),
                Some(_) if self.line == 0 => start::is_start_line(self.role, line),
                Some(_) => start::is_field_line(line) || start::is_empty_line(line),
            };
            if !plausible {
                // The line may end with a start line: the newline is left for the search.
                if newline.is_some() {
                    self.buffer.pop();
                    at -= 1;
                }
                return (at, self.lose());
            }
            if newline.is_none() {
                continue;
            }
            if self.line == 0 || !start::is_empty_line(line) {
                self.line = self.buffer.len();
                continue;
            }
            let parsed = start::parse(self.role, &self.buffer, limits);
            let part = match parsed {
                Some((_, head)) => {
                    self.forget_head();
                    self.begin(head)
                }
                None => {
                    self.line = self.buffer.len();
                    self.lose()
                }
            };
            return (at, part);
        }
        (at, None)
    }

    /// Gives up a head, but for its last line, within which another may begin.
    fn lose<'a>(&mut self) -> Option<(ExchangeKey, Part<'a>)> {
        let silent = self.speculative;
        let last = self.buffer.split_off(self.line);
        self.forget_head();
        self.buffer = last;
        if silent {
            self.state = State::Lost;
            return None;
        }
        Some(self.close(Part::Bad, State::Lost))
    }

    /// What follows a head that is complete.
    fn begin<'a>(&mut self, head: Head) -> Option<(ExchangeKey, Part<'a>)> {
        let part = match head {
            // Interim responses announce the one that counts.
            Head::Response(head, _) if (100..200).contains(&head.status) && head.status != 101 => return None,
            Head::Bad => return Some(self.close(Part::Bad, State::Lost)),
            Head::Request(head, framing) => {
                self.state = framing.into();
                Part::Request(head)
            }
            Head::Response(head, framing) => {
                self.state = if head.status == 101 {
                    State::Switching
                } else {
                    framing.into()
                };
                Part::Response(head)
            }
        };
        Some((self.exchange, part))
    }

    /// Looks for a start line; returns up to where, or behind the line when there is one.
    fn seek(&mut self, position: u64, bytes: &[u8], from: usize) -> usize {
        let rest = &bytes[from..];
        let Some(newline) = memchr::memchr(b'\n', rest) else {
            seek::keep_last(&mut self.buffer, rest);
            return bytes.len();
        };
        let at = from + newline + 1;
        seek::keep_last(&mut self.buffer, &rest[..=newline]);
        if self.take_start_line(position + at as u64) {
            self.state = State::Head;
        } else {
            self.buffer.clear();
        }
        at
    }

    /// Whether the line that ends before `end` ends with a start line: then a head may have begun.
    fn take_start_line(&mut self, end: u64) -> bool {
        let Some(begin) = seek::start_line(self.role, &self.buffer) else {
            return false;
        };
        self.buffer.drain(..begin);
        self.line = self.buffer.len();
        self.head_start = end.saturating_sub(self.buffer.len() as u64);
        self.speculative = true;
        true
    }
}

impl From<Framing> for State {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done { cut: false },
            Framing::Length(len) => Self::Fixed(len),
            Framing::Chunked => Self::Chunked(Chunks::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }
}

/// `len`, but at most `most`.
fn clamp(len: u64, most: usize) -> usize {
    usize::try_from(len).map_or(most, |len| len.min(most))
}
