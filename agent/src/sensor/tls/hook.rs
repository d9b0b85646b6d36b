//! Who holds the hooks of libraries.
//!
//! The kernel waits for all CPUs with each hook that it takes off, a tenth of a second or more, and whoever closes
//! the last descriptor of a hook waits with it: a process that is killed would be gone after many seconds. What is
//! pinned in a BPF file system is taken off by the kernel's workers instead. So this process has a BPF file system of
//! its own, mounted nowhere: it ends with the process, however that ends, and the hooks with it.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::ptr;

use aya::programs::links::FdLink;
use aya::programs::uprobe::UProbeLink;
use aya::util::KernelVersion;

use crate::sensor::error::in_full;

/// Hooks are links, which can be pinned, since this version.
const LINKS: KernelVersion = KernelVersion::new(5, 15, 0);
/// `FSCONFIG_CMD_CREATE` of <linux/mount.h>.
const CREATE: libc::c_uint = 6;

/// A hook. Dropping it takes it off.
pub(super) enum Hook {
    /// Held by the file of this name.
    Pinned(PathBuf),
    /// Held by a descriptor of this process.
    Held { _link: UProbeLink },
}

impl Drop for Hook {
    fn drop(&mut self) {
        if let Self::Pinned(path) = self
            && let Err(error) = fs::remove_file(path)
        {
            log::debug!("a hook stays until the agent ends: {error}");
        }
    }
}

/// Where hooks are kept.
pub(super) struct Hooks {
    /// The root of the file system; `None` where there is none, and hooks are held by descriptors.
    root: Option<OwnedFd>,
    /// The name of the next one.
    next: u64,
}

impl Hooks {
    /// No hooks, and a place for them.
    pub(super) fn new() -> Self {
        let root = if KernelVersion::current().is_ok_and(|version| version >= LINKS) {
            mount()
                .inspect_err(|error| log::debug!("the end will wait for each hook: {error}"))
                .ok()
        } else {
            None
        };
        Self { root, next: 0 }
    }

    /// Keeps a hook until it is dropped.
    ///
    /// # Errors
    /// When the kernel does not let it be pinned. It is off then.
    pub(super) fn keep(&mut self, link: UProbeLink) -> Result<Hook, String> {
        let Some(root) = &self.root else {
            return Ok(Hook::Held { _link: link });
        };
        let path = PathBuf::from(format!("/proc/self/fd/{}/{}", root.as_raw_fd(), self.next));
        self.next += 1;
        let link = FdLink::try_from(link).map_err(|error| in_full(&error))?;
        // Its descriptor is closed here: the file is the only one to hold it.
        link.pin(&path).map_err(|error| in_full(&error))?;
        Ok(Hook::Pinned(path))
    }
}

/// A BPF file system that is mounted nowhere.
fn mount() -> io::Result<OwnedFd> {
    let kind: &CStr = c"bpf";
    // SAFETY: the pointer is to a string that ends with a zero; the answer is a new descriptor or an error.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC) })?;
    let nothing = ptr::null::<libc::c_void>();
    // SAFETY: this command takes neither a key nor a value.
    let created = unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), CREATE, nothing, nothing, 0) };
    if created != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: only numbers are given; the answer is a new descriptor or an error.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), libc::FSMOUNT_CLOEXEC, 0) })
}

/// The descriptor that a system call has answered with.
fn owned(answer: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(answer).ok().filter(|fd| *fd >= 0);
    // SAFETY: the system call has just made it, so nobody else has it.
    fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .ok_or_else(io::Error::last_os_error)
}
