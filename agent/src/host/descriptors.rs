//! Pipes and sockets that processes hold, from /proc: what was there before the agent, and who is
//! at the other end.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use procfs::process::{FDTarget, Process};

use super::sockets::{Connection, Sockets};

/// Inode numbers of the pipes and sockets of a process. Empty when it is gone or may not be looked into.
pub(super) fn inodes_of(process: &Process) -> Vec<u64> {
    let Ok(descriptors) = process.fd() else {
        return Vec::new();
    };
    let targets = descriptors.flatten().filter_map(|descriptor| match descriptor.target {
        FDTarget::Pipe(inode) | FDTarget::Socket(inode) => Some(inode),
        FDTarget::Path(path) => fifo_inode(&path),
        _ => None,
    });
    targets.collect()
}

/// Inode number of a named pipe.
fn fifo_inode(path: &Path) -> Option<u64> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    // Device files and the like answer slowly or not at all; a FIFO is none of them.
    if path.starts_with("/dev") || path.starts_with("/proc") || path.starts_with("/sys") {
        return None;
    }
    let metadata = fs::symlink_metadata(path).ok()?;
    metadata.file_type().is_fifo().then(|| metadata.ino())
}

/// Inode numbers of all pipes and sockets that are open on the host.
#[must_use]
pub fn open_inodes() -> HashSet<u64> {
    let Ok(processes) = procfs::process::all_processes() else {
        return HashSet::new();
    };
    processes.flatten().flat_map(|process| inodes_of(&process)).collect()
}

/// Inode numbers of the pipes and sockets that this process holds, and so its children inherit.
#[must_use]
pub fn own_inodes() -> HashSet<u64> {
    Process::myself()
        .map(|process| inodes_of(&process).into_iter().collect())
        .unwrap_or_default()
}

/// `pids` and all their descendants that live now.
#[must_use]
pub fn descendants(pids: &[u32]) -> BTreeSet<u32> {
    let parents: Vec<(u32, u32)> = procfs::process::all_processes()
        .map(|processes| {
            let stats = processes.flatten().filter_map(|process| process.stat().ok());
            stats
                .filter_map(|stat| Some((stat.pid.try_into().ok()?, stat.ppid.try_into().ok()?)))
                .collect()
        })
        .unwrap_or_default();
    let mut members: BTreeSet<u32> = pids.iter().copied().collect();
    loop {
        let before = members.len();
        members.extend(
            parents
                .iter()
                .filter(|(_, parent)| members.contains(parent))
                .map(|&(pid, _)| pid)
                .collect::<Vec<_>>(),
        );
        if members.len() == before {
            return members;
        }
    }
}

/// Processes that may be at the other end of the members' streams: their ancestors, whoever holds
/// one of their pipes or the other end of one of their connections, and every server of this host.
#[must_use]
pub fn peers(members: &BTreeSet<u32>) -> BTreeSet<u32> {
    let Ok(processes) = procfs::process::all_processes() else {
        return BTreeSet::new();
    };
    let mut inodes = HashSet::new();
    let mut others = Vec::new();
    let mut peers = BTreeSet::new();
    for process in processes.flatten() {
        let Ok(pid) = u32::try_from(process.pid) else { continue };
        if members.contains(&pid) {
            inodes.extend(inodes_of(&process));
            peers.extend(ancestors(&process));
        } else {
            others.push(process);
        }
    }
    let sockets = Sockets::now();
    inodes.extend(sockets.across(&inodes));
    inodes.extend(sockets.listening());
    peers.extend(holders(others, &inodes));
    peers.retain(|pid| !members.contains(pid));
    peers
}

/// Processes at the other end of connections; those that listen for them where they are yet to be
/// accepted.
#[must_use]
pub fn at_other_end(connections: &HashSet<Connection>) -> BTreeSet<u32> {
    let sockets = Sockets::now();
    let inodes = connections
        .iter()
        .flat_map(|&connection| sockets.other_end(connection))
        .collect::<HashSet<u64>>();
    // Most remote addresses are remote.
    if inodes.is_empty() {
        return BTreeSet::new();
    }
    let processes = procfs::process::all_processes().into_iter().flatten().flatten();
    holders(processes, &inodes).collect()
}

/// Those of `processes` that hold one of `inodes`.
fn holders(processes: impl IntoIterator<Item = Process>, inodes: &HashSet<u64>) -> impl Iterator<Item = u32> {
    processes
        .into_iter()
        .filter(|process| inodes_of(process).iter().any(|inode| inodes.contains(inode)))
        .filter_map(|process| u32::try_from(process.pid).ok())
}

fn ancestors(process: &Process) -> Vec<u32> {
    let mut found = Vec::new();
    let mut parent = process.stat().map(|stat| stat.ppid).unwrap_or(0);
    while parent > 1 && found.len() < 64 {
        found.extend(u32::try_from(parent));
        parent = Process::new(parent)
            .and_then(|process| process.stat())
            .map_or(0, |stat| stat.ppid);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_pipe_is_found() {
        use std::os::fd::AsRawFd;
        let (reader, _writer) = std::io::pipe().unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", reader.as_raw_fd())).unwrap();
        let inode = link
            .to_string_lossy()
            .trim_start_matches("pipe:[")
            .trim_end_matches(']')
            .parse()
            .unwrap();
        assert!(own_inodes().contains(&inode));
        assert!(open_inodes().contains(&inode));
    }

    #[test]
    fn a_child_is_a_descendant_and_its_parent_a_peer() {
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        let own = std::process::id();
        assert!(descendants(&[own]).contains(&child.id()));
        assert!(peers(&BTreeSet::from([child.id()])).contains(&own));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_server_is_everybodys_peer() {
        let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(peers(&BTreeSet::new()).contains(&std::process::id()));
    }
}
