//! What the host says about itself.

use std::{collections::BTreeMap, fs, path::Path};

use procfs::process::{LimitValue, MountInfo, Process};
use serde::Serialize;

/// Capabilities that matter, with their bit and what they are for.
pub(super) const CAPABILITIES: [(&str, u32, &str); 6] = [
    ("CAP_BPF", 39, "load programs and maps"),
    ("CAP_PERFMON", 38, "attach tracing programs"),
    ("CAP_SYS_ADMIN", 21, "hook TLS libraries, on kernels since 2025"),
    ("CAP_SYS_PTRACE", 19, "read facts of other users' processes"),
    (
        "CAP_DAC_READ_SEARCH",
        2,
        "read facts and programs in other users' directories",
    ),
    (
        "CAP_SYS_RESOURCE",
        24,
        "raise the limit on locked memory, which matters before 5.11",
    ),
];

/// The initial pid namespace has this inode number in every kernel.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// What the host says about itself. `None` is "cannot be read".
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct HostFindings {
    pub(super) kernel: Option<String>,
    pub(super) arch: &'static str,
    pub(super) btf: bool,
    pub(super) euid: Option<u32>,
    pub(super) capabilities: BTreeMap<&'static str, bool>,
    /// Bytes; `None` is unlimited.
    pub(super) memlock_bytes: Option<u64>,
    /// Whether maps are charged to that limit (before 5.11).
    pub(super) memlock_binds: bool,
    pub(super) unprivileged_bpf_disabled: Option<String>,
    pub(super) perf_event_paranoid: Option<String>,
    pub(super) lockdown: Option<String>,
    /// Mount points by file system.
    pub(super) mounts: BTreeMap<&'static str, Option<String>>,
    /// v1, v2 or hybrid.
    pub(super) cgroup: Option<&'static str>,
    pub(super) psi: bool,
    pub(super) hidepid: Option<String>,
    pub(super) initial_pid_namespace: Option<bool>,
}

impl HostFindings {
    pub(super) fn gather() -> Self {
        let myself = Process::myself().ok();
        let status = myself.as_ref().and_then(|process| process.status().ok());
        let capeff = status.as_ref().map_or(0, |status| status.capeff);
        let mounts = myself
            .as_ref()
            .and_then(|process| process.mountinfo().ok())
            .map_or_else(Vec::new, |mounts| mounts.0);
        let kernel = line("/proc/sys/kernel/osrelease");
        let memlock = myself
            .and_then(|process| process.limits().ok())
            .map(|limits| limits.max_locked_memory.soft_limit);
        Self {
            arch: std::env::consts::ARCH,
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            euid: status.map(|status| status.euid),
            capabilities: CAPABILITIES
                .iter()
                .map(|(name, bit, _)| (*name, capeff >> bit & 1 == 1))
                .collect(),
            memlock_bytes: match memlock {
                Some(LimitValue::Value(bytes)) => Some(bytes),
                Some(LimitValue::Unlimited) | None => None,
            },
            memlock_binds: kernel.as_deref().is_some_and(|release| is_older(release, (5, 11))),
            kernel,
            unprivileged_bpf_disabled: line("/proc/sys/kernel/unprivileged_bpf_disabled"),
            perf_event_paranoid: line("/proc/sys/kernel/perf_event_paranoid"),
            lockdown: line("/sys/kernel/security/lockdown").map(|modes| chosen(&modes)),
            cgroup: cgroup(&mounts),
            hidepid: hidepid(&mounts),
            mounts: ["tracefs", "bpf", "debugfs", "cgroup", "cgroup2"]
                .map(|kind| (kind, mounted(&mounts, kind)))
                .into(),
            psi: fs::read("/proc/pressure/cpu").is_ok(),
            initial_pid_namespace: fs::read_link("/proc/self/ns/pid")
                .ok()
                .map(|link| link.as_os_str() == INITIAL_PID_NAMESPACE),
        }
    }
}

fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// Whether a release like "5.10.0-28-amd64" is older than `than`. What cannot be read is not.
pub(super) fn is_older(release: &str, than: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < than,
        _ => false,
    }
}

/// The bracketed one of "none [integrity] confidentiality".
pub(super) fn chosen(modes: &str) -> String {
    let inside = modes.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or(modes, |(mode, _)| mode).to_owned()
}

fn mounted(mounts: &[MountInfo], kind: &str) -> Option<String> {
    let mount = mounts.iter().find(|mount| mount.fs_type == kind)?;
    Some(mount.mount_point.display().to_string())
}

/// v1 means controllers in v1 hierarchies; hybrid means a unified hierarchy next to them.
fn cgroup(mounts: &[MountInfo]) -> Option<&'static str> {
    let has = |kind| mounts.iter().any(|mount| mount.fs_type == kind);
    match (has("cgroup"), has("cgroup2")) {
        (true, true) => Some("hybrid"),
        (true, false) => Some("v1"),
        (false, true) => Some("v2"),
        (false, false) => None,
    }
}

fn hidepid(mounts: &[MountInfo]) -> Option<String> {
    let proc = mounts
        .iter()
        .find(|mount| mount.fs_type == "proc" && mount.mount_point == Path::new("/proc"))?;
    let option = proc
        .super_options
        .get("hidepid")
        .or_else(|| proc.mount_options.get("hidepid"));
    Some(option.cloned().flatten().unwrap_or_else(|| "off".to_owned()))
}
