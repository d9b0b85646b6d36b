//! The sockets of the host: which two are the ends of one connection, and which TLS sessions they
//! carry.
//!
//! Each end of a connection is a socket of its own to the kernel. Where both are on this host,
//! what they move is one connection: what one writes is what the other reads.

mod way;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use agent_abi::{DataRecord, EndpointKey, SocketEvent, SocketRecord, Tcp, VerdictCode, flags};
use mcp_proto::{Nanos, PairId, StreamId};

pub(super) use way::Way;

/// Sockets that are remembered; the closed give way first, then the oldest.
const MAX_SOCKETS: usize = 16_384;
/// How long a closed socket is remembered: its calls may wait for a minute to be resumed elsewhere.
const KEEP_CLOSED: Nanos = 90_000_000_000;

/// Marks the ids of streams of TCP connections: the kernel's own ids are nanoseconds since boot.
const TCP_STREAM: u64 = 1 << 62;
/// Marks those of the plaintext of TLS sessions.
const TLS_STREAM: u64 = 1 << 63;

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    First,
    Second,
}

/// A socket, as its records tell.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    netns: u32,
    /// Names the connection: the socket of the end that was seen first.
    connection: u64,
    end: End,
    /// The socket at the other end, where it is on this host.
    other: Option<u64>,
    pub(super) connect_us: u32,
    pub(super) tcp: Tcp,
    closed: Option<Nanos>,
    /// Both of its directions carry TLS.
    pub(super) is_sealed: bool,
    /// The TLS session is known that it carries.
    pub(super) is_bound: bool,
    /// Its plaintext, once any was seen.
    plain: Option<Plain>,
    /// Where the kernel keeps what it writes, and its inode number.
    place: Option<(u64, u64)>,
    /// What the kernel was told of its ciphertext.
    told: Option<VerdictCode>,
}

/// How the plaintext of a socket's session began.
#[derive(Clone, Copy, Debug)]
struct Plain {
    /// It was seen from the first byte on.
    whole: bool,
    /// When the first piece of it was seen.
    began: Nanos,
    /// It is told together with that of the other end.
    agrees: bool,
}

/// What a record of a socket means for the streams that it carries.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Streams that nobody writes to any more, and when that began, in order.
    pub(super) closed: Vec<(StreamId, Nanos)>,
    /// Streams whose writers have said that they write no more, and when.
    pub(super) finished: Vec<(StreamId, Nanos)>,
}

/// The two directions that a socket takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Streams {
    pub(super) pair: PairId,
    pub(super) written: StreamId,
    pub(super) read: StreamId,
}

/// Every socket that is known.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Ids rise with time: the oldest come first. Boxed, for the nodes of the tree are mostly half empty.
    known: BTreeMap<u64, Box<Socket>>,
    /// Open sockets without an end on this host, by their addresses: local, remote.
    alone: HashMap<(SocketAddr, SocketAddr), Vec<u64>>,
    /// Those that have closed, with when they are forgotten.
    closed: VecDeque<(Nanos, u64)>,
    /// Sockets that gave way while they were open.
    pub(super) evicted: u64,
}

/// The address of 16 bytes, IPv4 where it is mapped.
pub(super) fn address(bytes: [u8; 16], port: u16) -> SocketAddr {
    let ip = Ipv6Addr::from(bytes);
    let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
    SocketAddr::new(ip, port)
}

/// Whether a stream is the plaintext of a TLS session.
pub(super) fn is_plaintext(stream: StreamId) -> bool {
    stream.0 & TLS_STREAM != 0
}

/// A number that stands for an address.
fn number(address: SocketAddr) -> u64 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one(address)
}

impl Sockets {
    /// Takes a record. A socket that is seen for the first time may complete a connection.
    pub(super) fn record(&mut self, record: &SocketRecord) -> Change {
        let mut change = Change::default();
        let closes = record.event == SocketEvent::Closed as u32;
        while let Some((_, id)) = self.closed.pop_front_if(|(due, _)| *due <= record.at) {
            self.forget(id);
        }
        if !closes && !self.known.contains_key(&record.socket) {
            self.open(record);
        }
        let Some(socket) = self.known.get_mut(&record.socket) else {
            return change;
        };
        socket.measured(record.tcp);
        if record.connect_us != 0 {
            socket.connect_us = record.connect_us;
        }
        if record.event == SocketEvent::PeerClosed as u32 {
            let read = [socket.streams().read, socket.plaintext().read];
            change.finished = read.map(|stream| (stream, record.at)).to_vec();
        }
        if closes && socket.closed.is_none() {
            socket.closed = Some(record.at);
            self.closed(record.socket, &mut change);
        }
        change
    }

    fn open(&mut self, record: &SocketRecord) {
        let local = address(record.local, record.local_port);
        let remote = address(record.remote, record.remote_port);
        let other = self.other_end(local, remote, record.netns);
        let (connection, end) = match other.and_then(|other| self.known.get_mut(&other)) {
            Some(found) => {
                found.other = Some(record.socket);
                let end = if found.end == End::First {
                    End::Second
                } else {
                    End::First
                };
                (found.connection, end)
            }
            None => (record.socket, End::First),
        };
        if let Some(other) = other {
            self.forget_alone((remote, local), other);
        } else {
            self.alone.entry((local, remote)).or_default().push(record.socket);
        }
        let socket = Socket {
            local,
            remote,
            netns: record.netns,
            connection,
            end,
            other,
            connect_us: 0,
            tcp: record.tcp,
            closed: None,
            is_sealed: other.is_some_and(|other| self.known.get(&other).is_some_and(|other| other.is_sealed)),
            is_bound: false,
            plain: None,
            place: None,
            told: None,
        };
        self.known.insert(record.socket, Box::new(socket));
        if self.known.len() > MAX_SOCKETS {
            self.make_room();
        }
    }

    fn make_room(&mut self) {
        if let Some((_, id)) = self.closed.pop_front() {
            self.forget(id);
        } else if let Some((&oldest, _)) = self.known.first_key_value() {
            self.evicted += 1;
            self.forget(oldest);
        }
    }

    /// The socket with these addresses the other way round. An address of the loopback device
    /// means something within its network namespace only.
    fn other_end(&self, local: SocketAddr, remote: SocketAddr, netns: u32) -> Option<u64> {
        let candidates = self.alone.get(&(remote, local))?;
        let fits = |id: &&u64| {
            self.known
                .get(id)
                .is_some_and(|it| it.netns == netns || !(local.ip().is_loopback() || remote.ip().is_loopback()))
        };
        // Within its own namespace first.
        let own = |id: &&u64| self.known.get(id).is_some_and(|it| it.netns == netns);
        let own = candidates.iter().filter(fits).find(own);
        own.or_else(|| candidates.iter().find(fits)).copied()
    }

    fn forget_alone(&mut self, addresses: (SocketAddr, SocketAddr), socket: u64) {
        if let Some(sockets) = self.alone.get_mut(&addresses) {
            sockets.retain(|it| *it != socket);
            if sockets.is_empty() {
                self.alone.remove(&addresses);
            }
        }
    }

    fn forget(&mut self, id: u64) {
        if let Some(socket) = self.known.remove(&id) {
            self.forget_alone((socket.local, socket.remote), id);
            if let Some(other) = socket.other.and_then(|other| self.known.get_mut(&other)) {
                other.other = None;
            }
        }
    }

    /// A socket has closed: when no end of the connection is left, its streams end, in the order in
    /// which their writers left.
    fn closed(&mut self, id: u64, change: &mut Change) {
        let Some(socket) = self.known.get(&id) else { return };
        self.forget_alone((socket.local, socket.remote), id);
        let Some(socket) = self.known.get(&id) else { return };
        let other = socket.other.and_then(|other| self.known.get(&other));
        if other.is_some_and(|other| other.closed.is_none()) {
            return;
        }
        let mut ends: Vec<_> = [Some(socket), other].into_iter().flatten().collect();
        ends.sort_by_key(|end| end.closed);
        for end in ends {
            let at = end.closed.unwrap_or_default();
            change.closed.push((end.streams().written, at));
            change.closed.push((end.plaintext().written, at));
        }
        if let Some(only) = self.known.get(&id).filter(|it| it.other.is_none()) {
            let at = only.closed.unwrap_or_default();
            change.closed.push((only.streams().read, at));
            change.closed.push((only.plaintext().read, at));
        }
        let due = change.closed.last().map_or(0, |(_, at)| at.saturating_add(KEEP_CLOSED));
        let other = self.known.get(&id).and_then(|it| it.other);
        self.closed
            .extend([Some(id), other].into_iter().flatten().map(|gone| (due, gone)));
    }

    /// Notes that a connection carries TLS.
    pub(super) fn seal(&mut self, id: u64) {
        let other = self.known.get(&id).and_then(|it| it.other);
        for id in [Some(id), other].into_iter().flatten() {
            if let Some(socket) = self.known.get_mut(&id) {
                socket.is_sealed = true;
            }
        }
    }

    /// Whether a socket's plaintext counts from the first byte of its session. `None` when it cannot be
    /// told together with that of the other end: the offsets of both must count from the same byte.
    /// Where one end was seen from the first byte on and the other was not, they do if neither had
    /// moved a byte before the other was seen.
    pub(super) fn agree(&mut self, id: u64, record: &DataRecord) -> Option<bool> {
        let other = self.known.get(&id).and_then(|it| it.other);
        let others = other.and_then(|other| self.known.get(&other)).and_then(|it| it.plain);
        let Some(socket) = self.known.get_mut(&id) else {
            return Some(record.flags & flags::FRESH != 0);
        };
        if let Some(plain) = socket.plain {
            return plain.agrees.then_some(plain.whole);
        }
        let fresh = record.flags & flags::FRESH != 0;
        let agrees = others.is_none_or(|others| {
            others.whole == fresh || (record.offset == 0 && (fresh || others.began >= record.entered))
        });
        // What agrees with an end that was seen from the first byte on counts from there, too.
        let whole = fresh || (agrees && others.is_some_and(|others| others.whole));
        socket.plain = Some(Plain {
            whole,
            began: record.exited,
            agrees,
        });
        agrees.then_some(whole)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Socket> {
        self.known.get_mut(&id).map(|socket| &mut **socket)
    }

    /// The sockets of the connection that a stream belongs to: that of its writer, that of its reader.
    pub(super) fn ends(&self, stream: StreamId) -> [Option<&Socket>; 2] {
        let id = stream.0;
        if id & (TCP_STREAM | TLS_STREAM) == 0 {
            return [None, None];
        }
        let connection = (id & !(TCP_STREAM | TLS_STREAM)) >> 1;
        let known = |id: u64| self.known.get(&id).map(|socket| &**socket);
        let first = known(connection).filter(|it| it.connection == connection);
        let second = first.and_then(|first| first.other).and_then(known);
        if id & 1 == 0 { [first, second] } else { [second, first] }
    }
}

impl Socket {
    /// The streams of the socket itself.
    pub(super) fn streams(&self) -> Streams {
        self.marked(TCP_STREAM)
    }

    /// The plaintext of the TLS session that it carries.
    pub(super) fn plaintext(&self) -> Streams {
        self.marked(TLS_STREAM)
    }

    fn marked(&self, mark: u64) -> Streams {
        let pair = mark | self.connection << 1;
        let (first, second) = (StreamId(pair), StreamId(pair | 1));
        let (written, read) = match self.end {
            End::First => (first, second),
            End::Second => (second, first),
        };
        Streams {
            pair: PairId(pair),
            written,
            read,
        }
    }

    /// Takes what the kernel has measured, where it could.
    pub(super) fn measured(&mut self, tcp: Tcp) {
        if tcp != Tcp::default() {
            self.tcp = tcp;
        }
    }

    /// Takes a record of what it moved.
    pub(super) fn moved(&mut self, record: &DataRecord) {
        self.measured(record.tcp);
        // What is written is kept under an even key, what is read under the next one.
        self.place = Some((record.key & !1, record.ino));
    }

    /// What the kernel is to be told of ciphertext, unless it knows, by key and inode number. Once
    /// the session is known, nothing of it is of use.
    pub(super) fn news(&mut self) -> Option<(u64, u64, VerdictCode)> {
        let (key, ino) = self.place.filter(|_| self.is_sealed)?;
        let worth = if self.is_bound {
            VerdictCode::Ignore
        } else {
            VerdictCode::Sealed
        };
        (self.told.replace(worth) != Some(worth)).then_some((key, ino, worth))
    }

    /// Address of this end, and of the other.
    pub(super) fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.local, self.remote)
    }

    /// Both ends, as keys of verdicts: one of them is the server's.
    pub(super) fn endpoints(&self) -> [EndpointKey; 2] {
        [self.local, self.remote].map(|address| EndpointKey {
            address: match address.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            },
            netns: self.netns,
            port: address.port(),
            reserved: 0,
        })
    }
}
