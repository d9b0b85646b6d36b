//! Which processes take part in TCP, from /proc.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use procfs::net::TcpState;

use super::descriptors::inodes_of;
use super::sockets::Sockets;

/// What a process has of TCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpUse {
    /// Where it listens.
    pub listens: BTreeSet<SocketAddr>,
    /// Its connections that are established.
    pub connections: usize,
}

/// What the processes of this host have of TCP now, by process id; those that have nothing are not
/// there, and those that may not be looked into neither.
#[must_use]
pub fn tcp_use() -> HashMap<u32, TcpUse> {
    let sockets = Sockets::now();
    let by_inode: HashMap<u64, _> = sockets.tcp().map(|entry| (entry.inode, entry)).collect();
    let mut uses: HashMap<u32, TcpUse> = HashMap::new();
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
        let Ok(pid) = u32::try_from(process.pid) else { continue };
        let inodes: BTreeSet<u64> = inodes_of(&process).into_iter().collect();
        for entry in inodes.iter().filter_map(|inode| by_inode.get(inode)) {
            match entry.state {
                TcpState::Listen => _ = uses.entry(pid).or_default().listens.insert(entry.local_address),
                TcpState::Established => uses.entry(pid).or_default().connections += 1,
                _ => {}
            }
        }
    }
    uses
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_listener_and_its_connections_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let own = |uses: HashMap<u32, TcpUse>| uses[&std::process::id()].clone();
        let before = own(tcp_use());
        assert!(before.listens.contains(&address));
        let connections: Vec<_> = (0..5)
            .map(|_| (TcpStream::connect(address).unwrap(), listener.accept().unwrap()))
            .collect();
        // Both ends are this process's; other tests have connections of their own.
        assert!(own(tcp_use()).connections >= 2 * connections.len());
    }
}
