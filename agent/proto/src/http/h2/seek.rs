//! Where frames begin, when bytes are missing or the beginning was not seen.
//!
//! Frames carry no mark. But a header has few forms, and it says where the next one is: a chain of
//! likely headers is a chain of frames, and so is one frame that ends where the bytes do, as
//! writes mostly do. Text cannot be taken for either: as a length it is far too large.

use super::frame::{HEADER_BYTES, Header, Sender};

/// Likely headers in a row that leave no doubt.
const CHAIN: u8 = 3;
/// Chains that are followed at a time.
const CHAINS: usize = 32;
/// Most bytes of a header that were in an earlier piece.
const CARRY: usize = HEADER_BYTES - 1;

#[derive(Clone, Copy, Debug)]
struct Chain {
    start: u64,
    /// Where the next frame is.
    next: u64,
    frames: u8,
}

/// Follows chains of frames through bytes that come in pieces.
#[derive(Clone, Debug, Default)]
pub(super) struct Seek {
    carry: [u8; CARRY],
    carried: usize,
    chains: Vec<Chain>,
}

/// The bytes at hand: the last of earlier pieces, and a piece.
struct Window<'a> {
    carry: &'a [u8],
    bytes: &'a [u8],
    /// Position of the first carried byte.
    base: u64,
}

impl Window<'_> {
    fn end(&self) -> u64 {
        self.base + (self.carry.len() + self.bytes.len()) as u64
    }

    fn byte(&self, at: usize) -> Option<u8> {
        match at.checked_sub(self.carry.len()) {
            None => self.carry.get(at).copied(),
            Some(at) => self.bytes.get(at).copied(),
        }
    }

    fn header(&self, position: u64) -> Option<Header> {
        let at = usize::try_from(position.checked_sub(self.base)?).ok()?;
        let mut header = [0; HEADER_BYTES];
        for (n, byte) in header.iter_mut().enumerate() {
            *byte = self.byte(at + n)?;
        }
        Some(Header::parse(header))
    }
}

impl Chain {
    /// Goes on as far as the bytes reach. Whether it still is a chain.
    fn follow(&mut self, window: &Window<'_>, sender: Sender) -> bool {
        while self.frames < CHAIN
            && let Some(header) = window.header(self.next)
        {
            if !header.is_likely(sender) {
                return false;
            }
            self.next += HEADER_BYTES as u64 + u64::from(header.length);
            self.frames += 1;
        }
        true
    }

    fn is_sure(&self, window: &Window<'_>) -> bool {
        self.frames >= CHAIN || self.next == window.end()
    }

    /// The first of its frames that is not gone.
    fn entry(&self, window: &Window<'_>) -> u64 {
        if self.start >= window.base {
            self.start
        } else {
            self.next
        }
    }
}

impl Seek {
    /// Looks through a piece. The answer is where a frame begins: up to [`CARRY`] bytes before
    /// the piece (see [`Seek::carried`]), in it or behind it.
    pub(super) fn push(&mut self, position: u64, bytes: &[u8], sender: Sender) -> Option<u64> {
        let window = Window {
            carry: &self.carry[..self.carried],
            bytes,
            base: position.saturating_sub(self.carried as u64),
        };
        self.chains.retain_mut(|chain| chain.follow(&window, sender));
        let mut found = self.chains.iter().find(|chain| chain.is_sure(&window)).copied();
        let mut at = window.base;
        while found.is_none()
            && let Some(header) = window.header(at)
        {
            if header.is_likely(sender) {
                let mut chain = Chain {
                    start: at,
                    next: at,
                    frames: 0,
                };
                if chain.follow(&window, sender) {
                    if chain.is_sure(&window) {
                        found = Some(chain);
                    } else if self.chains.len() < CHAINS {
                        self.chains.push(chain);
                    }
                }
            }
            at += 1;
        }
        if let Some(chain) = found {
            return Some(chain.entry(&window));
        }
        let (mut carry, len) = ([0; CARRY], window.carry.len() + bytes.len());
        let carried = len.min(CARRY);
        for (n, byte) in carry[..carried].iter_mut().enumerate() {
            *byte = window.byte(len - carried + n).unwrap_or(0);
        }
        (self.carry, self.carried) = (carry, carried);
        None
    }

    /// The last bytes before the piece at `position`, from `start` on.
    pub(super) fn carried(&self, start: u64, position: u64) -> &[u8] {
        let wanted = usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX);
        &self.carry[self.carried - wanted.min(self.carried)..self.carried]
    }

    /// Bytes up to `end` are missing.
    pub(super) fn gap(&mut self, end: u64) {
        self.carried = 0;
        self.chains.retain(|chain| chain.next >= end);
    }
}
