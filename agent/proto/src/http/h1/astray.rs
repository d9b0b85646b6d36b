//! Going on where bytes are missing.
//!
//! Mostly the message is lost. A stream of events that lives as long as its client is worth more than that: behind a gap
//! it goes on with the next line that can only be the size of a chunk.

use super::chunks::Chunks;
use super::{ExchangeKey, H1, Part, State, seek};

/// Digits of a size that is believed: chunks are smaller than 4 GiB.
const DIGITS: usize = 8;

impl H1 {
    /// The next `len` bytes are missing.
    pub(crate) fn gap(&mut self, len: u64) -> Option<(ExchangeKey, Part<'static>)> {
        if len == 0 {
            return None;
        }
        let missing = match &mut self.state {
            State::Switching | State::Switched => return None,
            State::Lost => 0,
            State::Done { cut } => {
                *cut = true;
                return None;
            }
            State::Cut => return None,
            State::Head => 0,
            State::UntilClose => len,
            State::Fixed(left) => {
                let missing = len.min(*left);
                *left -= missing;
                if *left == 0 {
                    self.state = State::Done { cut: len > missing };
                }
                missing
            }
            State::Astray => {
                self.buffer.clear();
                len
            }
            State::Chunked(chunks) => {
                let missing = chunks.skip(len);
                if missing == len {
                    missing
                } else if self.is_stream {
                    self.state = State::Astray;
                    len
                } else {
                    self.state = State::Cut;
                    missing
                }
            }
        };
        if missing > 0 {
            return Some((self.exchange, Part::Missing(missing)));
        }
        let silent = matches!(self.state, State::Lost) || self.speculative;
        self.forget_head();
        if silent {
            self.state = State::Lost;
            return None;
        }
        Some(self.close(Part::Cut, State::Lost))
    }

    /// Looks for the size of a chunk, or for the next response; returns up to where.
    pub(super) fn find_chunk<'a>(
        &mut self,
        position: u64,
        bytes: &'a [u8],
        from: usize,
    ) -> (usize, Option<(ExchangeKey, Part<'a>)>) {
        let rest = &bytes[from..];
        let Some(newline) = memchr::memchr(b'\n', rest) else {
            seek::keep_last(&mut self.buffer, rest);
            return (bytes.len(), None);
        };
        let at = from + newline + 1;
        seek::keep_last(&mut self.buffer, &rest[..=newline]);
        if let Some(size) = size_of_chunk(&self.buffer) {
            self.buffer = Vec::new();
            self.state = State::Chunked(Chunks::behind_size(size));
            return (at, Some((self.exchange, Part::Resumed)));
        }
        if self.take_start_line(position + at as u64) {
            return (at, Some(self.close(Part::Cut, State::Head)));
        }
        self.buffer.clear();
        (at, None)
    }
}

/// What a whole line says that is nothing but the size of a chunk. Lines of events have a colon.
fn size_of_chunk(line: &[u8]) -> Option<u64> {
    let digits = line.strip_suffix(b"\r\n").filter(|digits| digits.len() <= DIGITS)?;
    let is_size = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_size)?;
    u64::from_str_radix(text, 16).ok()
}
