//! How data is cut: chosen by its content, so that a failure repeats.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Numbers that follow from the data.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn of(data: &[u8]) -> Self {
        // Its keys are fixed.
        let mut hasher = DefaultHasher::new();
        data.hash(&mut hasher);
        Self(hasher.finish() | 1)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % end.max(1)
    }
}

/// The data in pieces, most of them short.
pub(super) fn cut(mut data: &[u8]) -> Vec<&[u8]> {
    let mut dice = Dice::of(data);
    let mut pieces = Vec::new();
    while !data.is_empty() {
        let longest = 1 << dice.below(9);
        let (piece, rest) = data.split_at((1 + dice.below(longest)).min(data.len()));
        pieces.push(piece);
        data = rest;
    }
    pieces
}

/// The data in pieces, some of which are missing: their content is not given, only their length.
pub(super) fn tear(data: &[u8]) -> Vec<(&[u8], u64)> {
    let mut dice = Dice::of(data);
    cut(data)
        .into_iter()
        .map(|piece| match dice.below(4) {
            // Now and then, more is missing than there ever was.
            0 => (&piece[..0], (piece.len() << (dice.below(32) * dice.below(2))) as u64),
            _ => (piece, 0),
        })
        .collect()
}
