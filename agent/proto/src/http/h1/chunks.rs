//! The chunked transfer coding: <https://www.rfc-editor.org/rfc/rfc9112#section-7.1>.

use super::clamp;
use crate::limits::Limits;

/// What was found among the bytes taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// The last so many of them are data.
    Data(usize),
    /// The body is complete, trailers included.
    End,
    Bad,
}

/// Where in a chunked body the bytes are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chunks {
    Size {
        value: u64,
        digits: bool,
        /// Behind the digits: white space and extensions.
        beyond: bool,
        /// Bytes of the line so far.
        len: usize,
    },
    /// So many bytes of the chunk are left; never 0.
    Data(u64),
    /// Before the line end that closes the data.
    DataEnd,
    Trailers {
        /// Nothing of the line so far but a carriage return.
        empty: bool,
        /// Bytes of all trailers so far.
        len: usize,
    },
}

impl Default for Chunks {
    fn default() -> Self {
        Self::Size {
            value: 0,
            digits: false,
            beyond: false,
            len: 0,
        }
    }
}

impl Chunks {
    /// Behind the line that gives the size of a chunk.
    pub(super) fn behind_size(size: u64) -> Self {
        match size {
            0 => Self::Trailers { empty: true, len: 0 },
            size => Self::Data(size),
        }
    }

    /// Takes bytes up to and including the next thing found.
    pub(super) fn push(&mut self, bytes: &[u8], limits: &Limits) -> (usize, Option<Chunk>) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if let Self::Data(left) = self {
                let here = clamp(*left, bytes.len() - at);
                *left -= here as u64;
                if *left == 0 {
                    *self = Self::DataEnd;
                }
                return (at + here, Some(Chunk::Data(here)));
            }
            at += 1;
            let found = match self {
                Self::Data(_) => None,
                Self::DataEnd => match byte {
                    b'\r' => None,
                    b'\n' => {
                        *self = Self::default();
                        None
                    }
                    _ => Some(Chunk::Bad),
                },
                Self::Size { .. } => self.size(byte, limits),
                Self::Trailers { empty, len } => {
                    *len += 1;
                    match byte {
                        b'\n' if *empty => Some(Chunk::End),
                        _ if *len > limits.head_bytes => Some(Chunk::Bad),
                        b'\n' => {
                            *empty = true;
                            None
                        }
                        b'\r' => None,
                        _ => {
                            *empty = false;
                            None
                        }
                    }
                }
            };
            if found.is_some() {
                return (at, found);
            }
        }
        (at, None)
    }

    /// Passes over at most `len` bytes of the chunk's data that are missing; returns how many.
    pub(super) fn skip(&mut self, len: u64) -> u64 {
        let Self::Data(left) = self else { return 0 };
        let missing = len.min(*left);
        *left -= missing;
        if *left == 0 {
            *self = Self::DataEnd;
        }
        missing
    }

    fn size(&mut self, byte: u8, limits: &Limits) -> Option<Chunk> {
        let Self::Size {
            value,
            digits,
            beyond,
            len,
        } = self
        else {
            return None;
        };
        *len += 1;
        match (byte, char::from(byte).to_digit(16)) {
            (b'\n', _) if *digits => {
                *self = Self::behind_size(*value);
                return None;
            }
            _ if *len > limits.chunk_line_bytes => return Some(Chunk::Bad),
            (b'\n', _) => return Some(Chunk::Bad),
            _ if *beyond => {}
            (_, Some(digit)) if *value <= u64::MAX >> 4 => {
                *value = *value << 4 | u64::from(digit);
                *digits = true;
            }
            (b';' | b' ' | b'\t' | b'\r', _) if *digits => *beyond = true,
            _ => return Some(Chunk::Bad),
        }
        None
    }
}
