//! What the head of an HTTP message says that matters here, whichever version carries it.
//!
//! MCP transports: <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports> and
//! its 2026-07-28 successor (`Mcp-Method`, `Mcp-Name`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::call::TraceContext;
use crate::limits::Limits;
use crate::mcp;

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
    /// `Accept` names JSON.
    pub(crate) accepts_json: bool,
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
    ///
    /// Forms of the target: <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>. Of the authority
    /// form (CONNECT), the path is empty.
    pub(crate) fn new(verb: Verb, target: &[u8], fields: Fields, limits: &Limits) -> Self {
        let local = match target.first() {
            _ if verb == Verb::Connect => b"".as_slice(),
            Some(b'/' | b'*') => target,
            _ => match memchr::memmem::find(target, b"://") {
                Some(scheme) => {
                    let rest = &target[scheme + 3..];
                    let authority = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
                    &rest[authority.unwrap_or(rest.len())..]
                }
                None => target,
            },
        };
        let local = local.split(|byte| *byte == b'#').next().unwrap_or_default();
        let mut halves = local.splitn(2, |byte| *byte == b'?');
        let path = halves.next().unwrap_or_default();
        let query = halves.next().unwrap_or_default();
        let path = if path.is_empty() && verb != Verb::Connect {
            b"/"
        } else {
            path
        };
        Self {
            verb,
            path: text(path, limits.uri_bytes),
            query_session: query_session(query).map(|id| text(id, limits.name_bytes)),
            fields,
        }
    }
}

fn query_session(query: &[u8]) -> Option<&[u8]> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        pair.strip_prefix(b"sessionId=")
            .or_else(|| pair.strip_prefix(b"session_id="))
            .filter(|id| !id.is_empty())
    })
}

impl Verb {
    /// Methods are compared with case, as RFC 9110 has it.
    pub(crate) fn new(method: &[u8]) -> Self {
        match method {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// The fields that matter.
#[derive(Clone, Copy)]
enum Known {
    Session,
    ProtocolVersion,
    McpMethod,
    McpName,
    Traceparent,
    LastEventId,
    Accept,
    ContentType,
    ContentEncoding,
    Upgrade,
}

impl Known {
    fn of(name: &[u8]) -> Option<Self> {
        // Most fields of a message are none of these: their length alone tells.
        let (known, field): (&[u8], _) = match name.len() {
            6 => (b"accept", Self::Accept),
            7 => (b"upgrade", Self::Upgrade),
            8 => (b"mcp-name", Self::McpName),
            10 => (b"mcp-method", Self::McpMethod),
            11 => (b"traceparent", Self::Traceparent),
            12 => (b"content-type", Self::ContentType),
            13 => (b"last-event-id", Self::LastEventId),
            14 => (b"mcp-session-id", Self::Session),
            16 => (b"content-encoding", Self::ContentEncoding),
            20 => (b"mcp-protocol-version", Self::ProtocolVersion),
            _ => return None,
        };
        name.eq_ignore_ascii_case(known).then_some(field)
    }
}

impl Fields {
    /// Takes note of a field, if it is one that matters. Names compare without case.
    ///
    /// Of a field that may come only once, the first is kept.
    pub(crate) fn note(&mut self, name: &[u8], value: &[u8], limits: &Limits) {
        let Some(name) = Known::of(name) else { return };
        let value = value.trim_ascii();
        let keep = |slot: &mut Option<Box<str>>| {
            if slot.is_none() && !value.is_empty() {
                *slot = Some(text(value, limits.name_bytes));
            }
        };
        match name {
            Known::Session => keep(&mut self.session),
            Known::ProtocolVersion => keep(&mut self.protocol_version),
            Known::McpMethod => keep(&mut self.mcp_method),
            Known::McpName => {
                if self.mcp_name.is_none() {
                    self.mcp_name = Some(mcp_name(value, limits));
                }
            }
            Known::Traceparent => {
                if self.trace_context.is_none() {
                    self.trace_context = std::str::from_utf8(value).ok().and_then(mcp::trace_context);
                }
            }
            Known::LastEventId => self.resumes = true,
            Known::Accept => {
                for range in elements(value) {
                    match Media::new(range) {
                        Media::Json => self.accepts_json = true,
                        Media::EventStream => self.accepts_events = true,
                        Media::Unsaid | Media::Other => {}
                    }
                }
                self.accepts_both = self.accepts_json && self.accepts_events;
            }
            Known::ContentType => self.media = Media::new(value),
            Known::ContentEncoding => {
                for coding in elements(value) {
                    self.coding = self.coding.then(Coding::new(coding));
                }
            }
            Known::Upgrade => {
                self.websocket |= elements(value).any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
            }
        }
    }
}

impl Media {
    /// Reads a media type; its parameters do not matter.
    fn new(value: &[u8]) -> Self {
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
        let essence = essence.trim_ascii().to_ascii_lowercase();
        match essence.as_slice() {
            b"" => Self::Unsaid,
            b"application/json" => Self::Json,
            b"text/event-stream" => Self::EventStream,
            other if other.starts_with(b"application/") && other.ends_with(b"+json") => Self::Json,
            _ => Self::Other,
        }
    }
}

impl Coding {
    /// Reads the name of a content coding: <https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1>.
    fn new(name: &[u8]) -> Self {
        match name.to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Self::Identity,
            b"gzip" | b"x-gzip" => Self::Gzip,
            b"deflate" => Self::Deflate,
            b"br" => Self::Brotli,
            b"zstd" => Self::Zstd,
            _ => Self::Unknown,
        }
    }

    /// This coding with another on top of it.
    pub(crate) fn then(self, outer: Self) -> Self {
        match (self, outer) {
            (Self::Identity, one) | (one, Self::Identity) => one,
            _ => Self::Unknown,
        }
    }
}

/// The elements of a list of tokens.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// `Mcp-Name`: names beyond ASCII come as `=?base64?…?=`. What does not decode is kept as it is.
fn mcp_name(value: &[u8], limits: &Limits) -> Box<str> {
    value
        .strip_prefix(b"=?base64?")
        .and_then(|rest| rest.strip_suffix(b"?="))
        .and_then(|encoded| BASE64.decode(encoded).ok())
        .filter(|decoded| std::str::from_utf8(decoded).is_ok())
        .map_or_else(
            || text(value, limits.name_bytes),
            |decoded| text(&decoded, limits.name_bytes),
        )
}

/// A value as text, cut to `cap` bytes.
fn text(bytes: &[u8], cap: usize) -> Box<str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(cap)]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(verb: Verb, target: &str) -> (String, Option<String>) {
        let head = RequestHead::new(verb, target.as_bytes(), Fields::default(), &Limits::default());
        (head.path.into(), head.query_session.map(String::from))
    }

    fn fields(lines: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in lines {
            fields.note(name.as_bytes(), value.as_bytes(), &Limits::default());
        }
        fields
    }

    #[test]
    fn every_form_of_target_gives_its_path() {
        for (target, path) in [
            ("/mcp", "/mcp"),
            ("/", "/"),
            ("/mcp?key=secret", "/mcp"),
            ("/mcp#fragment", "/mcp"),
            ("http://host:80/mcp?x=/y", "/mcp"),
            ("http://host", "/"),
            ("http://host?x", "/"),
            ("*", "*"),
        ] {
            assert_eq!(request(Verb::Get, target).0, path, "{target}");
        }
        assert_eq!(request(Verb::Connect, "host:443").0, "");
        assert_eq!(request(Verb::Get, &format!("/{}", "x".repeat(5000))).0.len(), 1024);
    }

    #[test]
    fn the_query_is_kept_for_its_session_only() {
        let session = |target| request(Verb::Post, target).1;
        assert_eq!(session("/message?sessionId=a-b"), Some("a-b".into()));
        assert_eq!(session("/messages/?x=1&session_id=ab#z"), Some("ab".into()));
        assert_eq!(session("/message?notsessionId=a"), None);
        assert_eq!(session("/message?sessionId="), None);
        assert_eq!(session("/sessionId=a"), None);
    }

    #[test]
    fn names_compare_without_case_and_secrets_are_not_kept() {
        let noted = fields(&[
            ("MCP-SESSION-ID", " abc "),
            ("mcp-session-id", "second"),
            ("MCP-Protocol-Version", "2025-11-25"),
            ("Mcp-Method", "tools/call"),
            ("last-event-id", "7"),
            ("Authorization", "Bearer hunter2"),
            ("Cookie", "hunter2"),
        ]);
        assert_eq!(noted.session.as_deref(), Some("abc"));
        assert_eq!(noted.protocol_version.as_deref(), Some("2025-11-25"));
        assert_eq!(noted.mcp_method.as_deref(), Some("tools/call"));
        assert!(noted.resumes);
        assert!(!format!("{noted:?}").contains("hunter2"));
        let long = "x".repeat(5000);
        assert_eq!(fields(&[("mcp-session-id", &long)]).session.unwrap().len(), 256);
    }

    #[test]
    fn names_beyond_ascii_are_decoded() {
        for (value, name) in [
            ("echo", "echo"),
            ("=?base64?w6ljaG8=?=", "écho"),
            ("=?base64?w6k?=", "=?base64?w6k?="),
            ("=?base64?/w==?=", "=?base64?/w==?="),
            ("=?base64?=", "=?base64?="),
        ] {
            assert_eq!(fields(&[("mcp-name", value)]).mcp_name.as_deref(), Some(name));
        }
    }

    #[test]
    fn what_is_accepted_may_be_said_in_any_way() {
        let both = |lines: &[(&str, &str)]| fields(lines).accepts_both;
        assert!(both(&[("accept", "application/json, text/event-stream")]));
        assert!(both(&[("accept", "Text/Event-Stream;q=0.9,APPLICATION/JSON ; q=1")]));
        assert!(both(&[("accept", "application/json"), ("Accept", "text/event-stream")]));
        assert!(!both(&[("accept", "*/*, application/json")]));
        let events = fields(&[("accept", "text/event-stream")]);
        assert!(events.accepts_events && !events.accepts_both);
    }

    #[test]
    fn media_and_codings() {
        for (value, media) in [
            ("application/json; charset=utf-8", Media::Json),
            ("application/problem+json", Media::Json),
            ("text/event-stream;charset=utf-8", Media::EventStream),
            ("text/plain", Media::Other),
            ("application/json-seq", Media::Other),
        ] {
            assert_eq!(fields(&[("Content-Type", value)]).media, media, "{value}");
        }
        for (value, coding) in [
            ("gzip", Coding::Gzip),
            ("X-GZIP", Coding::Gzip),
            ("deflate", Coding::Deflate),
            ("br", Coding::Brotli),
            ("zstd", Coding::Zstd),
            ("identity", Coding::Identity),
            ("identity, gzip", Coding::Gzip),
            ("gzip, br", Coding::Unknown),
            ("compress", Coding::Unknown),
        ] {
            assert_eq!(fields(&[("Content-Encoding", value)]).coding, coding, "{value}");
        }
        let twice = fields(&[("content-encoding", "gzip"), ("content-encoding", "br")]);
        assert_eq!(twice.coding, Coding::Unknown);
    }

    #[test]
    fn traceparent_and_upgrade() {
        let noted = fields(&[
            ("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("upgrade", "h2c, WebSocket"),
        ]);
        assert_eq!(noted.trace_context.map(|context| context.flags), Some(1));
        assert!(noted.websocket);
        assert_eq!(fields(&[("traceparent", "00-bad")]).trace_context, None);
    }
}
