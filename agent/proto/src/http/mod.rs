//! HTTP as MCP uses it: heads, bodies, events, and which of them belong together.
//!
//! Every parser here is fed one direction of bytes in order, in whatever pieces they come, and
//! answers with [`Part`]s. None of them keeps more than a bounded amount of what it has seen.

pub(crate) mod body;
mod conversing;
mod decode;
pub(crate) mod ending;
mod exchange;
pub(crate) mod h1;
pub(crate) mod h2;
mod head;
mod hpack;
pub(crate) mod link;
pub(crate) mod messages;
mod opening;
pub(crate) mod session;
pub(crate) mod sse;
pub(crate) mod tracking;
pub(crate) mod websocket;

pub(crate) use head::{Coding, Fields, Media, RequestHead, ResponseHead, Verb};

/// Which exchange of its connection a part belongs to. HTTP/1: its ordinal among those of its
/// direction, from 0. HTTP/2: the stream id.
pub(crate) type ExchangeKey = u64;

/// What a parser of one direction of HTTP/1 or HTTP/2 has found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// A request begins.
    Request(Box<RequestHead>),
    /// A response begins. Interim responses (1xx) are not reported, but for 101.
    Response(Box<ResponseHead>),
    /// Bytes of the body without transfer coding; content coding is still on. They are the last
    /// of the bytes that were taken.
    Body(&'a [u8]),
    /// So many bytes of the body are missing.
    Missing(u64),
    /// After what was missing, a chunk of the body begins here.
    Resumed,
    /// The message is complete.
    End,
    /// The message was given up: reset, or so much of the connection is missing that its end is
    /// not known.
    Cut,
    /// What follows is another protocol (after 101, or a CONNECT that succeeded).
    Switched,
    /// The bytes are not HTTP, or so malformed that nobody can say where the next message begins.
    Bad,
}
