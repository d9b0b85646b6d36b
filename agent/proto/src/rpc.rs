//! JSON-RPC 2.0: what kind of message an envelope is.
//!
//! <https://www.jsonrpc.org/specification>

use crate::json::{Envelope, Field};

/// The kinds of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Notification,
    Result,
    Error,
    /// JSON, but not JSON-RPC 2.0.
    Invalid,
}

pub(crate) fn kind(envelope: &Envelope) -> Kind {
    if envelope.bytes(Field::Jsonrpc) != Some(b"2.0") {
        return Kind::Invalid;
    }
    if envelope.has(Field::Method) {
        // MCP forbids a null id; a request that has one cannot be answered, so it is none.
        return if id(envelope).is_some() {
            Kind::Request
        } else {
            Kind::Notification
        };
    }
    if envelope.has(Field::Error) {
        Kind::Error
    } else if envelope.has(Field::Result) {
        Kind::Result
    } else {
        Kind::Invalid
    }
}

/// The id as its JSON token, unless it is null or of no type that an id can have.
pub(crate) fn id(envelope: &Envelope) -> Option<&str> {
    token(envelope, Field::Id)
}

/// A string or number as its JSON token.
pub(crate) fn token(envelope: &Envelope, field: Field) -> Option<&str> {
    let token = envelope.bytes(field)?;
    match token.first()? {
        b'"' | b'-' | b'0'..=b'9' => std::str::from_utf8(token).ok(),
        _ => None,
    }
}

/// The number that a quoted number stands for: some servers answer `"1"` to `1`.
pub(crate) fn unquoted_number(token: &str) -> Option<&str> {
    let inner = token.strip_prefix('"')?.strip_suffix('"')?;
    let digits = inner.strip_prefix('-').unwrap_or(inner);
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(inner)
}
