//! Who holds the other ends of a server's standard input and output.
//!
//! A server whose other end nobody holds is of no use to anybody. Looking through the descriptors of
//! all processes is dear, so it is done once for an end whose holder is not known: those who held it
//! last time are asked first, and a pipe's end that was closed stays closed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

use serde::Serialize;

use super::sampling::read_stat;
use super::threads::all_pids;
use super::unix::{UnixSocket, unix_sockets};

/// Servers that are looked at in one scan at most.
const MAX_SERVERS: usize = 8192;
/// Descriptors of one process that are looked at.
const MAX_DESCRIPTORS: usize = 16_384;
/// Every so many scans a server's own descriptors are read anew.
const RENEW_EVERY: u64 = 6;
/// Holders that are told of one end.
const MAX_HOLDERS: usize = 8;

/// The other ends of a server's standard input and output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ends {
    /// Who could write to its standard input.
    pub stdin: End,
    /// Who could read its standard output.
    pub stdout: End,
    /// Its parent now.
    pub parent: u32,
    /// Processes that hold the other end of its standard input, or else output; some of them.
    pub holders: Vec<u32>,
}

/// Another end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// There is none: a file, a terminal, a network socket. Or it cannot be told.
    #[default]
    None,
    /// Somebody holds it.
    Open,
    /// Nobody does, nor will.
    Closed,
}

impl End {
    /// Stable name for output.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// One direction of a pipe, or a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Stream {
    PipeReader(u64),
    PipeWriter(u64),
    Socket(u64),
}

/// Standard input and output of a server.
#[derive(Clone, Copy, Debug, Default)]
struct Streams {
    stdin: Option<Target>,
    stdout: Option<Target>,
}

/// What a descriptor stands for, by inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Pipe(u64),
    Socket(u64),
}

/// Looks for other ends, and remembers where they were.
#[derive(Debug, Default)]
pub struct EndsScanner {
    holders: HashMap<Stream, Vec<u32>>,
    closed: HashSet<Stream>,
    /// The servers' own descriptors, which hardly ever change.
    streams: HashMap<Life, Streams>,
    scans: u64,
    full_walks: u64,
}

/// A process's id and start: its identity.
type Life = (u32, u64);

impl EndsScanner {
    /// The other ends of these servers' standard inputs and outputs. Those that are gone, or may not
    /// be looked into, are left out.
    pub fn scan(&mut self, servers: &[u32]) -> Vec<(u32, Ends)> {
        let known = match self.scans % RENEW_EVERY {
            0 => HashMap::new(),
            _ => std::mem::take(&mut self.streams),
        };
        self.scans += 1;
        let mut parents = BTreeMap::new();
        for &pid in servers.iter().take(MAX_SERVERS) {
            if let Some(stat) = read_stat(pid)
                && let Some(streams) = known.get(&(pid, stat.start_time)).copied().or_else(|| streams(pid))
            {
                self.streams.insert((pid, stat.start_time), streams);
                parents.insert(pid, (streams, stat.parent));
            }
        }
        let servers = parents;
        let all = || {
            servers
                .values()
                .flat_map(|(streams, _)| [streams.stdin, streams.stdout])
        };
        let has_sockets = all().flatten().any(|target| matches!(target, Target::Socket(_)));
        // Without an answer nothing is known of sockets, and nothing is said.
        let sockets = has_sockets.then(|| unix_sockets().ok()).flatten().unwrap_or_default();
        let wanted: BTreeSet<Stream> = servers
            .values()
            .flat_map(|(streams, _)| other_ends(*streams, &sockets))
            .flatten()
            .collect();
        self.closed.retain(|stream| wanted.contains(stream));
        let likely: BTreeSet<u32> = self
            .holders
            .drain()
            .flat_map(|(_, pids)| pids)
            .chain(servers.values().map(|(_, parent)| *parent))
            .collect();
        self.look_into(likely.iter().copied(), &wanted);
        let is_open = |end: &Stream| self.holders.get(end).is_some_and(|pids| !pids.is_empty());
        let lost = |end: &Stream| !matches!(end, Stream::Socket(_)) && !is_open(end) && !self.closed.contains(end);
        let missing: BTreeSet<Stream> = wanted.iter().filter(|end| lost(end)).copied().collect();
        if !missing.is_empty() {
            self.full_walks += 1;
            let rest = all_pids().into_iter().filter(|pid| !likely.contains(pid));
            self.look_into(rest, &missing);
            self.closed
                .extend(missing.into_iter().filter(|end| !self.holders.contains_key(end)));
        }
        servers
            .into_iter()
            .map(|(pid, (streams, parent))| (pid, self.ends(pid, streams, parent, &sockets)))
            .collect()
    }

    /// How often all processes were looked into.
    #[must_use]
    pub fn full_walks(&self) -> u64 {
        self.full_walks
    }

    fn ends(&self, pid: u32, streams: Streams, parent: u32, sockets: &HashMap<u64, UnixSocket>) -> Ends {
        let [stdin, stdout] = other_ends(streams, sockets);
        // Its own descriptor for its own other end is of no use to anybody either.
        let holders = |end: Option<Stream>| {
            let held = end
                .and_then(|end| self.holders.get(&end))
                .map(Vec::as_slice)
                .unwrap_or_default();
            held.iter().copied().filter(|&holder| holder != pid).collect::<Vec<_>>()
        };
        let [of_stdin, of_stdout] = [holders(stdin), holders(stdout)];
        let end = |target: Option<Target>, held: &[u32], is_shut: fn(&UnixSocket) -> bool| match target {
            None => End::None,
            Some(Target::Pipe(_)) if held.is_empty() => End::Closed,
            Some(Target::Pipe(_)) => End::Open,
            // Of another network namespace nothing is known.
            Some(Target::Socket(inode)) => sockets.get(&inode).map_or(End::None, |socket| {
                if socket.peer.is_none() || is_shut(socket) {
                    End::Closed
                } else {
                    End::Open
                }
            }),
        };
        Ends {
            stdin: end(streams.stdin, &of_stdin, |socket| socket.no_input),
            stdout: end(streams.stdout, &of_stdout, |socket| socket.no_output),
            parent,
            holders: if of_stdin.is_empty() { of_stdout } else { of_stdin },
        }
    }

    /// Notes which of these processes hold which of the wanted ends.
    fn look_into(&mut self, pids: impl Iterator<Item = u32>, wanted: &BTreeSet<Stream>) {
        let own = std::process::id();
        for pid in pids.filter(|&pid| pid != own || cfg!(test)) {
            let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
                continue;
            };
            for descriptor in descriptors.take(MAX_DESCRIPTORS).flatten() {
                let path = descriptor.path();
                let held = match fs::read_link(&path).ok().and_then(|link| target(link.to_str()?)) {
                    Some(Target::Socket(inode)) => [Some(Stream::Socket(inode)), None],
                    Some(Target::Pipe(inode)) => {
                        let (reader, writer) = (Stream::PipeReader(inode), Stream::PipeWriter(inode));
                        if !wanted.contains(&reader) && !wanted.contains(&writer) {
                            continue;
                        }
                        // The link's own permissions say what the descriptor is open for.
                        let mode = fs::symlink_metadata(&path).map_or(0, |metadata| metadata.mode());
                        [
                            (mode & 0o400 != 0).then_some(reader),
                            (mode & 0o200 != 0).then_some(writer),
                        ]
                    }
                    None => continue,
                };
                for end in held.into_iter().flatten().filter(|end| wanted.contains(end)) {
                    let pids = self.holders.entry(end).or_default();
                    if pids.len() < MAX_HOLDERS && !pids.contains(&pid) {
                        pids.push(pid);
                    }
                }
            }
        }
    }
}

/// What somebody else has to hold for a server to be of use.
fn other_ends(streams: Streams, sockets: &HashMap<u64, UnixSocket>) -> [Option<Stream>; 2] {
    let other = |target: Option<Target>, pipe: fn(u64) -> Stream| match target? {
        Target::Pipe(inode) => Some(pipe(inode)),
        Target::Socket(inode) => sockets.get(&inode)?.peer.map(Stream::Socket),
    };
    [
        other(streams.stdin, Stream::PipeWriter),
        other(streams.stdout, Stream::PipeReader),
    ]
}

fn streams(pid: u32) -> Option<Streams> {
    let of = |fd: u8| {
        let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
        target(link.to_str()?)
    };
    fs::exists(format!("/proc/{pid}/fd")).ok()?.then(|| Streams {
        stdin: of(0),
        stdout: of(1),
    })
}

fn target(link: &str) -> Option<Target> {
    let (kind, inode) = link.strip_suffix(']')?.split_once(":[")?;
    let inode = inode.parse().ok()?;
    match kind {
        "pipe" => Some(Target::Pipe(inode)),
        "socket" => Some(Target::Socket(inode)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::process::{Child, Command, Stdio};

    use super::*;

    struct Server(Child);

    impl Server {
        fn start(stdin: Stdio, stdout: Stdio) -> Self {
            Self(
                Command::new("sleep")
                    .arg("60")
                    .stdin(stdin)
                    .stdout(stdout)
                    .spawn()
                    .unwrap(),
            )
        }

        fn ends(&self, scanner: &mut EndsScanner) -> Ends {
            let mut found = scanner.scan(&[self.0.id()]);
            assert_eq!(found.len(), 1);
            found.remove(0).1
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn pipes() {
        let mut server = Server::start(Stdio::piped(), Stdio::piped());
        let mut scanner = EndsScanner::default();
        let ends = server.ends(&mut scanner);
        assert_eq!(
            (ends.stdin, ends.stdout, ends.parent),
            (End::Open, End::Open, std::process::id())
        );
        assert!(ends.holders.contains(&std::process::id()), "{ends:?}");
        drop(server.0.stdin.take());
        let ends = server.ends(&mut scanner);
        assert_eq!((ends.stdin, ends.stdout), (End::Closed, End::Open));
        let walks = scanner.full_walks();
        server.ends(&mut scanner);
        assert_eq!(scanner.full_walks(), walks, "closed once, closed for good");
    }

    #[test]
    fn socket_pairs() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let copy = theirs.try_clone().unwrap();
        let server = Server::start(OwnedFd::from(theirs).into(), OwnedFd::from(copy).into());
        let mut scanner = EndsScanner::default();
        let ends = server.ends(&mut scanner);
        assert_eq!((ends.stdin, ends.stdout), (End::Open, End::Open));
        assert!(ends.holders.contains(&std::process::id()), "{ends:?}");
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let ends = server.ends(&mut scanner);
        assert_eq!((ends.stdin, ends.stdout), (End::Closed, End::Open));
        drop(ours);
        let ends = server.ends(&mut scanner);
        assert_eq!((ends.stdin, ends.stdout), (End::Closed, End::Closed));
        assert_eq!(scanner.full_walks(), 0);
    }

    #[test]
    fn neither_pipe_nor_socket() {
        let server = Server::start(Stdio::null(), Stdio::null());
        let mut scanner = EndsScanner::default();
        let ends = server.ends(&mut scanner);
        assert_eq!(
            (ends.stdin, ends.stdout, scanner.full_walks()),
            (End::None, End::None, 0)
        );
        assert!(scanner.scan(&[u32::MAX]).is_empty());
    }
}
