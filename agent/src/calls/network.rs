//! What is known of the connections that carry calls, and what names them to both of their ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use mcp_proto::{Call, ConnectionId, Direction, SessionToken, StreamId};

use super::places::Places;
use super::record::{Network, TcpRecord};
use super::sockets::{self, Socket, Sockets};
use super::trace_id::ConnectionKey;

/// Pipes and unix sockets whose key is kept; the oldest give way, and get the same key again.
const MAX_KEYS: usize = 16_384;

/// A call's streams: client to server, server to client.
type Directions = [Option<StreamId>; 2];

/// The keys of connections that have no address but their inodes.
#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<ConnectionId, Arc<ConnectionKey>>);

impl Keys {
    /// What identifies the conversation of a call to both of its ends.
    pub(super) fn of(&mut self, call: &Call, sockets: &Sockets, places: &Places, boot_id: &str) -> Arc<ConnectionKey> {
        let addresses = sockets_of(sockets, call.streams, call.direction).and_then(addresses);
        if let Some(key) = key(call.session.as_ref(), addresses) {
            return Arc::new(key);
        }
        if let Some(known) = self.0.get(&call.connection) {
            return Arc::clone(known);
        }
        let inode = |stream: Option<StreamId>| stream.map_or(0, |stream| places.ino(stream));
        let [to_server, to_client] = call.streams.map(inode);
        let key = Arc::new(ConnectionKey::new(format!("{boot_id}/{to_server}/{to_client}")));
        self.0.insert(call.connection, Arc::clone(&key));
        if self.0.len() > MAX_KEYS {
            self.0.pop_first();
        }
        key
    }
}

fn key(session: Option<&SessionToken>, addresses: Option<[SocketAddr; 2]>) -> Option<ConnectionKey> {
    match (session, addresses) {
        (Some(token), addresses) => Some(ConnectionKey::of_session(
            token.expose(),
            addresses.map(|[_, server]| server),
        )),
        (None, Some([client, server])) => Some(ConnectionKey::new(format!("tcp/{client}/{server}"))),
        (None, None) => None,
    }
}

/// The connection that carried a call's request.
pub(super) fn network(sockets: &Sockets, call: &Call) -> Option<Network> {
    let tls = call.streams.into_iter().flatten().any(sockets::is_plaintext);
    let ends = sockets_of(sockets, call.streams, call.direction);
    let addresses = ends.and_then(addresses);
    let tcp = ends
        .and_then(|[client, server]| client.or(server))
        .map(|socket| TcpRecord {
            connect_us: Some(socket.connect_us).filter(|took| *took != 0),
            time_to_first_byte_us: None,
            srtt_us: socket.tcp.srtt_us,
            retransmits: socket.tcp.retransmits,
            in_flight_bytes: socket.tcp.in_flight,
        });
    (tls || tcp.is_some()).then_some(Network {
        client: addresses.map(|[client, _]| client),
        server: addresses.map(|[_, server]| server),
        tls,
        tcp,
    })
}

/// The sockets at the client's and at the server's end of what carried a request of `asked`.
fn sockets_of(sockets: &Sockets, streams: Directions, asked: Direction) -> Option<[Option<&Socket>; 2]> {
    let ends = match (asked, streams) {
        (Direction::ServerToClient, [_, Some(stream)]) | (_, [None, Some(stream)]) => {
            let [server, client] = sockets.ends(stream);
            [client, server]
        }
        (_, [Some(stream), _]) => sockets.ends(stream),
        (_, [None, None]) => return None,
    };
    ends.iter().any(Option::is_some).then_some(ends)
}

/// Addresses of client and server, by whichever end is known.
fn addresses([client, server]: [Option<&Socket>; 2]) -> Option<[SocketAddr; 2]> {
    let client = client.map(Socket::addresses);
    let server = server.map(Socket::addresses);
    client
        .or_else(|| server.map(|(own, other)| (other, own)))
        .map(|(client, server)| [client, server])
}
