//! What the head of an HTTP message says that matters here, whichever version carries it.
//!
//! MCP transports: <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports> and
//! its 2026-07-28 successor (`Mcp-Method`, `Mcp-Name`).

use crate::call::TraceContext;
use crate::limits::Limits;

/// The request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Head,
    Post,
    Delete,
    Connect,
    Other,
}

/// What a body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Media {
    /// No `Content-Type`.
    #[default]
    Unsaid,
    /// `application/json`, `application/*+json`.
    Json,
    /// `text/event-stream`.
    EventStream,
    Other,
}

/// The content coding of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Coding {
    #[default]
    Identity,
    Gzip,
    /// RFC 9110: the zlib format; some send raw deflate.
    Deflate,
    Brotli,
    Zstd,
    /// Unknown, or several on top of each other.
    Unknown,
}

/// The header fields that matter, of requests and responses. Values of no other field are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    /// `Mcp-Session-Id`.
    pub(crate) session: Option<Box<str>>,
    /// `MCP-Protocol-Version`.
    pub(crate) protocol_version: Option<Box<str>>,
    /// `Mcp-Method`.
    pub(crate) mcp_method: Option<Box<str>>,
    /// `Mcp-Name`, decoded from its `=?base64?…?=` form.
    pub(crate) mcp_name: Option<Box<str>>,
    /// `traceparent`.
    pub(crate) trace_context: Option<TraceContext>,
    /// `Last-Event-ID` is there: a stream is resumed.
    pub(crate) resumes: bool,
    /// `Accept` names both JSON and event streams, as every MCP client's POST does.
    pub(crate) accepts_both: bool,
    /// `Accept` names event streams.
    pub(crate) accepts_events: bool,
    /// `Content-Type`.
    pub(crate) media: Media,
    /// `Content-Encoding`.
    pub(crate) coding: Coding,
    /// `Upgrade: websocket`.
    pub(crate) websocket: bool,
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub(crate) verb: Verb,
    /// Path of the target without scheme, authority, query and fragment.
    pub(crate) path: Box<str>,
    /// `sessionId` or `session_id` of the query (the legacy transport's message endpoint).
    pub(crate) query_session: Option<Box<str>>,
    pub(crate) fields: Fields,
}

/// The head of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
}

impl RequestHead {
    /// A head with the target as the request line or `:path` has it.
    pub(crate) fn new(verb: Verb, target: &[u8], fields: Fields, limits: &Limits) -> Self {
        let _ = (target, limits);
        Self {
            verb,
            path: "".into(),
            query_session: None,
            fields,
        }
    }
}

impl Fields {
    /// Takes note of a field, if it is one that matters. Names compare without case.
    pub(crate) fn note(&mut self, name: &[u8], value: &[u8], limits: &Limits) {
        let _ = (name, value, limits);
    }
}
