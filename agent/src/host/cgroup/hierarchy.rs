//! Where the files of a process's control groups are: v1, v2 and hybrid mounts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use procfs::ProcessCGroup;
use procfs::process::{MountInfo, Process};

use super::{CgroupCounters, v1, v2};

/// Depth of a control group's path that is looked at.
const MAX_DEPTH: usize = 32;
/// Bytes of one file that are read; `memory.stat`, the longest, has about 2 KiB.
const MAX_FILE_BYTES: u64 = 16 << 10;
/// The controllers of v1 that are read.
const CONTROLLERS: [&str; 4] = ["memory", "cpu", "cpuacct", "pids"];

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// The group that is mounted: not `/` where a part of the tree is.
    root: String,
    point: PathBuf,
}

/// The hierarchies that are mounted here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    unified: Option<Mount>,
    /// By controller.
    separate: BTreeMap<&'static str, Mount>,
}

impl Hierarchies {
    /// Those that this process sees.
    #[must_use]
    pub fn mounted() -> Self {
        let mounts = Process::myself().and_then(|process| process.mountinfo());
        mounts.map(|mounts| Self::among(mounts.into_iter())).unwrap_or_default()
    }

    /// Those among the mounts of `/proc/PID/mountinfo`. The first mount of each wins.
    fn among(mounts: impl Iterator<Item = MountInfo>) -> Self {
        let mut found = Self::default();
        for mount in mounts {
            let place = Mount {
                root: mount.root,
                point: mount.mount_point,
            };
            match mount.fs_type.as_str() {
                "cgroup2" => found.unified = found.unified.or(Some(place)),
                "cgroup" => {
                    for controller in CONTROLLERS {
                        if mount.super_options.contains_key(controller) {
                            found.separate.entry(controller).or_insert_with(|| place.clone());
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Directories of the groups that a process is in, by its `/proc/PID/cgroup`.
    #[must_use]
    pub fn dirs(&self, groups: impl IntoIterator<Item = ProcessCGroup>) -> CgroupDirs {
        let mut dirs = CgroupDirs::default();
        for group in groups {
            if group.hierarchy == 0 {
                dirs.unified = self.unified.as_ref().and_then(|mount| mount.dir(&group.pathname));
            }
            for controller in CONTROLLERS {
                if group.controllers.iter().any(|name| name == controller)
                    && let Some(dir) = self
                        .separate
                        .get(controller)
                        .and_then(|mount| mount.dir(&group.pathname))
                {
                    dirs.separate.insert(controller, dir);
                }
            }
        }
        dirs
    }
}

impl Mount {
    /// Directory of a group. Within a cgroup namespace both its path and the mount's root may begin
    /// with `/..`: what they share is cut off all the same.
    fn dir(&self, group: &str) -> Option<Dir> {
        let relative = if self.root == "/" {
            group
        } else {
            group.strip_prefix(self.root.as_str()).unwrap_or(group)
        };
        let names: Vec<&str> = relative.split('/').filter(|name| !name.is_empty()).collect();
        // Above the mount nothing can be read.
        (!names.contains(&"..") && names.len() <= MAX_DEPTH).then(|| Dir {
            top: self.point.clone(),
            path: self.point.join(names.join("/")),
        })
    }
}

/// A group's directory, and the mount that it is below.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Dir {
    top: PathBuf,
    path: PathBuf,
}

impl Dir {
    fn file(&self, name: &str) -> Option<String> {
        read(&self.path.join(name))
    }

    /// The nearest group, this one or one above, that limits something by the first `files` that
    /// there is; this one when none does. There the use and the limit speak of the same tasks.
    fn limiting(self, limits: impl Fn(&Self) -> bool) -> Self {
        let mut dir = self.clone();
        loop {
            if limits(&dir) {
                return dir;
            }
            if dir.path == dir.top || !dir.path.pop() {
                return self;
            }
        }
    }
}

/// Where the groups of a process are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupDirs {
    unified: Option<Dir>,
    separate: BTreeMap<&'static str, Dir>,
}

impl CgroupDirs {
    /// Replaces each group by the nearest one above that has a limit, where it has none itself: a
    /// pod's limit holds for its containers, a slice's for its services.
    #[must_use]
    pub fn limiting(self) -> LimitingDirs {
        let of = |controller: &str| self.separate.get(controller).or(self.unified.as_ref()).cloned();
        let limited = |dir: Option<Dir>, limits: fn(&CgroupCounters) -> bool, read: fn(&Dir, &mut CgroupCounters)| {
            dir.map(|dir| {
                dir.limiting(|dir| {
                    let mut counters = CgroupCounters::default();
                    read(dir, &mut counters);
                    limits(&counters)
                })
            })
        };
        LimitingDirs {
            memory: limited(of("memory"), |all| all.memory.limit.is_some(), read_memory),
            cpu: limited(of("cpu"), |all| all.cpu_limit.is_some(), read_cpu),
            pids: limited(of("pids"), |all| all.pids_limit.is_some(), read_pids),
            accounting: self.separate.get("cpuacct").cloned(),
            unified: self.unified,
        }
    }
}

/// The groups whose limits hold for a process, by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitingDirs {
    memory: Option<Dir>,
    cpu: Option<Dir>,
    pids: Option<Dir>,
    accounting: Option<Dir>,
    /// The process's own, for pressure.
    unified: Option<Dir>,
}

impl LimitingDirs {
    /// What the files say now.
    #[must_use]
    pub fn read(&self) -> CgroupCounters {
        let mut all = CgroupCounters::default();
        if let Some(dir) = &self.memory {
            read_memory(dir, &mut all);
        }
        if let Some(dir) = &self.cpu {
            read_cpu(dir, &mut all);
        }
        if let Some(dir) = &self.pids {
            read_pids(dir, &mut all);
        }
        if let Some(dir) = &self.accounting
            && all.cpu_ns.is_none()
        {
            v1::cpu_accounting(&|name| dir.file(name), &mut all);
        }
        if let Some(dir) = &self.unified {
            v2::pressure(&|name| dir.file(name), &mut all);
        }
        all
    }
}

fn read_memory(dir: &Dir, into: &mut CgroupCounters) {
    let file = |name: &str| dir.file(name);
    if dir.path.join("memory.usage_in_bytes").exists() {
        v1::memory(&file, into);
    } else {
        v2::memory(&file, into);
    }
}

fn read_cpu(dir: &Dir, into: &mut CgroupCounters) {
    let file = |name: &str| dir.file(name);
    if dir.path.join("cpu.cfs_quota_us").exists() {
        v1::cpu(&file, into);
    } else {
        v2::cpu(&file, into);
    }
}

fn read_pids(dir: &Dir, into: &mut CgroupCounters) {
    v2::pids(&|name| dir.file(name), into);
}

/// A small text file, `None` when it is not there or not text.
fn read(path: &Path) -> Option<String> {
    use std::io::Read;
    let mut text = String::new();
    fs::File::open(path)
        .ok()?
        .take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use procfs::FromBufRead;
    use procfs::process::MountInfos;

    use super::*;

    const UNIFIED: &str = "24 1 0:21 / /proc rw shared:2 - proc proc rw\n\
        35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const HYBRID: &str = "32 24 0:27 / /sys/fs/cgroup ro shared:9 - tmpfs tmpfs ro,mode=755\n\
        33 32 0:28 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw\n\
        36 32 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:15 - cgroup cgroup rw,cpu,cpuacct\n\
        37 32 0:32 / /sys/fs/cgroup/memory rw shared:16 - cgroup cgroup rw,memory\n";
    const INSIDE: &str = "733 732 0:31 /docker/abc /sys/fs/cgroup/memory ro master:16 - cgroup cgroup rw,memory\n\
        734 732 0:32 /../../.. /host/cgroup ro master:9 - cgroup2 cgroup2 rw\n";

    fn hierarchies(text: &str) -> Hierarchies {
        Hierarchies::among(MountInfos::from_buf_read(text.as_bytes()).unwrap().into_iter())
    }

    fn group(hierarchy: u32, controllers: &[&str], pathname: &str) -> ProcessCGroup {
        ProcessCGroup {
            hierarchy,
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
            pathname: pathname.to_owned(),
        }
    }

    fn path(dir: Option<&Dir>) -> Option<&str> {
        dir.and_then(|dir| dir.path.to_str())
    }

    #[test]
    fn unified() {
        let dirs = hierarchies(UNIFIED).dirs([group(0, &[], "/system.slice/a.service")]);
        assert_eq!(
            path(dirs.unified.as_ref()),
            Some("/sys/fs/cgroup/system.slice/a.service")
        );
        assert!(dirs.separate.is_empty());
    }

    #[test]
    fn hybrid() {
        let groups = [
            group(4, &["cpu", "cpuacct"], "/docker/abc"),
            group(9, &["memory"], "/m"),
            group(0, &[], "/"),
        ];
        let dirs = hierarchies(HYBRID).dirs(groups);
        assert_eq!(
            path(dirs.separate.get("cpu")),
            Some("/sys/fs/cgroup/cpu,cpuacct/docker/abc")
        );
        assert_eq!(
            path(dirs.separate.get("cpuacct")),
            Some("/sys/fs/cgroup/cpu,cpuacct/docker/abc")
        );
        assert_eq!(path(dirs.separate.get("memory")), Some("/sys/fs/cgroup/memory/m"));
        assert_eq!(path(dirs.unified.as_ref()), Some("/sys/fs/cgroup/unified/"));
        assert!(!dirs.separate.contains_key("pids"), "not mounted");
    }

    #[test]
    fn from_within_a_container() {
        let groups = [
            group(9, &["memory"], "/docker/abc/x"),
            group(0, &[], "/../../../kubepods/pod1"),
        ];
        let dirs = hierarchies(INSIDE).dirs(groups);
        assert_eq!(path(dirs.separate.get("memory")), Some("/sys/fs/cgroup/memory/x"));
        assert_eq!(path(dirs.unified.as_ref()), Some("/host/cgroup/kubepods/pod1"));
        let out_of_sight = hierarchies(UNIFIED).dirs([group(0, &[], "/../other")]);
        assert_eq!(out_of_sight.unified, None);
    }

    #[test]
    fn the_limit_of_a_group_above() {
        let top = tempfile::tempdir().unwrap();
        let leaf = top.path().join("pod/container");
        fs::create_dir_all(&leaf).unwrap();
        for (file, text) in [
            ("pod/memory.max", "1000"),
            ("pod/memory.current", "900"),
            ("pod/container/memory.max", "max"),
            ("pod/container/memory.current", "500"),
            ("pod/container/cpu.max", "20000 10000"),
            ("pod/container/cpu.stat", "usage_usec 7"),
        ] {
            fs::write(top.path().join(file), text).unwrap();
        }
        let dir = Dir {
            top: top.path().to_owned(),
            path: leaf,
        };
        let dirs = CgroupDirs {
            unified: Some(dir),
            separate: BTreeMap::new(),
        };
        let counters = dirs.limiting().read();
        assert_eq!((counters.memory.limit, counters.memory.usage), (Some(1000), Some(900)));
        assert_eq!((counters.cpu_limit, counters.cpu_ns), (Some(2.0), Some(7000)));
        assert_eq!(counters.pids_limit, None);
    }

    #[test]
    fn on_this_host() {
        let groups = Process::myself().and_then(|process| process.cgroups()).unwrap();
        let counters = Hierarchies::mounted().dirs(groups).limiting().read();
        // Wherever this runs, some hierarchy counts its memory or its CPU time.
        assert!(
            counters.memory.usage.is_some() || counters.cpu_ns.is_some(),
            "{counters:?}"
        );
    }
}
