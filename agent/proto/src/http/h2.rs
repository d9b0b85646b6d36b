//! HTTP/2 (RFC 9113), one direction of a connection.
//!
//! What flows in one direction is understood from it alone: neither SETTINGS nor flow control of
//! the other direction changes how it is read. An exchange is a stream that the client has opened;
//! pushed ones are passed over.

mod block;
mod frame;
mod heads;
mod seek;
mod streams;

use super::hpack::Hpack;
use super::{ExchangeKey, Part};
use crate::limits::Limits;
use frame::{END_STREAM, HEADER_BYTES, Header, Kind, PADDED, Sender};
use seek::Seek;
use streams::Streams;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether a client opens HTTP/2 (section 3.4); `None` when these are too few bytes to tell.
pub(crate) fn looks_like_preface(bytes: &[u8]) -> Option<bool> {
    let compared = bytes.len().min(PREFACE.len());
    let same = bytes[..compared] == PREFACE[..compared];
    (!same || compared == PREFACE.len()).then_some(same)
}

/// Whether a server opens HTTP/2, with SETTINGS that are no answer (section 3.4); `None` when
/// these are too few bytes to tell.
pub(crate) fn looks_like_settings(bytes: &[u8]) -> Option<bool> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        // The first byte of text would make it a frame of megabytes.
        return bytes.first().is_some_and(|&first| first != 0).then_some(false);
    };
    let header = Header::parse(*header);
    Some(header.kind == Kind::Settings && header.flags == 0 && header.is_likely(Sender::Server))
}

/// Where in the bytes the parser is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// So much of the client's preface has come.
    Preface(usize),
    /// So much of a frame header has come.
    Header(usize),
    /// So much of the payload of a frame is to come.
    Payload(u64),
    /// Nobody knows where a frame begins.
    Seek,
}

/// A header block that is not complete.
#[derive(Clone, Copy, Debug)]
struct Open {
    stream: u32,
    start: u64,
    ends_stream: bool,
    /// Of a push: it only matters to the dynamic table.
    pushed: bool,
    /// Not all of it is at hand.
    lost: bool,
}

/// Understands one direction of one connection.
///
/// When it was joined in mid-connection, or bytes are missing:
/// - Fields that refer to what was not seen are left out. If that is `:method` or `:path`, the
///   head has [`Verb::Other`](super::Verb::Other) or an empty path; without `:status` it has status 0.
/// - A message whose head was not seen gets a head that says nothing more than that.
#[derive(Debug)]
pub(crate) struct H2 {
    sender: Sender,
    /// Nothing of the connection is missing so far.
    complete: bool,
    mode: Mode,
    header: [u8; HEADER_BYTES],
    frame: Header,
    frame_start: u64,
    /// Length of the padding, when it is known.
    padding: Option<u64>,
    /// Collected payload: of the block that is open, or of a frame that matters.
    collected: Vec<u8>,
    /// Where the payload of this frame begins in it.
    fragment: usize,
    open: Option<Open>,
    hpack: Hpack,
    streams: Streams,
    seek: Seek,
    skipped: u64,
}

impl H2 {
    /// What a client sends. `midway`: the beginning was not seen.
    pub(crate) fn requests(midway: bool) -> Self {
        Self::new(Sender::Client, midway)
    }

    /// What a server sends.
    pub(crate) fn responses(midway: bool) -> Self {
        Self::new(Sender::Server, midway)
    }

    fn new(sender: Sender, midway: bool) -> Self {
        let mut hpack = Hpack::default();
        if midway {
            hpack.forget();
        }
        Self {
            sender,
            complete: !midway,
            mode: match sender {
                _ if midway => Mode::Seek,
                Sender::Client => Mode::Preface(0),
                Sender::Server => Mode::Header(0),
            },
            header: [0; HEADER_BYTES],
            frame: Header::parse([0; HEADER_BYTES]),
            frame_start: 0,
            padding: None,
            collected: Vec::new(),
            fragment: 0,
            open: None,
            hpack,
            streams: Streams::default(),
            seek: Seek::default(),
            skipped: 0,
        }
    }

    /// Position of the frame that began the message last reported on.
    pub(crate) fn head_start(&self) -> u64 {
        self.streams.head_start()
    }

    /// Position of the frame that began a head which is not complete.
    pub(crate) fn open_head(&self) -> Option<u64> {
        let within = matches!(self.mode, Mode::Payload(_)) && self.frame.kind != Kind::Data;
        self.open.map(|open| open.start).or(within.then_some(self.frame_start))
    }

    /// Bytes of the peer's that are kept.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn held(&self) -> usize {
        self.collected.len() + self.hpack.held()
    }

    /// Why the part last reported is [`Part::Cut`]: the error code of RST_STREAM (section 7), or
    /// `None` when it is for missing bytes. A client that resets a stream whose request has
    /// [ended](Part::End) takes back the whole exchange.
    pub(crate) fn reset(&self) -> Option<u32> {
        self.streams.reset()
    }

    /// Takes the number of bytes that were passed over in search of a frame since the last time.
    pub(crate) fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// The other direction has ended this exchange: nothing more is expected of it here.
    pub(crate) fn close(&mut self, exchange: ExchangeKey) {
        self.streams.close(exchange);
    }

    /// Takes bytes up to and including the next part. `position` is that of the first byte.
    ///
    /// Some parts take no bytes: call again, with what is left or nothing, until there is none.
    pub(crate) fn push<'a>(
        &mut self,
        position: u64,
        bytes: &'a [u8],
        limits: &Limits,
    ) -> (usize, Option<(ExchangeKey, Part<'a>)>) {
        let mut at = 0;
        loop {
            if let Some(part) = self.streams.next_report() {
                return (at, Some(part));
            }
            let rest = &bytes[at..];
            match self.mode {
                Mode::Payload(0) => {
                    self.end_frame(limits);
                    continue;
                }
                _ if rest.is_empty() => return (at, None),
                Mode::Preface(seen) => {
                    let taken = rest.len().min(PREFACE.len() - seen);
                    if rest[..taken] != PREFACE[seen..seen + taken] {
                        self.bad();
                        continue;
                    }
                    at += taken;
                    self.mode = match seen + taken {
                        seen if seen == PREFACE.len() => Mode::Header(0),
                        seen => Mode::Preface(seen),
                    };
                }
                Mode::Header(seen) => {
                    let taken = rest.len().min(HEADER_BYTES - seen);
                    self.header[seen..seen + taken].copy_from_slice(&rest[..taken]);
                    at += taken;
                    self.mode = Mode::Header(seen + taken);
                    if seen + taken == HEADER_BYTES {
                        let end = position + at as u64;
                        self.begin_frame(end.saturating_sub(HEADER_BYTES as u64), limits);
                    }
                }
                Mode::Payload(left) if self.frame.kind == Kind::Data => {
                    let (taken, body) = self.data(left, rest);
                    at += taken;
                    if let Some(body) = body {
                        return (at, Some(body));
                    }
                }
                Mode::Payload(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    self.collect(&rest[..taken], limits);
                    at += taken;
                    self.mode = Mode::Payload(left - taken as u64);
                }
                Mode::Seek => at += self.search(position + at as u64, rest),
            }
        }
    }

    /// `len` bytes from `start` on are missing. Call [`push`](Self::push) with nothing for more.
    pub(crate) fn gap(&mut self, start: u64, len: u64, limits: &Limits) -> Option<(ExchangeKey, Part<'static>)> {
        if self.mode == Mode::Payload(0) {
            self.end_frame(limits);
        }
        match self.mode {
            _ if len == 0 => {}
            Mode::Preface(seen) if len <= (PREFACE.len() - seen) as u64 => {
                self.mode = match seen + usize::try_from(len).unwrap_or(0) {
                    seen if seen == PREFACE.len() => Mode::Header(0),
                    seen => Mode::Preface(seen),
                };
            }
            Mode::Payload(left) if len <= left && self.frame.kind != Kind::Data => {
                if let Some(open) = &mut self.open {
                    open.lost = true;
                    self.complete = false;
                }
                self.collected.clear();
                self.mode = Mode::Payload(left - len);
            }
            Mode::Payload(left) if len <= left && self.padding.is_some() => {
                self.mode = Mode::Payload(left - len);
                let data = left.saturating_sub(self.padding.unwrap_or(0));
                if data > 0 && self.is_wanted() {
                    self.streams
                        .report(self.frame.stream, self.frame_start, Part::Missing(len.min(data)), None);
                }
            }
            _ => self.lose(start.saturating_add(len)),
        }
        self.streams.next_report()
    }

    /// No more bytes will come: what is not complete is cut, one a call.
    pub(crate) fn end(&mut self, limits: &Limits) -> Option<(ExchangeKey, Part<'static>)> {
        if self.mode == Mode::Payload(0) {
            self.end_frame(limits);
        }
        self.streams.cut_all();
        self.streams.next_report()
    }

    /// Bytes up to `end` are missing, and nobody knows where the next frame begins.
    fn lose(&mut self, end: u64) {
        if self.mode != Mode::Seek {
            self.unsettle();
        }
        self.seek.gap(end);
    }

    fn bad(&mut self) {
        self.streams.report(0, self.frame_start, Part::Bad, None);
        self.unsettle();
    }

    fn unsettle(&mut self) {
        self.complete = false;
        self.mode = Mode::Seek;
        self.seek = Seek::default();
        self.open = None;
        self.hpack.forget();
        self.streams.cut_all();
    }

    /// Takes bytes up to where a frame begins.
    fn search(&mut self, position: u64, bytes: &[u8]) -> usize {
        let Some(start) = self.seek.push(position, bytes, self.sender) else {
            self.skipped += bytes.len() as u64;
            return bytes.len();
        };
        let ahead = start.saturating_sub(position);
        let taken = usize::try_from(ahead).unwrap_or(usize::MAX).min(bytes.len());
        self.skipped += taken as u64;
        let behind = ahead - taken as u64;
        let carried = self.seek.carried(start, position);
        self.header[..carried.len()].copy_from_slice(carried);
        self.mode = Mode::Header(carried.len());
        if behind > 0 {
            // The rest of a frame whose beginning has passed.
            self.frame = Header::parse([0, 0, 0, 0xff, 0, 0, 0, 0, 0]);
            self.mode = Mode::Payload(behind);
        }
        self.seek = Seek::default();
        taken
    }

    fn begin_frame(&mut self, start: u64, limits: &Limits) {
        let frame = Header::parse(self.header);
        (self.frame, self.frame_start) = (frame, start);
        self.mode = Mode::Payload(frame.length.into());
        self.padding = (!frame.has(PADDED)).then_some(0);
        // Nothing may come between the frames of a block (section 6.10).
        let continues = self.open.is_some_and(|open| open.stream == frame.stream);
        let in_order = match frame.kind {
            Kind::Continuation => continues || (!self.complete && self.open.is_none()),
            _ => self.open.is_none(),
        };
        if !frame.is_legal(self.sender) || !in_order {
            return self.bad();
        }
        if frame.kind != Kind::Continuation {
            self.collected.clear();
        }
        self.fragment = self.collected.len();
        match frame.kind {
            Kind::Data if !self.complete && frame.stream % 2 == 1 && !self.streams.is_open(frame.stream) => {
                self.open_headless(frame.stream, start, limits);
            }
            Kind::Headers | Kind::PushPromise => {
                self.open = Some(Open {
                    stream: frame.stream,
                    start,
                    ends_stream: frame.kind == Kind::Headers && frame.has(END_STREAM),
                    pushed: frame.kind == Kind::PushPromise || frame.stream.is_multiple_of(2),
                    lost: false,
                });
            }
            _ => {}
        }
    }

    /// Whether the body that this frame is of is reported.
    fn is_wanted(&self) -> bool {
        self.streams.is_open(self.frame.stream)
    }

    /// Takes bytes of a DATA frame (section 6.1): the length of the padding, data, padding.
    fn data<'a>(&mut self, left: u64, bytes: &'a [u8]) -> (usize, Option<(ExchangeKey, Part<'a>)>) {
        let Some(padding) = self.padding else {
            let padding = u64::from(bytes[0]);
            (self.padding, self.mode) = (Some(padding), Mode::Payload(left - 1));
            if padding > left - 1 {
                self.bad();
            }
            return (1, None);
        };
        let data = left.saturating_sub(padding);
        let of = if data > 0 { data } else { left };
        let taken = usize::try_from(of).unwrap_or(usize::MAX).min(bytes.len());
        self.mode = Mode::Payload(left - taken as u64);
        let body = (data > 0 && self.is_wanted()).then(|| {
            self.streams.speak_of(self.frame.stream);
            (self.frame.stream.into(), Part::Body(&bytes[..taken]))
        });
        (taken, body)
    }

    /// Keeps payload that has to be seen as a whole.
    fn collect(&mut self, bytes: &[u8], limits: &Limits) {
        match (self.frame.kind, &mut self.open) {
            (Kind::RstStream, _) => self.collected.extend_from_slice(bytes),
            (Kind::Headers | Kind::PushPromise | Kind::Continuation, Some(open)) if !open.lost => {
                if self.collected.len() + bytes.len() > limits.h2_block_bytes {
                    open.lost = true;
                    self.collected = Vec::new();
                } else {
                    self.collected.extend_from_slice(bytes);
                }
            }
            _ => {}
        }
    }

    fn end_frame(&mut self, limits: &Limits) {
        self.mode = Mode::Header(0);
        let Header { kind, stream, .. } = self.frame;
        match kind {
            Kind::Data if self.frame.has(END_STREAM) && self.is_wanted() => {
                self.streams.finish(stream, self.frame_start, Part::End, None);
            }
            Kind::RstStream => {
                let code = self.collected.first_chunk().copied().map(u32::from_be_bytes);
                self.streams.finish(stream, self.frame_start, Part::Cut, code);
            }
            Kind::Headers | Kind::PushPromise | Kind::Continuation => self.end_fragment(limits),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
