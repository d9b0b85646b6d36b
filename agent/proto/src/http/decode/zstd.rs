//! Zstandard: <https://www.rfc-editor.org/rfc/rfc8878>.

use structured_zstd::decoding::FrameDecoder;

use super::{DecodeError, grow};
use crate::limits::Limits;

/// A block with its header and a checksum: the decoder makes no progress with less than a whole one.
const BLOCK: usize = 128 * 1024 + 3 + 4;
const MAGIC: u32 = 0xfd2f_b528;

pub(super) struct Zstd {
    decoder: Box<FrameDecoder>,
    in_frame: bool,
    /// Bytes of a skippable frame that are left.
    skip: u64,
    /// The beginning of a header or block.
    pending: Vec<u8>,
}

impl Zstd {
    pub(super) fn new(limits: &Limits) -> Result<Self, DecodeError> {
        let mut decoder = Box::new(FrameDecoder::new());
        if decoder.set_max_window_size(limits.decode_window_bytes).is_err() {
            return Err(DecodeError::Unsupported);
        }
        Ok(Self {
            decoder,
            in_frame: false,
            skip: 0,
            pending: Vec::new(),
        })
    }

    pub(super) fn decode(&mut self, input: &[u8], out: &mut Vec<u8>, cap: usize) -> Result<(), DecodeError> {
        let mut kept = std::mem::take(&mut self.pending);
        let rest = if kept.is_empty() {
            self.take(input, out, cap)?
        } else {
            kept.extend_from_slice(input);
            self.take(&kept, out, cap)?
        };
        if rest.len() > BLOCK {
            return Err(DecodeError::Corrupt);
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    /// Decodes what is here as a whole; returns the rest.
    fn take<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>, cap: usize) -> Result<&'a [u8], DecodeError> {
        let mut rest = input;
        loop {
            if self.skip > 0 {
                let here = usize::try_from(self.skip).map_or(rest.len(), |skip| skip.min(rest.len()));
                self.skip -= here as u64;
                rest = &rest[here..];
                if self.skip > 0 {
                    return Ok(rest);
                }
            }
            if !self.in_frame {
                match Header::of(rest)? {
                    Header::Incomplete => return Ok(rest),
                    Header::Skippable(len) => {
                        (self.skip, rest) = (u64::from(len), &rest[8..]);
                        continue;
                    }
                    Header::Frame => {}
                }
                if self.decoder.reset(&mut rest).is_err() {
                    return Err(DecodeError::Unsupported);
                }
                self.in_frame = true;
            }
            let from = grow(out, cap)?;
            let Ok((taken, written)) = self.decoder.decode_from_to(rest, &mut out[from..]) else {
                out.truncate(from);
                return Err(DecodeError::Corrupt);
            };
            out.truncate(from + written);
            if out.len() > cap {
                return Err(DecodeError::Bomb);
            }
            rest = rest.get(taken..).unwrap_or_default();
            if self.decoder.is_finished() && self.decoder.can_collect() == 0 {
                self.in_frame = false;
            } else if (taken, written) == (0, 0) {
                return Ok(rest);
            }
        }
    }
}

enum Header {
    Incomplete,
    /// A frame of so many bytes for somebody else.
    Skippable(u32),
    Frame,
}

impl Header {
    /// What begins here: the decoder takes a frame's header only as a whole.
    fn of(bytes: &[u8]) -> Result<Self, DecodeError> {
        let Some((magic, more)) = bytes.split_first_chunk::<4>() else {
            return Ok(Self::Incomplete);
        };
        match u32::from_le_bytes(*magic) {
            MAGIC => {
                let Some(descriptor) = more.first() else {
                    return Ok(Self::Incomplete);
                };
                let single = descriptor >> 5 & 1;
                let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
                let size = [usize::from(single), 2, 4, 8][usize::from(descriptor >> 6)];
                let len = 1 + usize::from(1 - single) + dictionary + size;
                Ok(if more.len() < len {
                    Self::Incomplete
                } else {
                    Self::Frame
                })
            }
            0x184d_2a50..=0x184d_2a5f => Ok(more
                .first_chunk::<4>()
                .map_or(Self::Incomplete, |len| Self::Skippable(u32::from_le_bytes(*len)))),
            _ => Err(DecodeError::Corrupt),
        }
    }
}
