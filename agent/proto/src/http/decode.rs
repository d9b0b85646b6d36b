//! Content codings, decoded as they arrive: <https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1>.
//!
//! What a peer flushed comes out at once, for events of a compressed stream are flushed one by one.

mod brotli;
mod inflate;
mod zstd;

#[cfg(test)]
mod tests;

use super::Coding;
use crate::limits::Limits;

/// Why a body is not decoded any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// It grows beyond what is decoded, or beyond all proportion.
    Bomb,
    Corrupt,
    /// A coding that is not known, or a window that is too large.
    Unsupported,
}

enum Codec {
    Inflate(inflate::Inflate),
    Brotli(brotli::Brotli),
    Zstd(zstd::Zstd),
}

/// Decodes one body. Memory is only taken once bytes of a coding other than identity come.
pub(crate) struct Decoder {
    coding: Coding,
    codec: Option<Codec>,
    failed: Option<DecodeError>,
    /// Bytes that came.
    taken: u64,
    /// Bytes that were decoded.
    given: u64,
    /// Those of the present message.
    message: u64,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl Decoder {
    pub(crate) fn new(coding: Coding) -> Self {
        Self {
            coding,
            codec: None,
            failed: None,
            taken: 0,
            given: 0,
            message: 0,
        }
    }

    /// Whether the bytes are what they decode to: nothing needs to be called then.
    pub(crate) fn is_identity(&self) -> bool {
        self.coding == Coding::Identity
    }

    /// Another message of the same body begins: the bound on a message's size holds anew.
    pub(crate) fn next_message(&mut self) {
        self.message = 0;
    }

    /// Appends to `out` what `input` decodes to. After an error the body is lost for good.
    pub(crate) fn decode(&mut self, input: &[u8], out: &mut Vec<u8>, limits: &Limits) -> Result<(), DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.coding == Coding::Identity {
            out.extend_from_slice(input);
            return Ok(());
        }
        let before = out.len();
        self.taken = self.taken.saturating_add(input.len() as u64);
        let cap = before.saturating_add(self.room(limits));
        let done = self.run(input, out, cap, limits);
        let given = (out.len() - before) as u64;
        self.given = self.given.saturating_add(given);
        self.message = self.message.saturating_add(given);
        if let Err(error) = done {
            self.failed = Some(error);
            self.codec = None;
        }
        done
    }

    /// How much may come of the input so far.
    fn room(&self, limits: &Limits) -> usize {
        let proportion = self.taken.saturating_mul(limits.decoded_ratio).max(limits.decoded_free);
        let room = proportion
            .saturating_sub(self.given)
            .min(limits.decoded_bytes.saturating_sub(self.message));
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    fn run(&mut self, input: &[u8], out: &mut Vec<u8>, cap: usize, limits: &Limits) -> Result<(), DecodeError> {
        if self.codec.is_none() {
            self.codec = Some(match self.coding {
                Coding::Gzip => Codec::Inflate(inflate::Inflate::gzip()),
                Coding::Deflate => Codec::Inflate(inflate::Inflate::deflate()),
                Coding::Brotli => Codec::Brotli(brotli::Brotli::new()),
                Coding::Zstd => Codec::Zstd(zstd::Zstd::new(limits)?),
                Coding::Identity | Coding::Unknown => return Err(DecodeError::Unsupported),
            });
        }
        match &mut self.codec {
            Some(Codec::Inflate(codec)) => codec.decode(input, out, cap),
            Some(Codec::Brotli(codec)) => codec.decode(input, out, cap, limits),
            Some(Codec::Zstd(codec)) => codec.decode(input, out, cap),
            None => Ok(()),
        }
    }
}

/// Output is made so many bytes at a time.
const STEP: usize = 16 * 1024;

/// Room for more output behind what there is: at most one byte beyond the cap, which tells a bomb.
fn grow(out: &mut Vec<u8>, cap: usize) -> Result<usize, DecodeError> {
    let from = out.len();
    if from > cap {
        return Err(DecodeError::Bomb);
    }
    let room = STEP.min(cap.saturating_add(1) - from);
    out.resize(from + room, 0);
    Ok(from)
}
