//! The search for the processes at the other end of members' connections, while observation goes on.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use agent_abi::SocketRecord;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::host::{self, Connection};

/// Connections that wait to be looked for. More are not: the search has no time for them.
const MAX_WAITING: usize = 256;
/// Who is at an address is not asked again this soon.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// Addresses that were asked for, of which the time is kept.
const MAX_ASKED: usize = 4096;
/// The search rests this many times as long as it took: it reads the descriptors of every process.
const REST: u32 = 30;

/// A thread that searches /proc, and its answers.
pub(super) struct PeerSearch {
    ask: SyncSender<Connection>,
    found: UnboundedReceiver<BTreeSet<u32>>,
    asked: HashMap<SocketAddr, Instant>,
}

impl PeerSearch {
    /// Starts the thread. It ends when this is dropped.
    ///
    /// # Errors
    /// When there are no threads to be had.
    pub(super) fn start() -> io::Result<Self> {
        let (ask, asked) = sync_channel(MAX_WAITING);
        let (tell, found) = unbounded_channel();
        thread::Builder::new()
            .name("peers".to_owned())
            .spawn(move || search(&asked, &tell))?;
        Ok(Self {
            ask,
            found,
            asked: HashMap::new(),
        })
    }

    /// Looks for the other end of a member's connection, if it may be on this host.
    pub(super) fn look_for(&mut self, record: &SocketRecord) {
        let address = |ip: [u8; 16], port| SocketAddr::new(IpAddr::V6(Ipv6Addr::from(ip)).to_canonical(), port);
        let connection = Connection {
            local: address(record.local, record.local_port),
            remote: address(record.remote, record.remote_port),
        };
        if !connection.may_stay_on_host() {
            return;
        }
        let now = Instant::now();
        if self.asked.len() >= MAX_ASKED {
            self.asked.retain(|_, at| now.duration_since(*at) < ASK_AGAIN);
        }
        let before = self.asked.insert(connection.remote, now);
        if before.is_none_or(|at| now.duration_since(at) >= ASK_AGAIN) && self.ask.try_send(connection).is_err() {
            log::debug!("no time to look for the process at {}", connection.remote);
        }
    }

    /// The next processes that were found.
    pub(super) async fn found(&mut self) -> BTreeSet<u32> {
        match self.found.recv().await {
            Some(pids) => pids,
            None => std::future::pending().await,
        }
    }
}

fn search(asked: &Receiver<Connection>, tell: &UnboundedSender<BTreeSet<u32>>) {
    while let Ok(first) = asked.recv() {
        let began = Instant::now();
        let mut connections = HashSet::from([first]);
        connections.extend(asked.try_iter());
        let pids = host::at_other_end(&connections);
        if !pids.is_empty() && tell.send(pids).is_err() {
            return;
        }
        thread::sleep(began.elapsed() * REST);
    }
}
