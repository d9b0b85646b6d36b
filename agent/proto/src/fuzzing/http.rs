//! HTTP/1 and HTTP/2.

use super::{choice, limits, pieces};
use crate::Limits;
use crate::http::h1::H1;
use crate::http::h2::H2;
use crate::http::{ExchangeKey, Part, RequestHead, ResponseHead};

/// A part, without the bytes that it borrows; a body in pieces is one.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Request(Box<RequestHead>),
    Response(Box<ResponseHead>),
    Body(Vec<u8>),
    Missing(u64),
    Resumed,
    End,
    Cut,
    Switched,
    Bad,
}

type Reported<'a> = Option<(ExchangeKey, Part<'a>)>;

/// What parsers of one direction have in common.
trait Parser {
    fn push<'a>(&mut self, position: u64, bytes: &'a [u8], limits: &Limits) -> (usize, Reported<'a>);
    fn gap(&mut self, position: u64, len: u64, limits: &Limits) -> Reported<'static>;
    fn end(&mut self, limits: &Limits) -> Reported<'static>;
}

impl Parser for H1 {
    fn push<'a>(&mut self, position: u64, bytes: &'a [u8], limits: &Limits) -> (usize, Reported<'a>) {
        self.push(position, bytes, limits)
    }

    fn gap(&mut self, _: u64, len: u64, _: &Limits) -> Reported<'static> {
        self.gap(len)
    }

    fn end(&mut self, _: &Limits) -> Reported<'static> {
        self.end()
    }
}

impl Parser for H2 {
    fn push<'a>(&mut self, position: u64, bytes: &'a [u8], limits: &Limits) -> (usize, Reported<'a>) {
        let pushed = self.push(position, bytes, limits);
        assert!(
            self.held() <= limits.h2_block_bytes + limits.hpack_table_bytes,
            "too much is kept"
        );
        pushed
    }

    fn gap(&mut self, position: u64, len: u64, limits: &Limits) -> Reported<'static> {
        self.gap(position, len, limits)
    }

    fn end(&mut self, limits: &Limits) -> Reported<'static> {
        self.end(limits)
    }
}

/// Parts that take no bytes and may follow each other: more are without end.
const IDLE: usize = 64;

struct Feed<P> {
    parser: P,
    limits: Limits,
    position: u64,
    seen: Vec<(ExchangeKey, Seen)>,
}

impl<P: Parser> Feed<P> {
    fn new(parser: P) -> Self {
        Self {
            parser,
            limits: limits(),
            position: 0,
            seen: Vec::new(),
        }
    }

    fn push(&mut self, mut bytes: &[u8]) {
        let mut idle = 0;
        loop {
            let (taken, part) = self.parser.push(self.position, bytes, &self.limits);
            if let Some((_, Part::Body(body))) = &part {
                assert!(!body.is_empty(), "a body of nothing");
                assert_eq!(
                    body.as_ptr_range().end,
                    bytes[..taken].as_ptr_range().end,
                    "not the last bytes"
                );
            }
            self.position += taken as u64;
            bytes = &bytes[taken..];
            let Some((exchange, part)) = part else { break };
            note(&mut self.seen, exchange, part);
            idle = if taken == 0 { idle + 1 } else { 0 };
            assert!(idle < IDLE, "it goes round in circles");
        }
        assert!(bytes.is_empty(), "bytes are left");
    }

    fn gap(&mut self, len: u64) {
        if let Some((exchange, part)) = self.parser.gap(self.position, len, &self.limits) {
            note(&mut self.seen, exchange, part);
        }
        self.position += len;
        self.push(&[]);
    }

    fn end(mut self) -> Vec<(ExchangeKey, Seen)> {
        for n in 0.. {
            assert!(n < IDLE, "it does not end");
            let Some((exchange, part)) = self.parser.end(&self.limits) else {
                break;
            };
            note(&mut self.seen, exchange, part);
        }
        self.seen
    }
}

fn note(seen: &mut Vec<(ExchangeKey, Seen)>, exchange: ExchangeKey, part: Part<'_>) {
    let part = match part {
        Part::Request(head) => Seen::Request(head),
        Part::Response(head) => Seen::Response(head),
        Part::Body(bytes) => {
            if let Some((last, Seen::Body(body))) = seen.last_mut()
                && *last == exchange
            {
                return body.extend_from_slice(bytes);
            }
            Seen::Body(bytes.to_vec())
        }
        Part::Missing(len) => Seen::Missing(len),
        Part::Resumed => Seen::Resumed,
        Part::End => Seen::End,
        Part::Cut => Seen::Cut,
        Part::Switched => Seen::Switched,
        Part::Bad => Seen::Bad,
    };
    seen.push((exchange, part));
}

/// Reads the data whole, in pieces, and with some of them missing. `exact`: pieces make no
/// difference, up to what is no HTTP.
fn check<P: Parser>(make: impl Fn() -> P, data: &[u8], exact: bool) {
    let mut whole = Feed::new(make());
    whole.push(data);
    let whole = whole.end();
    let mut pieces = Feed::new(make());
    for piece in pieces::cut(data) {
        pieces.push(piece);
    }
    let pieces = pieces.end();
    if exact {
        let sane = |seen: &[(ExchangeKey, Seen)]| {
            let bad = seen.iter().position(|(_, part)| *part == Seen::Bad);
            bad.unwrap_or(seen.len())
        };
        assert_eq!(
            whole[..sane(&whole)],
            pieces[..sane(&pieces)],
            "pieces make a difference"
        );
    }
    let mut torn = Feed::new(make());
    for (piece, missing) in pieces::tear(data) {
        torn.push(piece);
        torn.gap(missing);
    }
    torn.end();
}

/// HTTP/1: bit 0 of the choice is the direction, bit 1 whether it is joined midway.
pub(super) fn h1(data: &[u8]) {
    let (how, bytes) = choice(data);
    let midway = how & 2 != 0;
    if how & 1 == 0 {
        check(|| H1::requests(midway), bytes, !midway);
    } else {
        check(|| H1::responses(midway), bytes, !midway);
    }
}

/// A chunked body, behind the head that announces it; then as a stream of events, which goes on behind gaps.
pub(super) fn chunked(data: &[u8]) {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(|| H1::responses(false), &[HEAD, data].concat(), true);
    let stream = || {
        let mut h1 = H1::responses(false);
        h1.push(0, HEAD, &limits());
        h1.streams();
        h1
    };
    check(stream, data, false);
}

/// HTTP/2: as [`h1`]; bit 2 puts what opens a connection before the data.
pub(super) fn h2(data: &[u8]) {
    let (how, rest) = choice(data);
    let midway = how & 2 != 0;
    let mut bytes: Vec<u8> = match how & 5 {
        4 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        5 => b"\0\0\0\x04\0\0\0\0\0".to_vec(),
        _ => Vec::new(),
    };
    bytes.extend_from_slice(rest);
    if how & 1 == 0 {
        check(|| H2::requests(midway), &bytes, !midway);
    } else {
        check(|| H2::responses(midway), &bytes, !midway);
    }
}
