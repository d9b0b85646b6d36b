//! gzip, zlib and raw deflate.

use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::DecodeError;

/// Takes what is decoded, up to a cap.
#[derive(Default)]
struct Sink {
    out: Vec<u8>,
    cap: usize,
    full: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.cap.saturating_sub(self.out.len()) {
            self.full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Format {
    Gzip(MultiGzDecoder<Sink>),
    /// `deflate`, of which too little has come to tell which of two it is.
    Unsure(Option<u8>),
    Zlib(ZlibDecoder<Sink>),
    Raw(DeflateDecoder<Sink>),
}

pub(super) struct Inflate(Format);

impl Inflate {
    pub(super) fn gzip() -> Self {
        Self(Format::Gzip(MultiGzDecoder::new(Sink::default())))
    }

    pub(super) fn deflate() -> Self {
        Self(Format::Unsure(None))
    }

    pub(super) fn decode(&mut self, input: &[u8], out: &mut Vec<u8>, cap: usize) -> Result<(), DecodeError> {
        if let Format::Unsure(first) = &mut self.0 {
            let (Some(first), rest) = (match *first {
                Some(first) => (Some(first), input),
                None => input
                    .split_first()
                    .map_or((None, input), |(first, rest)| (Some(*first), rest)),
            }) else {
                return Ok(());
            };
            let Some(second) = rest.first() else {
                self.0 = Format::Unsure(Some(first));
                return Ok(());
            };
            self.0 = if is_zlib(first, *second) {
                Format::Zlib(ZlibDecoder::new(Sink::default()))
            } else {
                Format::Raw(DeflateDecoder::new(Sink::default()))
            };
            self.write(&[first], out, cap)?;
            return self.write(rest, out, cap);
        }
        self.write(input, out, cap)
    }

    fn write(&mut self, input: &[u8], out: &mut Vec<u8>, cap: usize) -> Result<(), DecodeError> {
        match &mut self.0 {
            Format::Gzip(decoder) => write(decoder, MultiGzDecoder::get_mut, input, out, cap),
            Format::Zlib(decoder) => write(decoder, ZlibDecoder::get_mut, input, out, cap),
            Format::Raw(decoder) => write(decoder, DeflateDecoder::get_mut, input, out, cap),
            Format::Unsure(_) => Ok(()),
        }
    }
}

fn write<D: Write>(
    decoder: &mut D,
    sink: impl Fn(&mut D) -> &mut Sink,
    input: &[u8],
    out: &mut Vec<u8>,
    cap: usize,
) -> Result<(), DecodeError> {
    let lent = sink(decoder);
    (lent.out, lent.cap) = (std::mem::take(out), cap);
    let done = write_all(decoder, input);
    let lent = sink(decoder);
    *out = std::mem::take(&mut lent.out);
    match done {
        Ok(()) => Ok(()),
        Err(_) if lent.full => Err(DecodeError::Bomb),
        Err(_) => Err(DecodeError::Corrupt),
    }
}

fn write_all(decoder: &mut impl Write, input: &[u8]) -> io::Result<()> {
    let mut rest = input;
    while !rest.is_empty() {
        match decoder.write(rest)? {
            // The stream is complete: what follows is padding.
            0 => break,
            written => rest = &rest[written..],
        }
    }
    // What is decoded comes out, whatever is to follow.
    decoder.flush()
}

/// Whether two bytes are the header of the zlib format (RFC 1950, 2.2).
fn is_zlib(method: u8, flags: u8) -> bool {
    method & 0x0f == 8 && method >> 4 <= 7 && (u16::from(method) << 8 | u16::from(flags)).is_multiple_of(31)
}
