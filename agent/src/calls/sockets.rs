//! The TCP connections of the host. Each end that is seen tells of itself; the two ends of one
//! connection are found by their addresses, and from then on their bytes are the same streams.

mod connection;
mod table;
#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use agent_abi::{EndpointKey, SocketRecord};
use mcp_proto::{PairId, StreamId};

pub(super) use connection::Lane;
pub(super) use table::{Opened, Sockets};

/// The addresses of a connection, as one end sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Route {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

impl Route {
    /// `None` where the kernel does not tell.
    fn of(record: &SocketRecord) -> Option<Self> {
        let address = |ip: [u8; 16], port| SocketAddr::new(Ipv6Addr::from(ip).to_canonical(), port);
        let known = record.local_port != 0 && record.remote_port != 0;
        known.then(|| Self {
            local: address(record.local, record.local_port),
            remote: address(record.remote, record.remote_port),
        })
    }

    /// As the other end sees it.
    fn reversed(self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
        }
    }

    /// Whether it never leaves its network namespace.
    fn is_loopback(self) -> bool {
        self.local.ip().is_loopback() || self.remote.ip().is_loopback()
    }
}

/// The kernel's key of an endpoint.
fn endpoint_key(address: SocketAddr, netns: u32) -> EndpointKey {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    EndpointKey {
        address: ip.octets(),
        netns,
        port: address.port(),
        reserved: 0,
    }
}

/// A number that stands for an address: a loopback address is another one in each namespace.
fn number(address: SocketAddr, netns: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    if address.ip().is_loopback() {
        netns.hash(&mut hasher);
    }
    hasher.finish()
}

/// The streams that a record's bytes belong to, by the names that both ends of a connection share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) stream: StreamId,
    pub(super) pair: Option<PairId>,
    /// Stand for the addresses of writer and reader.
    pub(super) ends: Option<[u64; 2]>,
}

/// What is known of the connection that carries a call, by its client and its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Network {
    /// Whether the call's bytes are the plaintext of a TLS session.
    pub(crate) tls: bool,
    /// Address of the client.
    pub(crate) client: Option<SocketAddr>,
    /// Address of the server.
    pub(crate) server: Option<SocketAddr>,
    /// What the kernel has measured, at the client's end if that is seen.
    pub(crate) tcp: Option<Measured>,
}

/// What the kernel has measured at one end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    /// Microseconds from SYN to established.
    pub(crate) connect_us: Option<u32>,
    /// At the last record of this end.
    pub(crate) tcp: agent_abi::Tcp,
}
