//! Plaintext at the boundary of TLS libraries: finds them in what processes run, by the symbols of
//! its files, and attaches the programs to their functions.

mod binary;
mod catalogue;
mod elf;
mod functions;
mod go;
mod installed;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aya::Ebpf;

pub(super) use functions::programs;

use self::catalogue::Catalogue;
use self::watch::{Watch, uprobe};
use super::error::in_full;
use super::pins::Pins;
use crate::hooks::{HookStatus, TlsLibrary as Library, TlsStatus};

/// Processes that wait to be looked at.
const MAX_WAITING: usize = 16_384;
/// How long the start waits for what is installed to be hooked: a fraction of a second, but where another
/// agent has just ended the kernel has its hooks to take off first, one by one.
const INSTALLED_WITHIN: Duration = Duration::from_secs(20);

/// The thread that hooks TLS libraries, and holds all programs while it lives.
pub(super) struct Tls {
    ask: Option<SyncSender<u32>>,
    thread: Option<JoinHandle<()>>,
}

impl Tls {
    /// Starts the thread, and waits until what is installed is hooked, and the `programs`. `unhooked` is
    /// called when binaries are hooked no more that processes may still begin to run.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub(super) fn start(
        ebpf: Ebpf,
        pins: Pins,
        unhooked: Box<dyn FnMut() + Send>,
        programs: Vec<PathBuf>,
    ) -> std::io::Result<Self> {
        allow_descriptors();
        let (ask, asked) = sync_channel(MAX_WAITING);
        let (ready, installed) = sync_channel(1);
        let thread = thread::Builder::new().name("tls".to_owned()).spawn(move || {
            let watch = Watch::new(ebpf, pins, unhooked, &programs);
            // Nobody waits any more: as good.
            ready.send(()).unwrap_or_default();
            watch.run(&asked);
        })?;
        if installed.recv_timeout(INSTALLED_WITHIN).is_err() {
            log::warn!("reading the installed TLS libraries takes long: processes that start now may be seen in part");
        }
        Ok(Self {
            ask: Some(ask),
            thread: Some(thread),
        })
    }

    /// A process has come into view, has started a program or runs code of another file.
    pub(super) fn look_at(&self, pid: u32) {
        let Some(ask) = &self.ask else { return };
        if let Err(TrySendError::Full(pid)) = ask.try_send(pid) {
            log::warn!("no time to look for TLS libraries in process {pid}: its TLS may stay unseen");
        }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that hooks TLS libraries has panicked");
        }
    }
}

/// Loads the programs. One that is refused leaves the libraries that need it unseen.
pub(super) fn load(ebpf: &mut Ebpf) -> Vec<HookStatus> {
    let mut load = |name| uprobe(ebpf, name)?.load().map_err(|error| in_full(&error));
    let statuses = programs().into_iter().map(|name| {
        let refused = load(name).err();
        HookStatus {
            name: format!("uprobe {name}"),
            tier: 0,
            on: refused.is_none(),
            reason: refused.unwrap_or_default(),
            lost: "calls inside TLS".to_owned(),
        }
    });
    statuses.collect()
}

/// The TLS libraries of processes, and whether their plaintext can be seen. Of a process with several
/// that can be, a program that cannot is not told of.
#[must_use]
pub fn tls_of_processes(pids: &[u32]) -> Vec<TlsStatus> {
    let mut catalogue = Catalogue::default();
    let mut statuses = Vec::new();
    for &pid in pids {
        let found = catalogue.of_process(pid);
        let any_visible = found.iter().any(|(.., tls)| !tls.sites.is_empty());
        let told = found
            .into_iter()
            .filter(|(.., tls)| !any_visible || !tls.sites.is_empty());
        statuses.extend(told.map(|(file, _, tls)| TlsStatus {
            pid,
            binary: display(&file.path),
            library: tls.library,
            visible: !tls.sites.is_empty(),
            reason: tls.reason.clone(),
        }));
    }
    statuses
}

fn display(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Where hooks cannot be pinned, each is two open descriptors: takes as many as the process may have.
fn allow_descriptors() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live struct of the type that the call takes.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        log::debug!("RLIMIT_NOFILE stays as it is: {}", std::io::Error::last_os_error());
    }
}
