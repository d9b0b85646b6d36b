//! What the service manager is told (sd_notify(3)): by datagrams that are never waited for. A manager that
//! reads late, or whose socket is gone, must not keep the agent from reading the ring.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Where the manager listens, if there is one (sd_notify(3)).
const SOCKET: &str = "NOTIFY_SOCKET";

/// Tells the manager, if it asked for it.
#[derive(Debug)]
pub(super) struct Notifier {
    socket: Option<OsString>,
    /// What has not been taken yet: said again until it is. Each thing is said once, so it stays short.
    owed: String,
    /// How often it wants to hear that all is well, halved.
    watchdog: Option<Duration>,
    patted: Instant,
    /// Whether the last attempt failed, so that the log says so once.
    failing: bool,
}

impl Notifier {
    /// Whoever the environment names.
    pub(super) fn of_environment() -> Self {
        let socket = std::env::var_os(SOCKET).filter(|socket| !socket.is_empty());
        Self::new(socket, sd_notify::watchdog_enabled())
    }

    fn new(socket: Option<OsString>, watchdog: Option<Duration>) -> Self {
        Self {
            socket,
            owed: String::new(),
            watchdog: watchdog.map(|period| period / 2),
            patted: Instant::now(),
            failing: false,
        }
    }

    /// Says something that has to arrive: now, or at a later [`Notifier::tick`].
    pub(super) fn say(&mut self, state: &NotifyState<'_>) {
        if self.socket.is_some() {
            // A String takes whatever it is given.
            writeln!(self.owed, "{state}").unwrap_or_default();
            self.tick();
        }
    }

    /// Says what is owed, and that all is well when it is time for that.
    pub(super) fn tick(&mut self) {
        let pats = self.watchdog.is_some_and(|period| self.patted.elapsed() >= period);
        let Some(socket) = self.socket.as_deref().filter(|_| pats || !self.owed.is_empty()) else {
            return;
        };
        let mut message = self.owed.clone();
        if pats {
            writeln!(message, "{}", NotifyState::Watchdog).unwrap_or_default();
        }
        match send(socket, message.as_bytes()) {
            Ok(()) => {
                self.owed.clear();
                if pats {
                    self.patted = Instant::now();
                }
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the service manager is told again");
                }
            }
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!(%error, socket = %socket.display(), "the service manager cannot be told; that is tried again");
            }
            Err(_known) => {}
        }
    }
}

/// Sends one datagram or fails at once. Connects anew each time: a manager that starts again has another
/// socket of the same name.
fn send(socket: &OsStr, message: &[u8]) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let from = UnixDatagram::unbound()?;
    from.set_nonblocking(true)?;
    from.connect_addr(&address)?;
    // A datagram goes whole or not at all.
    from.send(message).map(|_whole| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a manager has read, without waiting.
    fn read(manager: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    fn manager(folder: &tempfile::TempDir) -> (UnixDatagram, OsString) {
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        (manager, path.into_os_string())
    }

    #[test]
    fn a_full_socket_is_not_waited_for_and_is_told_when_it_has_room() {
        let folder = tempfile::tempdir().unwrap();
        let (manager, path) = manager(&folder);
        // As many as the kernel takes (net.unix.max_dgram_qlen), from somebody who does not wait either.
        let mut filled = 0;
        let full = loop {
            match send(&path, b"X=1\n") {
                Ok(()) => filled += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert!(filled > 0);
        let mut notifier = Notifier::new(Some(path), Some(Duration::ZERO));
        let began = Instant::now();
        notifier.say(&NotifyState::Ready);
        for _ in 0..100 {
            notifier.tick();
        }
        assert!(began.elapsed() < Duration::from_secs(5), "it was waited for");
        while read(&manager).is_some_and(|text| text == "X=1\n") {
            filled -= 1;
        }
        assert_eq!(filled, 0, "nothing else had room");
        notifier.tick();
        assert_eq!(read(&manager).as_deref(), Some("READY=1\nWATCHDOG=1\n"));
        notifier.tick();
        assert_eq!(
            read(&manager).as_deref(),
            Some("WATCHDOG=1\n"),
            "what has arrived is not said again"
        );
    }

    #[test]
    fn a_manager_that_is_gone_is_told_when_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let (first, path) = manager(&folder);
        let mut notifier = Notifier::new(Some(path.clone()), None);
        notifier.say(&NotifyState::Status("here"));
        assert_eq!(read(&first).as_deref(), Some("STATUS=here\n"));
        drop(first);
        notifier.say(&NotifyState::Ready);
        std::fs::remove_file(&path).unwrap();
        notifier.say(&NotifyState::Stopping);
        let (second, _) = manager(&folder);
        notifier.tick();
        assert_eq!(read(&second).as_deref(), Some("READY=1\nSTOPPING=1\n"));
        notifier.tick();
        assert_eq!(read(&second), None);
    }

    #[test]
    fn names_without_a_file() {
        let name = format!("mcpsonar-notify-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager.set_nonblocking(true).unwrap();
        Notifier::new(Some(format!("@{name}").into()), None).say(&NotifyState::Ready);
        assert_eq!(read(&manager).as_deref(), Some("READY=1\n"));
    }

    #[test]
    fn nobody_who_asked() {
        let mut notifier = Notifier::new(None, Some(Duration::ZERO));
        notifier.say(&NotifyState::Ready);
        notifier.tick();
        assert!(notifier.owed.is_empty());
    }
}
