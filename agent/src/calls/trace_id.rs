//! Ids that everybody who sees a call arrives at, without talking.
//!
//! Ids of traces and spans are hashes of facts that both ends of a connection see. Two agents that
//! watch one end each so put the client's span and the server's span into the same trace. The id of
//! the call itself is the agent's own.

use std::fmt;
use std::net::SocketAddr;

use mcp_proto::{Call, ConnectionId, Direction, Nanos};
use sha2::{Digest, Sha256};

/// What identifies a conversation to both of its ends, and nothing else: of a session its token, of
/// a TCP connection its addresses, of a pipe the boot id and the inode numbers of its two streams.
/// Chosen by whoever knows the carrier.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    name: String,
    /// Proxies pass session tokens on: which of their servers is meant.
    server: Option<SocketAddr>,
}

impl ConnectionKey {
    /// The key of a conversation that is its connection.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name, server: None }
    }

    /// The key of a session that the wire names, at `server`. The name is a credential: the key
    /// holds its hash.
    #[must_use]
    pub fn of_session(token: &[u8], server: Option<SocketAddr>) -> Self {
        let hash = TraceId(prefix(&digest("session token", &[token])));
        Self {
            name: format!("session:{hash}"),
            server,
        }
    }
}

/// One run of an agent, or what was recorded of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    boot_id: String,
    began: Nanos,
}

impl Run {
    /// The run whose first record is of the instant `began`.
    #[must_use]
    pub fn new(boot_id: String, began: Nanos) -> Self {
        Self { boot_id, began }
    }

    /// The id of a call: of facts that are known before the call has ended, for others refer to it.
    #[must_use]
    pub fn call(&self, connection: ConnectionId, direction: Direction, sequence: u64) -> ShortId {
        let [began, connection, sequence] = [self.began, connection.0, sequence].map(u64::to_be_bytes);
        let parts = [
            self.boot_id.as_bytes(),
            &began,
            &connection,
            direction_code(direction),
            &sequence,
        ];
        ShortId(prefix(&digest("call", &parts)))
    }
}

/// 16 bytes, shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

impl TraceId {
    /// Whether the trace is one of the share that is kept: the same on every host that sees it, and to
    /// every sampler that follows OpenTelemetry's consistent probability sampling.
    #[must_use]
    pub fn is_sampled(self, ratio: f64) -> bool {
        // The right 56 bits are the random ones (W3C Trace Context Level 2).
        let [.., a, b, c, d, e, f, g] = self.0;
        u64::from_be_bytes([0, a, b, c, d, e, f, g]) >= rejection_threshold(ratio)
    }
}

/// Of 2^56 traces so many are not kept: `th` of OpenTelemetry's trace state.
#[must_use]
pub fn rejection_threshold(ratio: f64) -> u64 {
    const ALL: f64 = 72_057_594_037_927_936.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 2^56")]
    let threshold = ((1.0 - ratio.clamp(0.0, 1.0)) * ALL).round() as u64;
    threshold
}

/// 8 bytes, shown as 16 hex digits: a span, a call or a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShortId(pub [u8; 8]);

/// The ids of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The call itself. Depends on nothing that the wire can choose.
    pub call: ShortId,
    /// The trace: the wire's own when the request carries a trace context.
    pub trace: TraceId,
    /// The client's span.
    pub client_span: ShortId,
    /// The server's span.
    pub server_span: ShortId,
}

impl Ids {
    /// The ids of `call`, seen in `run`, on the connection that `key` names.
    #[must_use]
    pub fn of(call: &Call, key: &ConnectionKey, run: &Run) -> Self {
        let raw_id = call.request_id.0.as_bytes();
        // Which of the requests with this id is meant: by where it lies, if that is the same to all
        // who see it, else by how many were seen before it.
        let sequence = call.position.unwrap_or(call.sequence).to_be_bytes();
        let direction = direction_code(call.direction);
        let parts = [key.name.as_bytes(), direction, raw_id, &sequence];
        let trace = match &call.trace_context {
            Some(context) => context.trace_id,
            None => prefix(&digest("trace", &parts)),
        };
        // The hops of a call through proxies are spans of one trace.
        let server = key.server.map(|server| server.to_string());
        let hop = server.as_ref().map(String::as_bytes);
        let parts: Vec<_> = parts.into_iter().chain(hop).collect();
        let span = |label: &str| ShortId(prefix(&digest(label, &parts)));
        Self {
            call: run.call(call.connection, call.direction, call.sequence),
            trace: TraceId(trace),
            client_span: span("client span"),
            server_span: span("server span"),
        }
    }
}

/// The id of the span of what the responder whose span is `responder` waited for, the `index`th.
#[must_use]
pub fn upstream_span(responder: ShortId, index: u64) -> ShortId {
    ShortId(prefix(&digest("upstream span", &[&responder.0, &index.to_be_bytes()])))
}

/// The id of a session, or of a conversation whose session is its connection.
#[must_use]
pub fn session_id(key: &ConnectionKey) -> ShortId {
    ShortId(prefix(&digest("session", &[key.name.as_bytes()])))
}

fn direction_code(direction: Direction) -> &'static [u8] {
    match direction {
        Direction::ClientToServer => b"c2s",
        Direction::ServerToClient => b"s2c",
    }
}

/// Every part is preceded by its length: no two lists of parts hash alike.
fn digest(label: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in [b"mcpsonar", label.as_bytes()].iter().chain(parts) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// All zeros means "no id" to OpenTelemetry. No hash that will ever be computed begins with as many.
fn prefix<const N: usize>(digest: &[u8; 32]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&digest[..N]);
    out
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

macro_rules! shown_as_hex {
    ($($id:ty),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(&self.0, f)
            }
        }
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(&self.0, f)
            }
        }
        impl serde::Serialize for $id {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

shown_as_hex!(TraceId, ShortId);

#[cfg(test)]
mod tests {
    use mcp_proto::TraceContext;

    use super::*;
    use crate::calls::record::tests::call;

    fn ids_of(call: &Call, key: &ConnectionKey) -> Ids {
        Ids::of(call, key, &Run::new("boot".to_owned(), 7))
    }

    fn key(name: &str) -> ConnectionKey {
        ConnectionKey::new(name.to_owned())
    }

    #[test]
    fn stable() {
        let ids = ids_of(&call(), &key("boot:1:2"));
        assert_eq!(ids, ids_of(&call(), &key("boot:1:2")));
        // Agents of different versions must agree: these values never change.
        assert_eq!(ids.trace.to_string(), "541d32480ae3180f8c1c7d4290f77f64");
        assert_eq!(session_id(&key("boot:1:2")).to_string(), "ac5a9cec133505c6");
    }

    #[test]
    fn every_fact_counts() {
        let base = ids_of(&call(), &key("a"));
        let mut other = call();
        other.direction = Direction::ServerToClient;
        let reversed = ids_of(&other, &key("a"));
        let mut other = call();
        other.sequence += 1;
        let next = ids_of(&other, &key("a"));
        let mut other = call();
        other.connection = ConnectionId(2);
        let elsewhere = ids_of(&other, &key("b"));
        for ids in [reversed, next, elsewhere] {
            assert_ne!(ids.trace, base.trace);
            assert_ne!(ids.call, base.call);
            assert_ne!(ids.client_span, base.client_span);
        }
        assert_ne!(base.client_span, base.server_span);
        assert_ne!(digest("x", &[b"ab", b"c"]), digest("x", &[b"a", b"bc"]));
    }

    #[test]
    fn a_position_that_all_see_is_worth_more_than_a_count() {
        let at = |position: Option<u64>, sequence: u64| {
            let mut call = call();
            (call.position, call.sequence) = (position, sequence);
            ids_of(&call, &key("a")).trace
        };
        assert_eq!(at(Some(900), 1), at(Some(900), 2));
        assert_ne!(at(Some(900), 1), at(Some(901), 1));
        assert_ne!(at(None, 1), at(None, 2));
    }

    #[test]
    fn a_session_is_known_by_its_token_and_does_not_tell_it() {
        let [one, other] = ["10.0.0.1:80", "10.0.0.2:80"].map(|server| server.parse().ok());
        let (one, other) = (
            ConnectionKey::of_session(b"token", one),
            ConnectionKey::of_session(b"token", other),
        );
        assert_eq!(session_id(&one), session_id(&other));
        let [first, second] = [&one, &other].map(|key| ids_of(&call(), key));
        assert_eq!(first.trace, second.trace, "hops of one call");
        assert_ne!(first.client_span, second.client_span);
        assert!(!format!("{one:?}").contains("token"));
        // As above: these never change.
        assert_eq!(session_id(&one).to_string(), "4211f02943ee8cf1");
        assert_eq!(first.trace.to_string(), "40b45a13a5953b6ed31499496ff18306");
    }

    #[test]
    fn a_share_of_traces_is_kept() {
        let ids: Vec<_> = (0..1000_u64)
            .map(|n| TraceId(prefix(&digest("trace", &[&n.to_be_bytes()]))))
            .collect();
        let kept = |ratio: f64| ids.iter().filter(|id| id.is_sampled(ratio)).count();
        assert_eq!((kept(0.0), kept(1.0)), (0, 1000));
        assert!((200..300).contains(&kept(0.25)), "{}", kept(0.25));
        let smaller = ids.iter().filter(|id| id.is_sampled(0.1));
        assert!(
            smaller.clone().all(|id| id.is_sampled(0.2)),
            "a smaller share is part of a greater one"
        );
        assert_eq!(rejection_threshold(0.5), 0x80_0000_0000_0000);
    }

    #[test]
    fn a_trace_context_of_the_wire_wins() {
        let mut traced = call();
        traced.trace_context = Some(TraceContext {
            trace_id: [7; 16],
            parent_id: [8; 8],
            flags: 1,
        });
        let ids = ids_of(&traced, &key("a"));
        assert_eq!(ids.trace.to_string(), "07".repeat(16));
        assert_eq!(ids.call, ids_of(&call(), &key("a")).call);
        assert_eq!(ids.server_span, ids_of(&call(), &key("a")).server_span);
    }
}
