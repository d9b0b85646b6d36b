//! Who holds the hooks.
//!
//! The kernel waits for all CPUs with most hooks that it takes off, a tenth of a second or more, and whoever closes
//! the last descriptor of a hook waits with it: a process that is killed would be gone after many seconds. What is
//! pinned in a BPF file system is taken off by the kernel's workers instead. So this process has a BPF file system of
//! its own, mounted nowhere: it ends with the process, however that ends, and the hooks with it.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::ptr;

use aya::Ebpf;
use aya::programs::ProgramError;
use aya::programs::links::FdLink;
use aya::programs::uprobe::UProbeLink;
use aya::util::KernelVersion;

use super::error::in_full;
use super::keeper;

/// Since this version the hook of a library is a link, as others are, and can be pinned.
const LIBRARY_LINKS: KernelVersion = KernelVersion::new(5, 15, 0);
/// Since this version the kernel's workers take off what is pinned, whoever removes the pin.
const WORKERS: KernelVersion = KernelVersion::new(6, 5, 0);
/// `FSCONFIG_CMD_CREATE` of <linux/mount.h>.
const CREATE: libc::c_uint = 6;

/// The hook of a library. Dropping it takes it off.
pub(super) enum LibraryHook {
    /// Held by the file of this name.
    Pinned(PathBuf),
    /// Held by a descriptor of this process.
    Held { _link: UProbeLink },
}

impl Drop for LibraryHook {
    fn drop(&mut self) {
        if let Self::Pinned(path) = self
            && let Err(error) = fs::remove_file(path)
        {
            log::debug!("a hook stays until the agent ends: {error}");
        }
    }
}

/// Where hooks are pinned. Dropping it takes all of them off.
pub(super) struct Pins {
    /// The root of the file system; `None` where there is none, and hooks are held by descriptors.
    root: Option<OwnedFd>,
    /// The name of the next one.
    next: u64,
}

impl Pins {
    /// No pins: hooks are held by descriptors.
    pub(super) fn none() -> Self {
        Self { root: None, next: 0 }
    }

    /// A place for pins, if the kernel gives one and lets what is loaded be pinned there.
    pub(super) fn new(loaded: &Ebpf) -> Self {
        let mut pins = Self::none();
        if let Err(reason) = pins.open(loaded) {
            log::debug!("the agent's end will wait for each hook: {reason}");
            pins.root = None;
        }
        pins
    }

    fn open(&mut self, loaded: &Ebpf) -> Result<(), String> {
        let root = self.root.insert(mount().map_err(|error| error.to_string())?);
        if !is_since(WORKERS) {
            keeper::keep_in_child(root).map_err(|error| error.to_string())?;
        }
        if let (Some(path), Some((_, map))) = (self.name(), loaded.maps().next()) {
            map.pin(&path).map_err(|error| in_full(&error))?;
            fs::remove_file(&path).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// A path that nothing has.
    fn name(&mut self) -> Option<PathBuf> {
        let root = self.root.as_ref()?;
        let path = format!("/proc/self/fd/{}/{}", root.as_raw_fd(), self.next);
        self.next += 1;
        Some(path.into())
    }

    /// Pins a hook until the end. Where it cannot be pinned, its program goes on holding it.
    ///
    /// # Errors
    /// When the kernel refuses the pin. The hook is off then.
    pub(super) fn keep(&mut self, take: impl FnOnce() -> Result<FdLink, ProgramError>) -> Result<(), String> {
        let Some(path) = self.name() else { return Ok(()) };
        // Its descriptor is closed here: the file is the only one to hold it.
        let link = take().map_err(|error| in_full(&error))?;
        link.pin(path).map(drop).map_err(|error| in_full(&error))
    }

    /// Holds the hook of a library until it is dropped.
    ///
    /// # Errors
    /// As [`Self::keep`].
    pub(super) fn hold(&mut self, link: UProbeLink) -> Result<LibraryHook, String> {
        let Some(path) = self.name().filter(|_| is_since(LIBRARY_LINKS)) else {
            return Ok(LibraryHook::Held { _link: link });
        };
        let link = FdLink::try_from(link).map_err(|error| in_full(&error))?;
        link.pin(&path).map_err(|error| in_full(&error))?;
        Ok(LibraryHook::Pinned(path))
    }
}

/// Whether the kernel is of this version or later. An unknown one is taken for a new one.
fn is_since(version: KernelVersion) -> bool {
    KernelVersion::current().map_or(true, |running| running >= version)
}

/// A BPF file system that is mounted nowhere.
fn mount() -> io::Result<OwnedFd> {
    // SAFETY: the pointer is to a string that ends with a zero; the answer is a new descriptor or an error.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, c"bpf".as_ptr(), libc::FSOPEN_CLOEXEC) })?;
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
