//! The sockets of the host's network namespaces, from /proc: which listen, and which are the two
//! ends of one connection.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;

use procfs::net::{TcpNetEntry, TcpState, UnixNetEntry, UnixState};
use procfs::process::Process;

/// Network namespaces that are looked into. A host has one per container or pod.
const MAX_NAMESPACES: usize = 256;

/// A TCP connection as one of its ends sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Address of this end.
    pub local: SocketAddr,
    /// Address of the other end.
    pub remote: SocketAddr,
}

impl Connection {
    /// Whether the other end may be on this host, as far as addresses tell: it is this end's, or in
    /// a range that containers use.
    #[must_use]
    pub fn may_stay_on_host(&self) -> bool {
        let remote = self.remote.ip().to_canonical();
        remote == self.local.ip().to_canonical()
            || match remote {
                std::net::IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
                std::net::IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
            }
    }

    /// The same connection from the other end.
    fn reversed(self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
        }
    }
}

/// The sockets of all network namespaces at one instant.
pub(super) struct Sockets {
    tcp: Vec<TcpNetEntry>,
    unix: Vec<UnixNetEntry>,
}

impl Sockets {
    /// Reads them through one process of each namespace. What cannot be read is not there.
    pub(super) fn now() -> Self {
        let mut namespaces = HashSet::new();
        let mut sockets = Self {
            tcp: Vec::new(),
            unix: Vec::new(),
        };
        for process in procfs::process::all_processes().into_iter().flatten().flatten() {
            let Ok(namespace) = fs::read_link(format!("/proc/{}/ns/net", process.pid)) else {
                continue;
            };
            if namespaces.len() < MAX_NAMESPACES && namespaces.insert(namespace) {
                sockets.read(&process);
            }
        }
        sockets
    }

    fn read(&mut self, process: &Process) {
        self.tcp.extend(process.tcp().into_iter().flatten());
        self.tcp.extend(process.tcp6().into_iter().flatten());
        self.unix.extend(process.unix().into_iter().flatten());
    }

    /// All TCP sockets.
    pub(super) fn tcp(&self) -> impl Iterator<Item = &TcpNetEntry> {
        self.tcp.iter()
    }

    /// Inode numbers of the TCP and unix stream sockets that listen.
    pub(super) fn listening(&self) -> impl Iterator<Item = u64> {
        let tcp = self.tcp.iter().filter(|entry| entry.state == TcpState::Listen);
        // A unix socket that listens is stream and not connected; one that is yet to do something
        // looks the same, and does no harm.
        let stream = u16::try_from(libc::SOCK_STREAM).unwrap_or_default();
        let unix = self
            .unix
            .iter()
            .filter(move |entry| entry.socket_type == stream && entry.state == UnixState::UNCONNECTED);
        tcp.map(|entry| entry.inode).chain(unix.map(|entry| entry.inode))
    }

    /// Inode numbers of the other ends of the TCP connections that have an end in `inodes`.
    pub(super) fn across(&self, inodes: &HashSet<u64>) -> HashSet<u64> {
        let own = self.tcp.iter().filter(|entry| inodes.contains(&entry.inode));
        let reversed: HashSet<Connection> = own.map(|entry| canonical(connection(entry).reversed())).collect();
        let across = self
            .tcp
            .iter()
            .filter(|entry| reversed.contains(&canonical(connection(entry))));
        across.map(|entry| entry.inode).filter(|&inode| inode != 0).collect()
    }

    /// Inode numbers of the sockets at the other end of `connection`. Where it is yet to be
    /// accepted, those that listen for it.
    pub(super) fn other_end(&self, seen: Connection) -> Vec<u64> {
        let wanted = canonical(seen.reversed());
        let accepted = self
            .tcp
            .iter()
            .find(|entry| entry.inode != 0 && canonical(connection(entry)) == wanted);
        if let Some(accepted) = accepted {
            return vec![accepted.inode];
        }
        let listens = |entry: &&TcpNetEntry| {
            let ip = entry.local_address.ip();
            entry.state == TcpState::Listen
                && entry.local_address.port() == wanted.local.port()
                && (ip.is_unspecified() || ip.to_canonical() == wanted.local.ip())
        };
        self.tcp.iter().filter(listens).map(|entry| entry.inode).collect()
    }
}

fn connection(entry: &TcpNetEntry) -> Connection {
    Connection {
        local: entry.local_address,
        remote: entry.remote_address,
    }
}

/// IPv4 in its own form: a socket for both families shows it in the IPv6 form.
fn canonical(connection: Connection) -> Connection {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    Connection {
        local: canonical(connection.local),
        remote: canonical(connection.remote),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn both_ends_of_a_seenand_its_listener_are_found() {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let seen = Connection {
            local: client.local_addr().unwrap(),
            remote: client.peer_addr().unwrap(),
        };
        assert!(seen.may_stay_on_host());
        let own = super::super::own_inodes();
        let waiting = Sockets::now().other_end(seen);
        assert_eq!(waiting.len(), 1, "{waiting:?}");
        assert!(Sockets::now().listening().any(|inode| inode == waiting[0]));
        assert!(own.contains(&waiting[0]), "the listener's, until it is accepted");
        let (server, _) = listener.accept().unwrap();
        let sockets = Sockets::now();
        let accepted = sockets.other_end(seen);
        assert_eq!(accepted.len(), 1);
        assert_ne!(accepted, waiting);
        let back = Connection {
            local: server.local_addr().unwrap(),
            remote: server.peer_addr().unwrap(),
        };
        let client_inode = sockets.other_end(back);
        assert_eq!(
            sockets.across(&client_inode.iter().copied().collect()),
            accepted.iter().copied().collect()
        );
    }

    #[test]
    fn a_remote_host_is_not_looked_for_here() {
        let to = |remote: &str| Connection {
            local: "192.0.2.1:40000".parse().unwrap(),
            remote: remote.parse().unwrap(),
        };
        assert!(!to("198.51.100.7:443").may_stay_on_host());
        assert!(!to("[2001:db8::1]:443").may_stay_on_host());
        assert!(to("192.0.2.1:443").may_stay_on_host());
        assert!(to("[::ffff:172.17.0.2]:443").may_stay_on_host());
    }
}
