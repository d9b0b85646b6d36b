//! The socket: one agent a path, and who may speak to it.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use procfs::process::Process;
use tokio::net::unix::UCred;

use super::DaemonError;

/// A path that is this agent's as long as the lock is held.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) listener: UnixListener,
    pub(super) group: Option<u32>,
    path: PathBuf,
    _lock: File,
}

impl Claim {
    /// Takes the path, also from an agent that has ended without removing its socket.
    pub(super) fn take(path: &Path, group: &str) -> Result<Self, DaemonError> {
        let failed = |source| DaemonError::Socket {
            path: path.to_owned(),
            source,
        };
        let group = group_id(group);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let lock = lock(path)?;
        let listener = bind(path, group).map_err(failed)?;
        Ok(Self {
            listener,
            group,
            path: path.to_owned(),
            _lock: lock,
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The next agent takes it over if this fails.
        fs::remove_file(&self.path).unwrap_or_default();
    }
}

/// The kernel gives the lock back when its holder ends, however that is.
fn lock(socket: &Path) -> Result<File, DaemonError> {
    let failed = |source| DaemonError::Socket {
        path: socket.to_owned(),
        source,
    };
    let path = socket.with_extension("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(failed)?;
            return Err(DaemonError::Running {
                pid: pid.trim().to_owned(),
                path: socket.to_owned(),
            });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed)?;
    Ok(file)
}

/// Bound beside its place and moved there: nobody ever sees it with the wrong mode.
fn bind(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, Permissions::from_mode(0o660))?;
    chown(&fresh, None, group)?;
    listener.set_nonblocking(true)?;
    fs::rename(&fresh, path)?;
    Ok(listener)
}

/// From /etc/group: a service's group is local.
fn group_id(name: &str) -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// Whether the peer is root, the agent's own user, or of the group.
pub(super) fn may_ask(peer: &UCred, group: Option<u32>) -> bool {
    let own = procfs::process::Process::myself().and_then(|own| own.uid()).ok();
    if peer.uid() == 0 || own == Some(peer.uid()) {
        return true;
    }
    let Some(group) = group else { return false };
    peer.gid() == group || has_group(peer, group)
}

/// The further groups of a process. Should its pid be another's by now: the mode of the socket has
/// let the peer in by the same rule already.
fn has_group(peer: &UCred, group: u32) -> bool {
    let status = peer.pid().and_then(|pid| Process::new(pid).ok()?.status().ok());
    status.is_some_and(|status| status.groups.contains(&group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_a_path_and_a_stale_socket_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/a.sock");
        let first = Claim::take(&path, "no such group").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let second = Claim::take(&path, "no such group").unwrap_err();
        let DaemonError::Running { pid, path: told } = &second else {
            panic!("{second}");
        };
        assert_eq!((pid.as_str(), told), (std::process::id().to_string().as_str(), &path));
        drop(first);
        assert!(!path.exists());
        // What kill -9 leaves behind: a socket that nobody listens on.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let third = Claim::take(&path, "no such group").unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop(third);
    }

    #[test]
    fn groups_by_name() {
        assert_eq!(group_id("root"), Some(0));
        assert_eq!(group_id("no such group"), None);
    }
}
