//! Frame headers of HTTP/2 (RFC 9113, section 4.1), and which of them can be.

/// Who sends a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

/// Bytes of a frame header.
pub(super) const HEADER_BYTES: usize = 9;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// Of an extension: to be ignored (section 4.1).
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    /// 0 is the connection.
    pub(super) stream: u32,
    /// Of the payload, in bytes.
    pub(super) length: u32,
    reserved: bool,
}

/// Longest frame that is taken for one where it is not sure that there is one. Frames are of at
/// most 16 KiB unless their receiver wants more, which few do.
const LIKELY_BYTES: u32 = 1 << 20;

impl Header {
    pub(super) fn parse(bytes: [u8; HEADER_BYTES]) -> Self {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = bytes;
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        Self {
            kind: match kind {
                0 => Kind::Data,
                1 => Kind::Headers,
                2 => Kind::Priority,
                3 => Kind::RstStream,
                4 => Kind::Settings,
                5 => Kind::PushPromise,
                6 => Kind::Ping,
                7 => Kind::GoAway,
                8 => Kind::WindowUpdate,
                9 => Kind::Continuation,
                _ => Kind::Other,
            },
            flags,
            stream: stream & !(1 << 31),
            length: u32::from_be_bytes([0, a, b, c]),
            reserved: stream >> 31 == 1,
        }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether its sender may send it: anything else ends the connection (section 6).
    pub(super) fn is_legal(&self, sender: Sender) -> bool {
        let length = self.length;
        let on_stream = self.stream != 0;
        match self.kind {
            Kind::Data | Kind::Headers | Kind::Continuation => on_stream,
            Kind::Priority => on_stream && length == 5,
            Kind::RstStream => on_stream && length == 4,
            Kind::Settings => !on_stream && length.is_multiple_of(6) && (length == 0 || !self.has(ACK)),
            Kind::PushPromise => on_stream && sender == Sender::Server && length >= 4,
            Kind::Ping => !on_stream && length == 8,
            Kind::GoAway => !on_stream && length >= 8,
            Kind::WindowUpdate => length == 4,
            Kind::Other => true,
        }
    }

    /// Whether it looks like a frame of this sender's where nobody knows that there is one.
    pub(super) fn is_likely(&self, sender: Sender) -> bool {
        let flags = match self.kind {
            Kind::Data => END_STREAM | PADDED,
            Kind::Headers => END_STREAM | END_HEADERS | PADDED | PRIORITY,
            Kind::PushPromise => END_HEADERS | PADDED,
            Kind::Continuation => END_HEADERS,
            Kind::Settings | Kind::Ping => ACK,
            Kind::Priority | Kind::RstStream | Kind::GoAway | Kind::WindowUpdate => 0,
            Kind::Other => return false,
        };
        // Of the streams, only those that the client has opened carry what matters here.
        let stream = self.stream == 0 || self.stream % 2 == 1;
        !self.reserved && self.flags & !flags == 0 && stream && self.length <= LIKELY_BYTES && self.is_legal(sender)
    }
}
