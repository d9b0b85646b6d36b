//! How long sessions last: from their `initialize` to the last time that they were seen open.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use mcp_proto::{ConnectionId, Nanos, Outcome};

use crate::calls::CallRecord;
use crate::host::ClockOffset;
use crate::metrics::samples::SessionSample;

/// Sessions whose beginning is remembered; those beyond have no duration.
const MAX_SESSIONS: usize = 16_384;
const NANOS_A_SECOND: f64 = 1e9;

/// A session that is open, as far as is known.
#[derive(Debug)]
struct Session {
    client: Option<Box<str>>,
    server: Option<Box<str>>,
    protocol_version: Option<Box<str>>,
    network_transport: &'static str,
    network_protocol: Option<&'static str>,
    server_address: Option<SocketAddr>,
    began: Nanos,
    /// When it was last known to be open.
    open: Nanos,
    /// One of its ends died while something was asked.
    error_type: Option<&'static str>,
}

/// Sessions whose beginning was seen.
#[derive(Debug, Default)]
pub(super) struct Durations {
    sessions: BTreeMap<ConnectionId, Session>,
}

impl Durations {
    /// Takes a call. Of a session that was there before the agent nobody knows how long it lasts.
    pub(super) fn call(&mut self, call: &CallRecord) {
        if &*call.method == "initialize" && call.outcome == Outcome::Ok {
            self.begin(call);
        }
        let Some(session) = self.sessions.get_mut(&call.connection) else {
            return;
        };
        session.open = session.open.max(call.ended);
        if call.protocol_version.is_some() {
            session.protocol_version.clone_from(&call.protocol_version);
        }
        if matches!(call.outcome, Outcome::ClientExit | Outcome::ServerExit) {
            session.error_type = Some(call.outcome.code());
        }
    }

    fn begin(&mut self, call: &CallRecord) {
        let (Some(_), Some(began)) = (call.session, call.start_mono_ns) else {
            return;
        };
        if self.sessions.len() >= MAX_SESSIONS {
            return;
        }
        let label = |party: Option<&crate::calls::Party>| party.and_then(crate::calls::Party::label).map(Into::into);
        let session = Session {
            client: call.client_span_id.and_then(|_seen| label(call.client.as_ref())),
            server: call.server_span_id.and_then(|_seen| label(call.server.as_ref())),
            protocol_version: None,
            network_transport: call.network_transport,
            network_protocol: call.network_protocol(),
            server_address: call.server_address.as_deref().and_then(|address| address.parse().ok()),
            began,
            open: began,
            error_type: None,
        };
        self.sessions.insert(call.connection, session);
    }

    /// What is open at an instant: the others have ended, and are told.
    pub(super) fn survey(
        &mut self,
        open: &BTreeSet<ConnectionId>,
        at: Nanos,
        clock: ClockOffset,
        mut ended: impl FnMut(&SessionSample<'_>),
    ) {
        self.sessions.retain(|id, session| {
            if open.contains(id) {
                session.open = at.max(session.open);
                return true;
            }
            let address = session.server_address.map(|address| address.ip().to_string());
            #[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
            let nanos = session.open.saturating_sub(session.began) as f64;
            ended(&SessionSample {
                client: session.client.as_deref(),
                server: session.server.as_deref(),
                protocol_version: session.protocol_version.as_deref(),
                network_transport: session.network_transport,
                network_protocol: session.network_protocol,
                server_address: address
                    .as_deref()
                    .zip(session.server_address)
                    .map(|(ip, address)| (ip, Some(address.port()))),
                error_type: session.error_type,
                seconds: nanos / NANOS_A_SECOND,
                ended_unix_ns: clock.unix(session.open),
            });
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::record::tests::{call, record};

    fn seen(method: &str, connection: u64, ended: Nanos, outcome: Outcome) -> CallRecord {
        let mut call = call();
        call.method.0 = method.into();
        call.connection = ConnectionId(connection);
        (call.ended, call.outcome) = (ended, outcome);
        record(call)
    }

    /// (seconds, error) of the sessions that have ended.
    fn ended(durations: &mut Durations, open: &[u64], at: Nanos) -> Vec<(f64, Option<&'static str>)> {
        let open = open.iter().copied().map(ConnectionId).collect();
        let mut all = Vec::new();
        durations.survey(&open, at, ClockOffset(0), |session| {
            assert_eq!((session.client, session.server), (Some("host"), Some("python")));
            assert_eq!(session.protocol_version, Some("2025-11-25"));
            let error = session
                .error_type
                .map(|error| if error == "server_exit" { "server_exit" } else { "?" });
            all.push((session.seconds, error));
        });
        all
    }

    #[test]
    fn from_the_handshake_to_the_last_time_it_was_open() {
        // The record begins at 10 us.
        let second = 1_000_000_000;
        let mut durations = Durations::default();
        for connection in [1, 2, 3] {
            durations.call(&seen("initialize", connection, 52_000, Outcome::Ok));
        }
        durations.call(&seen("tools/call", 9, second, Outcome::Ok));
        assert_eq!(ended(&mut durations, &[1, 2, 3, 9], second), []);
        durations.call(&seen("tools/call", 2, 2 * second + 10_000, Outcome::Ok));
        durations.call(&seen("tools/call", 3, 3 * second + 10_000, Outcome::ServerExit));
        let expected = [(2.0, None), (3.0, Some("server_exit"))];
        assert_eq!(ended(&mut durations, &[1], 4 * second), expected);
        assert_eq!(ended(&mut durations, &[], 9 * second), [(3.99999, None)]);
        assert_eq!(
            ended(&mut durations, &[], 9 * second),
            [],
            "each once; one that was not begun never"
        );
    }

    #[test]
    fn a_handshake_that_failed_begins_nothing() {
        let mut durations = Durations::default();
        durations.call(&seen("initialize", 1, 52_000, Outcome::RpcError));
        assert_eq!(ended(&mut durations, &[], 1), []);
    }
}
