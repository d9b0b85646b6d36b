//! Which binaries of which processes may hold a TLS library. Runs on a thread of its own: a large
//! binary takes a while to read.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::library::{Place, places};

/// Binaries that are read in all; further ones stay opaque.
const MAX_BINARIES: usize = 4096;
/// Lines of a process' memory map that are read.
const MAX_MAPS: usize = 8192;

/// Where distributions keep libraries.
const LIBRARIES: &[&str] = &[
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "usr/local/lib",
    "usr/local/lib64",
    "lib/x86_64-linux-gnu",
    "lib64",
    "lib",
];

/// Programs with a TLS library of their own, which are looked for where they are usually installed.
const PROGRAMS: &[&str] = &["usr/bin/node", "usr/local/bin/node"];

/// A binary with functions to watch.
#[derive(Debug)]
pub(super) struct Found {
    /// The binary, as the agent can open it.
    pub(super) path: PathBuf,
    pub(super) places: Vec<Place>,
}

/// A search that goes on beside the agent's work.
pub(super) struct Search {
    processes: Sender<u32>,
    found: Receiver<Found>,
}

impl Search {
    /// Looks at what is installed, and starts the search for what is not.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub(super) fn start() -> std::io::Result<(Self, Vec<Found>)> {
        let (processes, to_search) = channel::<u32>();
        let (report, found) = channel();
        let mut seen = Seen::default();
        let installed = seen.binaries_of(std::process::id());
        thread::Builder::new().name("tls-search".to_owned()).spawn(move || {
            while let Ok(pid) = to_search.recv() {
                for found in seen.binaries_of(pid) {
                    if report.send(found).is_err() {
                        return;
                    }
                }
            }
        })?;
        Ok((Self { processes, found }, installed))
    }

    /// Asks for the binaries of a process.
    pub(super) fn look_at(&self, pid: u32) {
        // The thread ends with the agent only.
        self.processes.send(pid).unwrap_or_default();
    }

    /// The next binary that was found.
    pub(super) fn next(&self) -> Option<Found> {
        self.found.try_recv().ok()
    }
}

#[derive(Default)]
struct Seen {
    /// Device and inode of binaries that were read.
    binaries: HashSet<(u64, u64)>,
    /// Device and inode of root directories whose libraries were read.
    roots: HashSet<(u64, u64)>,
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let data = fs::metadata(path).ok()?;
    Some((data.dev(), data.ino()))
}

impl Seen {
    fn binaries_of(&mut self, pid: u32) -> Vec<Found> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let root = process.join("root");
        let mut candidates = vec![process.join("exe")];
        candidates.extend(mapped_libraries(&process));
        if identity(&root).is_some_and(|identity| self.roots.insert(identity)) {
            candidates.extend(installed(&root));
        }
        candidates.into_iter().filter_map(|path| self.binary(path)).collect()
    }

    fn binary(&mut self, path: PathBuf) -> Option<Found> {
        let identity = identity(&path)?;
        if self.binaries.len() >= MAX_BINARIES || !self.binaries.insert(identity) {
            return None;
        }
        match places(&path) {
            Ok(places) if !places.is_empty() => Some(Found { path, places }),
            Ok(_) => None,
            Err(error) => {
                log::debug!("{} is not searched for TLS functions: {error}", path.display());
                None
            }
        }
    }
}

fn is_tls_library(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("libssl") && name.contains(".so"))
}

/// The TLS libraries that a process has mapped.
fn mapped_libraries(process: &Path) -> Vec<PathBuf> {
    let maps = fs::read_to_string(process.join("maps")).unwrap_or_default();
    let mut found = Vec::new();
    for line in maps.lines().take(MAX_MAPS) {
        // address, permissions, offset, device, inode, path
        let mut fields = line.split_ascii_whitespace();
        let (range, permissions) = (fields.next(), fields.next());
        let path = fields.nth(3).map(Path::new);
        let (Some(range), Some(path)) = (range, path) else {
            continue;
        };
        if !permissions.is_some_and(|it| it.contains('x')) || !is_tls_library(path) {
            continue;
        }
        let named = process.join("root").join(path.strip_prefix("/").unwrap_or(path));
        // One that was replaced is still to be had as what is mapped.
        let path = if line.ends_with("(deleted)") {
            process.join("map_files").join(range)
        } else {
            named
        };
        if !found.contains(&path) {
            found.push(path);
        }
    }
    found
}

/// The TLS libraries and programs that are installed under a root directory.
fn installed(root: &Path) -> Vec<PathBuf> {
    let libraries = LIBRARIES
        .iter()
        .flat_map(|directory| fs::read_dir(root.join(directory)));
    let libraries = libraries
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_tls_library(path));
    let programs = PROGRAMS.iter().map(|program| root.join(program));
    libraries.chain(programs).collect()
}
