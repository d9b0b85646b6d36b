//! WebSocket (RFC 6455) with compressed messages (RFC 7692), one direction of a connection.
//!
//! Frames carry no mark, and masked payload looks like anything. So where the beginning was not
//! seen, or a frame header is missing, messages are read again from a piece of bytes that is a row
//! of whole frames: as peers write them, one message a write, that is the next one. Compressed
//! messages build on those before; once one of those is missing, they stay unread.

mod inflate;

use crate::limits::Limits;
use inflate::Inflate;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WsPart<'a> {
    /// Payload of the message, unmasked and uncompressed.
    Payload(&'a [u8]),
    /// So many bytes of the message are missing.
    Missing(u64),
    /// The message is complete.
    End { text: bool },
    /// The message was given up: its end is missing, it is compressed and cannot be read, or it
    /// is longer than it may be.
    Cut,
    /// The peer closes the connection. Nothing follows.
    Close,
    /// The bytes are no WebSocket frames. Nothing more is read.
    Bad,
}

/// Payload that is unmasked or decompressed at a time, in bytes.
const CHUNK: usize = 4096;
/// The longest frame header: two bytes, length, mask.
const HEADER_BYTES: usize = 14;

const FIN: u8 = 0x80;
const COMPRESSED: u8 = 0x40;
const RESERVED: u8 = 0x30;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

#[derive(Clone, Copy, Debug)]
struct Frame {
    first: u8,
    length: u64,
    mask: Option<[u8; 4]>,
}

impl Frame {
    /// Length of a header that begins like this, in bytes.
    fn header_bytes(header: &[u8]) -> usize {
        let Some(second) = header.get(1) else { return 2 };
        let length = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if second & MASKED == 0 { 0 } else { 4 }
    }

    /// A header of [`Frame::header_bytes`]; `None` when it is not one (section 5.2).
    fn parse(header: &[u8], masked: bool) -> Option<Self> {
        let (&first, rest) = header.split_first()?;
        let (&second, rest) = rest.split_first()?;
        let (length, rest) = match second & !MASKED {
            126 => rest
                .split_first_chunk()
                .map(|(length, rest)| (u16::from_be_bytes(*length).into(), rest))?,
            127 => rest
                .split_first_chunk()
                .map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
            short => (short.into(), rest),
        };
        let frame = Self {
            first,
            length,
            mask: rest.first_chunk().copied(),
        };
        let fits = match frame.opcode() {
            TEXT | BINARY => true,
            CONTINUATION => first & COMPRESSED == 0,
            CLOSE | PING | PONG => length <= 125 && first & (FIN | COMPRESSED) == FIN,
            _ => false,
        };
        // Clients mask and servers do not (section 5.1).
        let whole = frame.mask.is_some() == masked && (second & MASKED != 0) == masked;
        (fits && whole && first & RESERVED == 0 && length >> 63 == 0).then_some(frame)
    }

    fn opcode(&self) -> u8 {
        self.first & 0xf
    }

    fn is_control(&self) -> bool {
        self.opcode() >= CLOSE
    }
}

/// A message that is not complete.
#[derive(Clone, Copy, Debug)]
struct Message {
    text: bool,
    compressed: bool,
    /// It was given up.
    cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// So much of a frame header has come.
    Header(usize),
    /// So much of a frame's payload is to come.
    Payload(u64),
    /// What was decompressed from is still in the scratch.
    Inflate { left: u64 },
    /// Nobody knows where a frame begins.
    Lost,
    /// After a close, or what is not WebSocket.
    Over,
}

/// What a step has found, and where it is.
enum Step {
    /// Nothing yet.
    Next,
    /// It needs more bytes.
    More,
    /// The bytes that it took.
    Taken,
    /// So much of the scratch.
    Scratch(usize),
    Inflated,
    Part(WsPart<'static>),
}

/// Understands one direction of one connection.
#[derive(Debug)]
pub(crate) struct WebSocket {
    masked: bool,
    mode: Mode,
    header: [u8; HEADER_BYTES],
    frame: Frame,
    message: Option<Message>,
    scratch: Vec<u8>,
    inflate: Inflate,
}

impl WebSocket {
    /// What a client sends. `midway`: the beginning was not seen.
    pub(crate) fn requests(midway: bool) -> Self {
        Self::new(true, midway)
    }

    /// What a server sends.
    pub(crate) fn responses(midway: bool) -> Self {
        Self::new(false, midway)
    }

    fn new(masked: bool, midway: bool) -> Self {
        let mut inflate = Inflate::default();
        if midway {
            inflate.lose();
        }
        Self {
            masked,
            mode: if midway { Mode::Lost } else { Mode::Header(0) },
            header: [0; HEADER_BYTES],
            frame: Frame {
                first: 0,
                length: 0,
                mask: None,
            },
            message: None,
            scratch: Vec::new(),
            inflate,
        }
    }

    /// Bytes of the peer's that are kept, but for the window of compressed messages.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn held(&self) -> usize {
        self.scratch.capacity() + self.inflate.output().len()
    }

    /// Takes bytes up to and including the next part.
    ///
    /// Some parts take no bytes: call again, with what is left or nothing, until there is none.
    pub(crate) fn push<'a>(&'a mut self, bytes: &'a [u8], limits: &Limits) -> (usize, Option<WsPart<'a>>) {
        let mut at = 0;
        loop {
            let (taken, step) = self.step(&bytes[at..], limits);
            let from = at;
            at += taken;
            let part = match step {
                Step::Next => continue,
                Step::More => return (at, None),
                Step::Taken => WsPart::Payload(&bytes[from..at]),
                Step::Scratch(len) => WsPart::Payload(&self.scratch[..len]),
                Step::Inflated => WsPart::Payload(self.inflate.output()),
                Step::Part(part) => part,
            };
            return (at, Some(part));
        }
    }

    /// `len` bytes are missing.
    pub(crate) fn gap(&mut self, len: u64) -> Option<WsPart<'static>> {
        match self.mode {
            Mode::Over => None,
            _ if len == 0 => None,
            Mode::Payload(left) if len <= left => {
                self.mode = Mode::Payload(left - len);
                match self.message {
                    _ if self.frame.is_control() => None,
                    Some(message) if message.compressed => self.cut(),
                    Some(message) if !message.cut => Some(WsPart::Missing(len)),
                    _ => None,
                }
            }
            _ => {
                self.mode = Mode::Lost;
                self.inflate.lose();
                let cut = self.cut();
                self.message = None;
                cut
            }
        }
    }

    fn step(&mut self, bytes: &[u8], limits: &Limits) -> (usize, Step) {
        match self.mode {
            Mode::Payload(0) => (0, self.end_frame()),
            Mode::Inflate { left } => (0, self.inflate(left, limits)),
            _ if bytes.is_empty() => (0, Step::More),
            Mode::Over => (bytes.len(), Step::More),
            Mode::Header(seen) => {
                let wanted = Frame::header_bytes(&self.header[..seen]);
                let taken = bytes.len().min(wanted - seen);
                let seen = seen + taken;
                self.header[seen - taken..seen].copy_from_slice(&bytes[..taken]);
                self.mode = Mode::Header(seen);
                // The second byte says how long the header is.
                if seen < Frame::header_bytes(&self.header[..seen]) {
                    return (taken, Step::Next);
                }
                (taken, self.begin_frame(seen))
            }
            Mode::Payload(left) => self.payload(left, bytes),
            Mode::Lost if self.are_frames(bytes) => {
                self.mode = Mode::Header(0);
                (0, Step::Next)
            }
            Mode::Lost => (bytes.len(), Step::More),
        }
    }

    fn begin_frame(&mut self, header_bytes: usize) -> Step {
        let Some(frame) = Frame::parse(&self.header[..header_bytes], self.masked) else {
            return self.bad();
        };
        (self.frame, self.mode) = (frame, Mode::Payload(frame.length));
        let first = frame.opcode() != CONTINUATION;
        // Fragments of a message follow each other; control frames may come between (section 5.4).
        if frame.is_control() {
            return Step::Next;
        }
        if first == self.message.is_some() {
            return self.bad();
        }
        if first {
            let compressed = frame.first & COMPRESSED != 0;
            self.message = Some(Message {
                text: frame.opcode() == TEXT,
                compressed,
                cut: false,
            });
            if compressed && !self.inflate.begin() {
                return self.cut().map_or(Step::Next, Step::Part);
            }
        }
        Step::Next
    }

    fn payload(&mut self, left: u64, bytes: &[u8]) -> (usize, Step) {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let message = self.message.filter(|message| !message.cut && !self.frame.is_control());
        let Some(message) = message else {
            self.mode = Mode::Payload(left - taken as u64);
            return (taken, Step::Next);
        };
        if self.frame.mask.is_none() && !message.compressed {
            self.mode = Mode::Payload(left - taken as u64);
            return (taken, Step::Taken);
        }
        let taken = taken.min(CHUNK);
        self.scratch.clear();
        self.scratch.extend_from_slice(&bytes[..taken]);
        if let Some(mask) = self.frame.mask {
            let phase = (self.frame.length - left) as usize;
            for (n, byte) in self.scratch.iter_mut().enumerate() {
                *byte ^= mask[(phase.wrapping_add(n)) % 4];
            }
        }
        let left = left - taken as u64;
        if message.compressed {
            self.inflate.input();
            self.mode = Mode::Inflate { left };
            return (taken, Step::Next);
        }
        self.mode = Mode::Payload(left);
        (taken, Step::Scratch(taken))
    }

    fn inflate(&mut self, left: u64, limits: &Limits) -> Step {
        match self.inflate.run(&self.scratch, limits) {
            Ok(0) if self.inflate.is_ended() => self.end_message(),
            Ok(0) => {
                self.mode = Mode::Payload(left);
                Step::Next
            }
            Ok(_) => Step::Inflated,
            Err(inflate::Unreadable) => {
                self.mode = Mode::Payload(left);
                self.cut().map_or(Step::Next, Step::Part)
            }
        }
    }

    fn end_frame(&mut self) -> Step {
        self.mode = Mode::Header(0);
        if self.frame.opcode() == CLOSE {
            self.mode = Mode::Over;
            return Step::Part(WsPart::Close);
        }
        match self.message {
            _ if self.frame.is_control() || self.frame.first & FIN == 0 => Step::Next,
            Some(message) if message.compressed && !message.cut => {
                self.scratch.clear();
                self.scratch.extend_from_slice(&inflate::TAIL);
                self.inflate.end();
                self.mode = Mode::Inflate { left: 0 };
                Step::Next
            }
            _ => self.end_message(),
        }
    }

    fn end_message(&mut self) -> Step {
        self.mode = Mode::Header(0);
        // A connection that is idle takes little memory.
        self.scratch = Vec::new();
        self.inflate.rest();
        match self.message.take() {
            Some(message) if !message.cut => Step::Part(WsPart::End { text: message.text }),
            _ => Step::Next,
        }
    }

    /// Gives the message up, if there is one that is not.
    fn cut(&mut self) -> Option<WsPart<'static>> {
        let message = self.message.as_mut()?;
        if message.compressed {
            self.inflate.lose();
        }
        (!std::mem::replace(&mut message.cut, true)).then_some(WsPart::Cut)
    }

    fn bad(&mut self) -> Step {
        self.mode = Mode::Over;
        Step::Part(WsPart::Bad)
    }

    /// Whether the bytes are a row of whole frames, the first of which begins a message.
    fn are_frames(&self, mut bytes: &[u8]) -> bool {
        let mut first = true;
        while !bytes.is_empty() {
            let Some((header, rest)) = bytes.split_at_checked(Frame::header_bytes(bytes)) else {
                return false;
            };
            let Some(frame) = Frame::parse(header, self.masked) else {
                return false;
            };
            let Some(rest) = usize::try_from(frame.length).ok().and_then(|length| rest.get(length..)) else {
                return false;
            };
            if std::mem::take(&mut first) && frame.opcode() == CONTINUATION {
                return false;
            }
            bytes = rest;
        }
        true
    }
}

#[cfg(test)]
mod tests;
