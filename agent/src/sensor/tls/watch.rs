//! The binaries that are hooked. Lives on a thread of its own, which also holds all other programs:
//! reading a large binary takes a while, and so does taking hooks off.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::programs::UProbe;
use aya::programs::uprobe::UProbeScope;

use super::binary::Site;
use super::catalogue::Catalogue;
use super::installed::installed;
use crate::host::{self, FileId};
use crate::sensor::error::in_full;
use crate::sensor::pins::{LibraryHook, Pins};

/// Binaries that are hooked at a time; further ones stay opaque.
const MAX_BINARIES: usize = 128;
/// Root directories whose installed libraries have been looked at.
const MAX_ROOTS: usize = 1024;
/// Time between two searches for binaries that nobody runs any more.
const SWEEP: Duration = Duration::from_secs(300);
/// The same when there is no room for another binary.
const SWEEP_WHEN_FULL: Duration = Duration::from_secs(10);

/// The hooks in a binary. Dropping them takes them off.
struct Hooked {
    _hooks: Vec<LibraryHook>,
    /// New processes are expected to run it.
    kept: bool,
}

/// The hooks in binaries, and all other programs.
pub(super) struct Watch {
    ebpf: Ebpf,
    catalogue: Catalogue,
    hooked: HashMap<FileId, Hooked>,
    pins: Pins,
    /// Device and inode number of the root directories that have been looked at.
    roots: HashSet<(u64, u64)>,
    swept: Instant,
    /// Called when binaries are hooked no more, which processes may still begin to run.
    unhooked: Box<dyn FnMut() + Send>,
}

impl Watch {
    /// Hooks what is installed, and the `programs`.
    pub(super) fn new(ebpf: Ebpf, pins: Pins, unhooked: Box<dyn FnMut() + Send>, programs: &[PathBuf]) -> Self {
        let mut watch = Self {
            ebpf,
            catalogue: Catalogue::default(),
            hooked: HashMap::new(),
            pins,
            roots: HashSet::new(),
            swept: Instant::now(),
            unhooked,
        };
        for path in programs {
            if let Some((id, tls)) = watch.catalogue.look(path, None) {
                watch.hook(path, id, &tls.sites, true);
            }
        }
        watch.look_at_root(Path::new("/proc/self/root"), true);
        watch
    }

    /// Looks at processes as they are asked for, until nobody asks any more.
    pub(super) fn run(mut self, asked: &Receiver<u32>) {
        loop {
            match asked.recv_timeout(SWEEP.saturating_sub(self.swept.elapsed())) {
                Ok(pid) => self.look_at(pid),
                Err(RecvTimeoutError::Timeout) => self.sweep(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    /// Hooks what a process runs, and what may be run under its root directory.
    fn look_at(&mut self, pid: u32) {
        self.look_at_root(&PathBuf::from(format!("/proc/{pid}/root")), false);
        for (file, id, tls) in self.catalogue.of_process(pid) {
            self.hook(&file.open, id, &tls.sites, false);
        }
    }

    fn look_at_root(&mut self, root: &Path, kept: bool) {
        use std::os::unix::fs::MetadataExt as _;
        let Ok(data) = fs::metadata(root) else { return };
        if self.roots.len() >= MAX_ROOTS {
            self.roots.clear();
        }
        if self.roots.insert((data.dev(), data.ino())) {
            for path in installed(root) {
                if let Some((id, tls)) = self.catalogue.look(&path, None) {
                    self.hook(&path, id, &tls.sites, kept);
                }
            }
        }
    }

    fn hook(&mut self, path: &Path, id: FileId, sites: &[Site], kept: bool) {
        if sites.is_empty() || self.hooked.contains_key(&id) {
            return;
        }
        if self.hooked.len() >= MAX_BINARIES && self.swept.elapsed() >= SWEEP_WHEN_FULL {
            self.sweep();
        }
        if self.hooked.len() >= MAX_BINARIES {
            log::warn!(
                "TLS in {} stays unseen: {MAX_BINARIES} binaries are hooked already",
                path.display()
            );
            return;
        }
        match self.attach(path, sites) {
            Ok(hooks) => {
                log::debug!("TLS in {} is seen, by {} hooks", path.display(), hooks.len());
                self.hooked.insert(id, Hooked { _hooks: hooks, kept });
            }
            // Mostly a process that has ended meanwhile: the next one that runs it is looked at again.
            Err(_) if !path.exists() => {}
            Err(reason) => {
                log::warn!("TLS in {} stays unseen: {reason}", path.display());
                self.catalogue.give_up(id);
            }
        }
    }

    /// Attaches a program to each site. None stays when one cannot be.
    fn attach(&mut self, path: &Path, sites: &[Site]) -> Result<Vec<LibraryHook>, String> {
        let mut hooks = Vec::with_capacity(sites.len());
        for site in sites {
            let program = uprobe(&mut self.ebpf, site.program)?;
            let attached = program.attach(site.offset, path, UProbeScope::AllProcesses);
            let link = attached.and_then(|id| program.take_link(id));
            let hook = link
                .map_err(|error| in_full(&error))
                .and_then(|link| self.pins.hold(link));
            hooks.push(hook.map_err(|reason| format!("{}: {reason}", site.program))?);
        }
        Ok(hooks)
    }

    /// Takes the hooks off binaries that nobody runs any more.
    fn sweep(&mut self) {
        self.swept = Instant::now();
        let before = self.hooked.len();
        if self.hooked.values().all(|hooked| hooked.kept) {
            return;
        }
        let mut run = HashSet::new();
        for pid in host::all_pids() {
            let files = host::executable_files(pid);
            run.extend(files.iter().filter_map(|file| host::file_id(&file.open)));
        }
        self.hooked.retain(|id, hooked| hooked.kept || run.contains(id));
        if self.hooked.len() < before {
            log::debug!("{} binaries are hooked no more", before - self.hooked.len());
            self.roots.clear();
            (self.unhooked)();
        }
    }
}

/// The program of this name.
pub(super) fn uprobe<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe, String> {
    ebpf.program_mut(name)
        .ok_or_else(|| format!("the object has no program {name}"))?
        .try_into()
        .map_err(|error| in_full(&error))
}
