//! Heads of messages and how long their bodies are.

use httparse::{EMPTY_HEADER, Header, Status};

use super::Role;
use crate::http::head::{Coding, Fields, RequestHead, ResponseHead, Verb, elements};
use crate::limits::Limits;

/// Header fields of a message; with more, it is bad, as servers hold it too.
const FIELDS: usize = 128;
/// Longest method: what has no space by then is no request.
const METHOD: usize = 32;

pub(super) enum Head {
    Request(Box<RequestHead>, Framing),
    Response(Box<ResponseHead>, Framing),
    /// Nobody can say where its body ends.
    Bad,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// Parses the head that is at the start of `bytes` as a whole, and says how long it is.
pub(super) fn parse(role: Role, bytes: &[u8], limits: &Limits) -> Option<(usize, Head)> {
    let mut headers = [EMPTY_HEADER; FIELDS];
    match role {
        Role::Requests => {
            let mut request = httparse::Request::new(&mut headers);
            let Ok(Status::Complete(len)) = request.parse(bytes) else {
                return None;
            };
            let method = request.method.filter(|method| method.len() <= METHOD)?;
            let verb = Verb::new(method.as_bytes());
            let (fields, body) = read(request.headers, limits);
            let head = match body.request() {
                Some(framing) => {
                    let head = RequestHead::new(verb, request.path?.as_bytes(), fields, limits);
                    Head::Request(Box::new(head), framing)
                }
                None => Head::Bad,
            };
            Some((len, head))
        }
        Role::Responses => {
            let mut response = httparse::Response::new(&mut headers);
            let Ok(Status::Complete(len)) = response.parse(bytes) else {
                return None;
            };
            let status = response.code?;
            let (fields, body) = read(response.headers, limits);
            let head = match body.response(status) {
                Some(framing) => Head::Response(Box::new(ResponseHead { status, fields }), framing),
                None => Head::Bad,
            };
            Some((len, head))
        }
    }
}

/// What the header fields say of the body's length.
#[derive(Clone, Copy, Default)]
struct BodyLength {
    length: Option<u64>,
    /// `Content-Length` is no number, or several.
    garbled: bool,
    /// `Transfer-Encoding` is there.
    encoded: bool,
    /// Its last coding is `chunked`.
    chunked: bool,
}

fn read(headers: &[Header<'_>], limits: &Limits) -> (Fields, BodyLength) {
    let mut fields = Fields::default();
    let mut body = BodyLength::default();
    for header in headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            body.content_length(header.value);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            for coding in elements(header.value) {
                if coding.eq_ignore_ascii_case(b"identity") {
                    continue;
                }
                body.encoded = true;
                body.chunked = coding.eq_ignore_ascii_case(b"chunked");
                if !body.chunked {
                    // A body that is compressed in transfer: nobody does it any more.
                    fields.coding = Coding::Unknown;
                }
            }
        } else {
            fields.note(header.name.as_bytes(), header.value, limits);
        }
    }
    (fields, body)
}

impl BodyLength {
    fn content_length(&mut self, value: &[u8]) {
        // A list of equal numbers is what a proxy makes of a field that came twice.
        for element in value.split(|byte| *byte == b',') {
            let length = std::str::from_utf8(element.trim_ascii())
                .ok()
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok());
            self.garbled |= length.is_none() || self.length.is_some_and(|known| Some(known) != length);
            self.length = length;
        }
    }

    /// RFC 9112, 6.3.
    fn request(self) -> Option<Framing> {
        match self {
            Self {
                encoded: true, chunked, ..
            } => chunked.then_some(Framing::Chunked),
            Self { garbled: true, .. } => None,
            Self { length, .. } => Some(length.map_or(Framing::None, Framing::Length)),
        }
    }

    fn response(self, status: u16) -> Option<Framing> {
        match self {
            _ if matches!(status, 100..200 | 204 | 304) => Some(Framing::None),
            Self {
                encoded: true,
                chunked: true,
                ..
            } => Some(Framing::Chunked),
            Self { encoded: true, .. } => Some(Framing::UntilClose),
            Self { garbled: true, .. } => None,
            Self { length, .. } => Some(length.map_or(Framing::UntilClose, Framing::Length)),
        }
    }
}

/// Whether a head may begin with `line`, which goes on.
pub(super) fn may_begin(role: Role, line: &[u8]) -> bool {
    match role {
        Role::Responses => super::looks_like_response(line) != Some(false),
        Role::Requests => {
            let method = line.iter().take(METHOD + 1).take_while(|byte| **byte != b' ');
            let len = method.clone().count();
            len <= METHOD && (len > 0 || line.is_empty()) && method.copied().all(is_token)
        }
    }
}

/// Whether `line`, newline included, is the first of a head.
pub(super) fn is_start_line(role: Role, line: &[u8]) -> bool {
    // Such a line alone is the part of a head to which only fields are lacking.
    match role {
        Role::Requests => {
            may_begin(role, line) && matches!(httparse::Request::new(&mut []).parse(line), Ok(Status::Partial))
        }
        Role::Responses => matches!(httparse::Response::new(&mut []).parse(line), Ok(Status::Partial)),
    }
}

/// Whether `line` may be a header field.
pub(super) fn is_field_line(line: &[u8]) -> bool {
    let colon = memchr::memchr(b':', line);
    colon.is_some_and(|colon| colon > 0 && line[..colon].iter().copied().all(is_token))
}

pub(super) fn is_empty_line(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
