//! One TCP connection with the ends of it that are seen.

use agent_abi::{EndpointKey, Tcp};
use mcp_proto::{Nanos, PairId, StreamId};

use super::{Carried, Measured, Network, Route, endpoint_key, number};

/// The two directions of a connection, or of the TLS session on it: by whose end writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::calls) struct Lane {
    pub(in crate::calls) pair: PairId,
    pub(in crate::calls) streams: [Option<StreamId>; 2],
    /// Offset 0 is the first byte (TLS).
    pub(in crate::calls) fresh: bool,
}

impl Lane {
    /// A lane that is known by this id.
    pub(in crate::calls) fn new(pair: u64, fresh: bool) -> Self {
        Self {
            pair: PairId(pair),
            streams: [None, None],
            fresh,
        }
    }

    /// The stream that the end numbered `writer` writes. The first one to show it names it.
    pub(in crate::calls) fn stream(&mut self, writer: usize, name: u64) -> StreamId {
        *self.streams[writer].get_or_insert(StreamId(name))
    }
}

/// One end of a connection: a socket of this host.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) socket: u64,
    pub(super) netns: u32,
    pub(super) route: Option<Route>,
    pub(super) tcp: Tcp,
    /// It has connected: it is the client's.
    pub(super) connected: bool,
    pub(super) connect_us: u32,
    pub(super) is_closed: bool,
    /// The TLS session that runs over it.
    pub(super) session: Option<u64>,
}

impl End {
    pub(super) fn new(socket: u64) -> Self {
        Self {
            socket,
            netns: 0,
            route: None,
            tcp: Tcp::default(),
            connected: false,
            connect_us: 0,
            is_closed: false,
            session: None,
        }
    }

    fn measured(&self) -> Measured {
        Measured {
            connect_us: (self.connect_us > 0).then_some(self.connect_us),
            tcp: self.tcp,
        }
    }
}

/// A connection by the ends of it that are seen, the one that showed first at the front.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) ends: [Option<End>; 2],
    /// The connection's own bytes.
    pub(super) wire: Lane,
    /// What they say, when they are ciphertext.
    pub(super) plain: Option<Lane>,
    /// They are ciphertext.
    pub(super) is_sealed: bool,
    /// When its last end was closed.
    pub(super) closed: Option<Nanos>,
    /// What its endpoints were told of it, if anything: that it is watched.
    pub(super) tallied: Option<bool>,
}

impl Connection {
    pub(super) fn new(end: End) -> Self {
        Self {
            wire: Lane::new(end.socket, true),
            ends: [Some(end), None],
            plain: None,
            is_sealed: false,
            closed: None,
            tallied: None,
        }
    }

    /// Address of an end, as it or else the other one sees it, with the namespace that is from.
    fn address(&self, end: usize) -> Option<(std::net::SocketAddr, u32)> {
        let own = self.ends[end].as_ref();
        let other = self.ends[1 - end].as_ref();
        own.and_then(|own| Some((own.route?.local, own.netns)))
            .or_else(|| other.and_then(|other| Some((other.route?.remote, other.netns))))
    }

    /// Names the stream that `writer` writes for the tracker.
    pub(super) fn carried(&self, lane: &Lane, stream: StreamId, writer: usize) -> Carried {
        let number = |end| self.address(end).map(|(address, netns)| number(address, netns));
        Carried {
            stream,
            pair: Some(lane.pair),
            ends: number(writer).zip(number(1 - writer)).map(|(writer, reader)| [writer, reader]),
        }
    }

    /// What is known of the connection, given which end is the client's.
    pub(super) fn network(&self, client: usize, tls: bool) -> Network {
        let address = |end| self.address(end).map(|(address, _)| address);
        let measured = |end: usize| self.ends[end].as_ref().map(End::measured);
        Network {
            tls,
            client: address(client),
            server: address(1 - client),
            tcp: measured(client).or_else(|| measured(1 - client)),
        }
    }

    /// The kernel's keys of the server's end; of both ends while nobody knows which that is.
    pub(super) fn endpoints(&self) -> Vec<EndpointKey> {
        let client = self
            .ends
            .iter()
            .position(|end| end.as_ref().is_some_and(|end| end.connected));
        let mut keys = Vec::with_capacity(2);
        for (index, end) in self.ends.iter().enumerate() {
            let Some((end, route)) = end.as_ref().and_then(|end| Some((end, end.route?))) else {
                continue;
            };
            let (own, other) = match client {
                Some(client) => (client != index, client == index),
                None => (true, true),
            };
            let own = own.then(|| endpoint_key(route.local, end.netns));
            let other = other.then(|| endpoint_key(route.remote, end.netns));
            keys.extend(own.into_iter().chain(other));
        }
        keys.sort_unstable_by_key(|key| (key.netns, key.port, key.address));
        keys.dedup();
        keys
    }

    /// The connection's streams, plaintext included.
    pub(super) fn streams(&self) -> impl Iterator<Item = StreamId> {
        let plain = self.plain.map_or([None, None], |lane| lane.streams);
        self.wire.streams.into_iter().chain(plain).flatten()
    }
}
