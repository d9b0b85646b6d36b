//! What calls are known by: their processes, their connection, its addresses.

use std::net::SocketAddr;
use std::sync::Arc;

use mcp_proto::{Call, ConnectionId, ProcessId, SessionToken, StreamId};

use super::{MAX_KEYS, Output, Pipeline};
use crate::calls::record::{CallRecord, CallSource, Network, TcpRecord};
use crate::calls::sockets::{self, Socket};
use crate::calls::trace_id::ConnectionKey;
use crate::host::FactsSource;

/// Addresses of client and server, by whichever end is known.
fn addresses(client: Option<&Socket>, server: Option<&Socket>) -> Option<(SocketAddr, SocketAddr)> {
    match (client, server) {
        (Some(client), _) => Some(client.addresses()),
        (None, Some(server)) => {
            let (own, other) = server.addresses();
            Some((other, own))
        }
        (None, None) => None,
    }
}

impl<S: FactsSource> Pipeline<S> {
    pub(super) fn call(&mut self, call: Call) {
        let facts = |process: Option<ProcessId>| process.and_then(|process| self.processes.facts(process));
        let (client, server) = (facts(call.client.process).cloned(), facts(call.server.process).cloned());
        if !self.is_selected(client.as_ref()) && !self.is_selected(server.as_ref()) {
            return;
        }
        let network = self.network(&call);
        let key = self.key(call.connection, call.streams, call.session.as_ref());
        let relays = call.relays.clone().map(|relayed| {
            let key = self.key(relayed.connection, relayed.streams, relayed.session.as_ref());
            (relayed, key)
        });
        let source = CallSource {
            connection: &key,
            client: client.as_ref(),
            server: server.as_ref(),
            network,
            relays,
            clock: self.origin.clock,
        };
        self.outputs
            .push_back(Output::Call(Box::new(CallRecord::new(call, source))));
        if self.keys.len() > MAX_KEYS {
            self.keys.pop_first();
        }
    }

    /// The sockets at the client's and at the server's end of what carried a call's request.
    fn sockets_of(&self, streams: [Option<StreamId>; 2]) -> Option<[Option<&Socket>; 2]> {
        let [to_server, to_client] = streams;
        let ends = match (to_server, to_client) {
            (Some(stream), _) => self.sockets.ends(stream),
            (None, Some(stream)) => {
                let [server, client] = self.sockets.ends(stream);
                [client, server]
            }
            (None, None) => return None,
        };
        ends.iter().any(Option::is_some).then_some(ends)
    }

    fn network(&self, call: &Call) -> Option<Network> {
        let [client, server] = self.sockets_of(call.streams)?;
        let (client_address, server_address) = addresses(client, server)?;
        let tcp = client.or(server)?;
        Some(Network {
            client: client_address,
            server: server_address,
            tls: call
                .streams
                .iter()
                .flatten()
                .any(|stream| sockets::is_plaintext(*stream)),
            tcp: Some(TcpRecord {
                connect_us: Some(tcp.connect_us).filter(|took| *took != 0),
                time_to_first_byte_us: None,
                srtt_us: tcp.tcp.srtt_us,
                retransmits: tcp.tcp.retransmits,
                in_flight_bytes: tcp.tcp.in_flight,
            }),
        })
    }

    /// What identifies a conversation to both of its ends.
    fn key(
        &mut self,
        connection: ConnectionId,
        streams: [Option<StreamId>; 2],
        session: Option<&SessionToken>,
    ) -> Arc<ConnectionKey> {
        if let Some(known) = self.keys.get(&connection) {
            return Arc::clone(known);
        }
        let ends = self
            .sockets_of(streams)
            .and_then(|[client, server]| addresses(client, server));
        let key = match (session, ends) {
            (Some(token), _) => ConnectionKey::of_session(token.expose()),
            (None, Some((client, server))) => ConnectionKey(format!("tcp/{client}/{server}")),
            (None, None) => {
                let inode = |stream: Option<StreamId>| {
                    let known = stream.and_then(|stream| self.streams.get(&stream.0));
                    known
                        .and_then(|known| known.places.first())
                        .map_or(0, |place| place.ino)
                };
                let [to_server, to_client] = streams.map(inode);
                ConnectionKey(format!("{}/{to_server}/{to_client}", self.origin.boot_id))
            }
        };
        let key = Arc::new(key);
        self.keys.insert(connection, Arc::clone(&key));
        key
    }
}
