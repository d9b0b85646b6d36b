//! Brotli: <https://www.rfc-editor.org/rfc/rfc7932>.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};

use super::{DecodeError, grow};
use crate::limits::Limits;

pub(super) struct Brotli {
    state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>,
    begun: bool,
    finished: bool,
}

impl Brotli {
    pub(super) fn new() -> Self {
        let alloc = StandardAlloc::default();
        Self {
            // Windows beyond 16 MiB are no part of the coding.
            state: Box::new(BrotliState::new_strict(alloc, alloc, alloc)),
            begun: false,
            finished: false,
        }
    }

    pub(super) fn decode(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        cap: usize,
        limits: &Limits,
    ) -> Result<(), DecodeError> {
        let Some(first) = input.first() else { return Ok(()) };
        if !std::mem::replace(&mut self.begun, true) && 1 << window_bits(*first) > limits.decode_window_bytes {
            return Err(DecodeError::Unsupported);
        }
        let mut taken = 0;
        while !self.finished {
            let from = grow(out, cap)?;
            let (mut left, mut room, mut written, mut total) = (input.len() - taken, out.len() - from, 0, 0);
            let result = BrotliDecompressStream(
                &mut left,
                &mut taken,
                input,
                &mut room,
                &mut written,
                &mut out[from..],
                &mut total,
                &mut self.state,
            );
            out.truncate(from + written);
            match result {
                BrotliResult::ResultSuccess => self.finished = true,
                BrotliResult::NeedsMoreInput => break,
                BrotliResult::NeedsMoreOutput => {}
                BrotliResult::ResultFailure => return Err(DecodeError::Corrupt),
            }
        }
        if out.len() > cap {
            return Err(DecodeError::Bomb);
        }
        Ok(())
    }
}

/// Logarithm of the window's size, which the first byte tells (RFC 7932, 9.1).
fn window_bits(first: u8) -> u8 {
    match (first & 1, first >> 1 & 7, first >> 4 & 7) {
        (0, _, _) => 16,
        (_, 0, 0) => 17,
        (_, 0, bits) => 8 + bits,
        (_, bits, _) => 17 + bits,
    }
}
