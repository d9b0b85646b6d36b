//! The call: a request with its outcome, its instants and who took part.

use std::sync::Arc;

use crate::{Carrier, ConnectionId, Nanos, ProcessId, StreamId};

/// One request and what became of it. No payload is in here: names, ids, sizes and instants only.
#[derive(Clone, Debug)]
pub struct Call {
    /// The conversation it belongs to.
    pub connection: ConnectionId,
    /// The streams that carry it, as far as they were seen: client to server, server to client.
    pub streams: [Option<StreamId>; 2],
    /// Position among the requests of its connection in its direction, from 0.
    pub sequence: u64,
    /// How messages travel.
    pub transport: Transport,
    /// What carries the bytes.
    pub carrier: Carrier,
    /// Revision of the protocol in force for this request, as on the wire ("2025-11-25").
    pub protocol_version: Option<Box<str>>,
    /// Who asked whom.
    pub direction: Direction,
    /// The JSON-RPC method.
    pub method: Method,
    /// `params.name` of `tools/call`.
    pub tool: Option<Box<str>>,
    /// `params.name` of `prompts/get`.
    pub prompt: Option<Box<str>>,
    /// `params.uri` of the resource methods, without query and fragment.
    pub resource: Option<Box<str>>,
    /// The JSON-RPC id, as on the wire.
    pub request_id: RequestId,
    /// The MCP client (not: the requester).
    pub client: Endpoint,
    /// The MCP server (not: the responder).
    pub server: Endpoint,
    /// Instants and size of the request.
    pub request: Half,
    /// The same for requests that ask the same; not for anybody's eyes. `None` where that cannot be told.
    pub request_hash: Option<u64>,
    /// Instants and size of the response, when there was one.
    pub response: Option<Half>,
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended: the response's last known instant, the cancellation, the exit, or the end
    /// of observation.
    pub ended: Nanos,
    /// `error.code` of a JSON-RPC error.
    pub error_code: Option<i64>,
    /// `result.resultType` (2026-07-28) or what stands for it in older revisions.
    pub result_type: Option<ResultType>,
    /// The task that the call started, polled or fetched.
    pub task: Option<TaskState>,
    /// The earlier call that this one continues (`input_required`, then a retry).
    pub continues: Option<Continuation>,
    /// Notifications that belong to this call (progress, and messages of a subscription).
    pub notifications: u32,
    /// The first of them.
    pub notices: Vec<Notice>,
    /// The `Mcp-Session-Id`, or the session of the legacy endpoint's URI. Not for output: hash it.
    pub session: Option<SessionToken>,
    /// Status of the HTTP response.
    pub http_status: Option<u16>,
    /// Version of HTTP that carried the request.
    pub http_version: Option<HttpVersion>,
    /// Position of the request's first byte in its stream, where that is the same number to
    /// whoever observes the stream, whenever they began.
    pub position: Option<u64>,
    /// The call that this one passes on, on the other side of a process that relays calls.
    pub relays: Option<CallRef>,
    /// While the responder worked on it, it worked on another request of the same conversation too.
    pub overlapped: bool,
    /// W3C trace context of `params._meta`, or of the HTTP request.
    pub trace_context: Option<TraceContext>,
    /// That of the HTTP request, where `params._meta` has one of its own.
    pub ambient_context: Option<TraceContext>,
    /// What was not seen, in the order of discovery, without repeats. Empty: everything was.
    pub loss: Vec<Loss>,
}

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Lines of JSON between a parent and its child, over pipes or an unnamed socket pair.
    Stdio,
    /// Lines of JSON over a named unix socket.
    Socket,
    /// Streamable HTTP: a POST for each message, the answer as JSON or as events.
    Http,
    /// HTTP with SSE, as of 2024-11-05: answers come on a stream of their own.
    Sse,
    /// WebSocket.
    WebSocket,
}

/// What names a session on the wire. A credential: it shows itself to nobody by accident.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionToken(pub(crate) Arc<str>);

impl SessionToken {
    /// The bytes, to be hashed.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

/// Names a call among all of a tracker's, with what its conversation is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallRef {
    /// Its conversation.
    pub connection: ConnectionId,
    /// Who asked whom.
    pub direction: Direction,
    /// Its position there.
    pub sequence: u64,
    /// As of the call.
    pub streams: [Option<StreamId>; 2],
    /// As of the call.
    pub session: Option<SessionToken>,
}

/// Who asked whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The client's request to the server.
    ClientToServer,
    /// The server's request to the client (sampling, elicitation, roots, ping).
    ServerToClient,
}

impl Direction {
    /// The other direction.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::ClientToServer => Self::ServerToClient,
            Self::ServerToClient => Self::ClientToServer,
        }
    }
}

/// A JSON-RPC method. Names from the wire are bounded in length (see `limits`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Method(pub Box<str>);

/// A JSON-RPC id as the raw JSON token: `1` and `"1"` are different ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub Box<str>);

/// One side of the conversation, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The process that reads and writes, when its side of a stream was seen.
    pub process: Option<ProcessId>,
    /// Its own word for its name (`clientInfo`, `serverInfo`): a label, never to be trusted.
    pub name: Option<Box<str>>,
    /// Its own word for its version.
    pub version: Option<Box<str>>,
}

/// One message's way over its stream: four instants and a size.
///
/// An instant is `None` when that side of the stream was not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Half {
    /// Entry of the write that holds the first byte.
    pub first_written: Option<Nanos>,
    /// Return of the write that holds the last byte.
    pub last_written: Option<Nanos>,
    /// Return of the read that holds the first byte.
    pub first_read: Option<Nanos>,
    /// Return of the read that holds the last byte.
    pub last_read: Option<Nanos>,
    /// Bytes of the JSON-RPC message without framing.
    pub bytes: u64,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A result came back.
    Ok,
    /// A result with `isError: true`.
    ToolError,
    /// A JSON-RPC error.
    RpcError,
    /// An HTTP status instead of an answer.
    HttpError,
    /// The requester sent `notifications/cancelled`.
    Cancelled,
    /// The requester closed the stream and lives on.
    Abandoned,
    /// The client's process ended first.
    ClientExit,
    /// The server's process ended first.
    ServerExit,
    /// Observation ended first.
    Pending,
}

impl Outcome {
    /// Stable name for output.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::RpcError => "rpc_error",
            Self::HttpError => "http_error",
            Self::Cancelled => "cancelled",
            Self::Abandoned => "abandoned",
            Self::ClientExit => "client_exit",
            Self::ServerExit => "server_exit",
            Self::Pending => "pending",
        }
    }
}

/// What kind of result a response is (2026-07-28 `resultType`; `Complete` when absent).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ResultType {
    /// The answer.
    Complete,
    /// The server needs input; the client is to retry with a new id.
    InputRequired,
    /// A task was created; the answer comes through `tasks/*`.
    Task,
    /// An extension's.
    Other(Box<str>),
}

/// A task, as a message about it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskState {
    /// `taskId`.
    pub id: Box<str>,
    /// `status` as on the wire, when the message says it.
    pub status: Option<Box<str>>,
    /// Nanoseconds since the request that created the task was first written, when that was seen.
    pub age: Option<Nanos>,
}

/// Which call an `input_required` retry continues: same connection and direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// `sequence` of the earlier call.
    pub sequence: u64,
}

/// A notification that belongs to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// When its first byte was written, as far as is known.
    pub at: Nanos,
    /// Its method; `None` for one that no revision knows.
    pub method: Option<&'static str>,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// W3C trace context from the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// 16 bytes of trace id.
    pub trace_id: [u8; 16],
    /// 8 bytes of parent span id.
    pub parent_id: [u8; 8],
    /// The flags byte (bit 0: sampled).
    pub flags: u8,
}

/// What of a call was not seen. `code()` is stable: it goes into output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The middle of the request was not captured; it was understood from head and tail.
    RequestTruncated,
    /// The middle of the response was not captured; it was understood from head and tail.
    ResponseTruncated,
    /// Bytes of one of the streams went missing during the call.
    Gap,
    /// The response was never seen to be read, though its reader is watched.
    ResponseUnread,
    /// The offsets of the two sides could not be brought together: instants of one side are left out.
    Unaligned,
    /// State was evicted to stay within bounds.
    Evicted,
}

impl Loss {
    /// Stable name for output.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::RequestTruncated => "request_truncated",
            Self::ResponseTruncated => "response_truncated",
            Self::Gap => "gap",
            Self::ResponseUnread => "response_unread",
            Self::Unaligned => "unaligned",
            Self::Evicted => "evicted",
        }
    }
}
