//! What is known of a process, and where it is read from.

use std::collections::HashMap;

use procfs::process::Process;
use serde::{Deserialize, Serialize};

use super::{container_id, redact_args};

/// What is known of a process. Whatever could not be read in time is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// Process (thread group) id in the initial pid namespace.
    pub pid: u32,
    /// Name of the main thread, at most 15 bytes.
    pub comm: Option<String>,
    /// Path of the program.
    pub exe: Option<String>,
    /// Arguments, without secrets and bounded (see [`redact_args`]).
    pub cmdline: Vec<String>,
    /// Path of the cgroup: of the unified hierarchy, else of the deepest v1 one.
    pub cgroup: Option<String>,
    /// Id of the container, when the cgroup's path tells it.
    pub container: Option<String>,
    /// When the process began, in clock ticks since boot: with the pid, its identity.
    pub start_time: Option<u64>,
    /// Its parent when it was looked at. Recordings of before have none.
    pub parent: Option<u32>,
    /// Effective id of the user that it runs as. Recordings of before have none.
    pub user: Option<u32>,
}

impl ProcessFacts {
    /// Whether nothing but the pid is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self
            == Self {
                pid: self.pid,
                ..Self::default()
            }
    }

    /// Fills what is missing from `other`.
    pub fn complete_from(&mut self, other: Self) {
        let Self {
            pid: _,
            comm,
            exe,
            cmdline,
            cgroup,
            container,
            start_time,
            parent,
            user,
        } = other;
        self.comm = self.comm.take().or(comm);
        self.exe = self.exe.take().or(exe);
        if self.cmdline.is_empty() {
            self.cmdline = cmdline;
        }
        self.cgroup = self.cgroup.take().or(cgroup);
        self.container = self.container.take().or(container);
        self.start_time = self.start_time.or(start_time);
        self.parent = self.parent.or(parent);
        self.user = self.user.or(user);
    }
}

/// Where facts come from: the running host, or a recording of one.
pub trait FactsSource {
    /// The facts of a process now; `None` when it is not known at all.
    fn read(&mut self, pid: u32) -> Option<ProcessFacts>;
}

/// The running host.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcFs;

impl FactsSource for ProcFs {
    fn read(&mut self, pid: u32) -> Option<ProcessFacts> {
        // Every file on its own: a process may vanish, or deny us some of them, at any point.
        let process = Process::new(i32::try_from(pid).ok()?).ok()?;
        let stat = process.stat().ok();
        let cgroup = process
            .cgroups()
            .ok()
            .and_then(|groups| cgroup_path(groups.into_iter()));
        let container = cgroup.as_deref().and_then(container_id);
        Some(ProcessFacts {
            pid,
            start_time: stat.as_ref().map(|stat| stat.starttime),
            parent: stat.as_ref().and_then(|stat| u32::try_from(stat.ppid).ok()),
            user: user(&process),
            comm: stat.map(|stat| stat.comm),
            exe: process.exe().ok().map(|path| path.to_string_lossy().into_owned()),
            cmdline: process.cmdline().map(|args| redact_args(&args)).unwrap_or_default(),
            cgroup,
            container,
        })
    }
}

/// Whom a process runs as. The folder of one that may not be dumped is root's, whoever it runs as: there a
/// file more has to be read.
fn user(process: &Process) -> Option<u32> {
    let owner = process.uid().ok()?;
    if owner != 0 {
        return Some(owner);
    }
    process.status().ok().map(|status| status.euid)
}

/// The most telling of a process's cgroups. On a hybrid host the unified hierarchy may hold
/// nothing but the root, while the v1 controllers know the container.
pub(super) fn cgroup_path(groups: impl Iterator<Item = procfs::ProcessCGroup>) -> Option<String> {
    let unified_first = |group: &procfs::ProcessCGroup| group.hierarchy != 0;
    let mut paths: Vec<_> = groups.map(|group| (unified_first(&group), group.pathname)).collect();
    paths.sort_by_key(|(is_v1, path)| (container_id(path).is_none(), path == "/", *is_v1));
    paths.into_iter().next().map(|(_, path)| path)
}

/// Facts of a recording, as far as it has been replayed.
#[derive(Clone, Debug, Default)]
pub struct RecordedFacts {
    by_pid: HashMap<u32, ProcessFacts>,
}

impl RecordedFacts {
    /// From here on, these are the facts of their process.
    pub fn insert(&mut self, facts: ProcessFacts) {
        self.by_pid.insert(facts.pid, facts);
    }
}

impl FactsSource for RecordedFacts {
    fn read(&mut self, pid: u32) -> Option<ProcessFacts> {
        self.by_pid.get(&pid).cloned()
    }
}

#[cfg(test)]
mod tests {
    use procfs::ProcessCGroup;

    use super::*;

    #[test]
    fn own_facts() {
        let facts = ProcFs.read(std::process::id()).unwrap();
        assert_eq!(facts.pid, std::process::id());
        assert!(facts.comm.is_some() && facts.start_time.is_some());
        assert_eq!(facts.parent, Some(std::os::unix::process::parent_id()));
        assert_eq!(facts.user, Some(Process::myself().unwrap().status().unwrap().euid));
        assert!(!facts.cmdline.is_empty());
        assert_eq!(facts.exe.as_deref(), std::env::current_exe().unwrap().to_str());
    }

    #[test]
    fn a_process_that_is_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(ProcFs.read(child.id()), None);
        assert_eq!(ProcFs.read(u32::MAX), None);
    }

    #[test]
    fn a_zombie_has_some_facts() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let facts = loop {
            let facts = ProcFs.read(child.id()).unwrap();
            if facts.cmdline.is_empty() {
                break facts;
            }
        };
        assert!(facts.comm.is_some());
        child.wait().unwrap();
    }

    #[test]
    fn the_telling_cgroup_wins() {
        let group = |hierarchy, pathname: &str| ProcessCGroup {
            hierarchy,
            controllers: vec![],
            pathname: pathname.to_owned(),
        };
        let id = "0123456789abcdef".repeat(4);
        let docker = format!("/docker/{id}");
        let pick = |groups: Vec<_>| cgroup_path(groups.into_iter());
        assert_eq!(pick(vec![group(5, &docker), group(0, "/")]), Some(docker.clone()));
        assert_eq!(pick(vec![group(5, "/a"), group(0, "/b")]).as_deref(), Some("/b"));
        assert_eq!(pick(vec![]), None);
    }

    #[test]
    fn completing_never_overwrites() {
        let mut facts = ProcessFacts {
            pid: 1,
            comm: Some("a".into()),
            ..Default::default()
        };
        assert!(!facts.is_empty());
        facts.complete_from(ProcessFacts {
            pid: 1,
            comm: Some("b".into()),
            cmdline: vec!["b".into()],
            ..Default::default()
        });
        assert_eq!((facts.comm.as_deref(), facts.cmdline.len()), (Some("a"), 1));
    }
}
