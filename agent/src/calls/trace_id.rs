//! Ids that everybody who sees a call arrives at, without talking.
//!
//! Each id is a hash of facts that both ends of a connection see. Two agents that watch one end
//! each so put the client's span and the server's span into the same trace.

use std::fmt;

use mcp_proto::{Call, Direction};
use sha2::{Digest, Sha256};

/// What identifies a connection to both of its ends (of a pipe: boot id and the inode numbers of
/// its two streams), and nothing else. Chosen by whoever knows the carrier.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey(pub String);

impl ConnectionKey {
    /// The key of a session that the wire names. The name is a credential: the key is its hash.
    #[must_use]
    pub fn of_session(token: &[u8]) -> Self {
        let hash: TraceId = TraceId(prefix(&digest("session token", &[token])));
        Self(format!("session/{hash}"))
    }
}

/// 16 bytes, shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

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
    /// The ids of `call` on the connection that `key` names.
    #[must_use]
    pub fn of(call: &Call, key: &ConnectionKey) -> Self {
        let raw_id = call.request_id.0.as_bytes();
        // Which of the requests with this id is meant: by where it lies, if that is the same to all
        // who see it, else by how many were seen before it.
        let sequence = call.position.unwrap_or(call.sequence).to_be_bytes();
        let direction = direction_code(call.direction);
        let hash = |label: &str| digest(label, &[key.0.as_bytes(), direction, raw_id, &sequence]);
        let trace = match &call.trace_context {
            Some(context) => context.trace_id,
            None => prefix(&hash("trace")),
        };
        Self {
            call: call_id(key, call.direction, call.sequence),
            trace: TraceId(trace),
            client_span: ShortId(prefix(&hash("client span"))),
            server_span: ShortId(prefix(&hash("server span"))),
        }
    }
}

/// The id of the call at a position of its connection and direction.
#[must_use]
pub fn call_id(key: &ConnectionKey, direction: Direction, sequence: u64) -> ShortId {
    let parts = [key.0.as_bytes(), direction_code(direction), &sequence.to_be_bytes()];
    ShortId(prefix(&digest("call", &parts)))
}

/// The id of a conversation whose session is its connection.
#[must_use]
pub fn session_id(key: &ConnectionKey) -> ShortId {
    ShortId(prefix(&digest("session", &[key.0.as_bytes()])))
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

    fn key(name: &str) -> ConnectionKey {
        ConnectionKey(name.to_owned())
    }

    #[test]
    fn stable() {
        let ids = Ids::of(&call(), &key("boot:1:2"));
        assert_eq!(ids, Ids::of(&call(), &key("boot:1:2")));
        // Agents of different versions must agree: these values never change.
        assert_eq!(ids.trace.to_string(), "541d32480ae3180f8c1c7d4290f77f64");
        assert_eq!(ids.call.to_string(), "12fca15b679c5173");
        assert_eq!(session_id(&key("boot:1:2")).to_string(), "ac5a9cec133505c6");
    }

    #[test]
    fn every_fact_counts() {
        let base = Ids::of(&call(), &key("a"));
        let mut other = call();
        other.direction = Direction::ServerToClient;
        let reversed = Ids::of(&other, &key("a"));
        let mut other = call();
        other.sequence += 1;
        let next = Ids::of(&other, &key("a"));
        let elsewhere = Ids::of(&call(), &key("b"));
        for ids in [reversed, next, elsewhere] {
            assert_ne!(ids.trace, base.trace);
            assert_ne!(ids.call, base.call);
            assert_ne!(ids.client_span, base.client_span);
        }
        assert_ne!(base.client_span, base.server_span);
        assert_ne!(digest("x", &[b"ab", b"c"]), digest("x", &[b"a", b"bc"]));
    }

    #[test]
    fn a_trace_context_of_the_wire_wins() {
        let mut traced = call();
        traced.trace_context = Some(TraceContext {
            trace_id: [7; 16],
            parent_id: [8; 8],
            flags: 1,
        });
        let ids = Ids::of(&traced, &key("a"));
        assert_eq!(ids.trace.to_string(), "07".repeat(16));
        assert_eq!(ids.call, Ids::of(&call(), &key("a")).call);
        assert_eq!(ids.server_span, Ids::of(&call(), &key("a")).server_span);
    }
}
