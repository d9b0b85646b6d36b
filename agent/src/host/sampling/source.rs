//! Where samples come from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::limits::MAX_CGROUPS;
use super::process::read_process;
use super::stat::StatFiles;
use super::{Depth, HostCounters, ProcessCounters};
use crate::host::{CgroupCounters, Hierarchies, LimitingDirs, cgroup_path};

/// After so long the groups above a group are looked at again: a limit may have been set on one.
const RENEWED: Duration = Duration::from_secs(60);

/// Where samples come from: the running host, or a test.
pub trait Source {
    /// The host as a whole.
    fn host(&mut self) -> HostCounters;
    /// One process, as closely as `depth` says after a glance. `None` when it is gone.
    fn process(&mut self, pid: u32, depth: &mut dyn FnMut(&ProcessCounters) -> Depth) -> Option<ProcessCounters>;
    /// Nobody will ask for that process any more.
    fn forget_process(&mut self, pid: u32);
    /// Path of the control group that a process is in now.
    fn cgroup_of(&mut self, pid: u32) -> Option<Arc<str>>;
    /// That control group. `None` when it is gone.
    fn cgroup(&mut self, path: &Arc<str>) -> Option<CgroupCounters>;
    /// Nobody is in that control group any more.
    fn forget_cgroup(&mut self, path: &Arc<str>);
}

/// The running host.
#[derive(Debug)]
pub struct LiveSource {
    hierarchies: Hierarchies,
    dirs: BTreeMap<Arc<str>, (LimitingDirs, Instant)>,
    stats: StatFiles,
}

impl Default for LiveSource {
    fn default() -> Self {
        Self {
            hierarchies: Hierarchies::mounted(),
            dirs: BTreeMap::new(),
            stats: StatFiles::default(),
        }
    }
}

impl Source for LiveSource {
    fn host(&mut self) -> HostCounters {
        HostCounters::read()
    }

    fn process(&mut self, pid: u32, depth: &mut dyn FnMut(&ProcessCounters) -> Depth) -> Option<ProcessCounters> {
        read_process(&mut self.stats, pid, depth)
    }

    fn forget_process(&mut self, pid: u32) {
        self.stats.forget(pid);
    }

    fn cgroup_of(&mut self, pid: u32) -> Option<Arc<str>> {
        let process = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?;
        let groups: Vec<_> = process.cgroups().ok()?.into_iter().collect();
        let path: Arc<str> = cgroup_path(groups.iter().cloned())?.into();
        // Many processes share a group.
        let known = self.dirs.get(&path);
        let is_fresh = known.is_some_and(|(_, since)| since.elapsed() < RENEWED);
        if !is_fresh && (self.dirs.len() < MAX_CGROUPS || known.is_some()) {
            let dirs = self.hierarchies.dirs(groups).limiting();
            self.dirs.insert(Arc::clone(&path), (dirs, Instant::now()));
        }
        Some(path)
    }

    fn cgroup(&mut self, path: &Arc<str>) -> Option<CgroupCounters> {
        self.dirs.get(path).map(|(dirs, _)| dirs.read())
    }

    fn forget_cgroup(&mut self, path: &Arc<str>) {
        self.dirs.remove(path);
    }
}
