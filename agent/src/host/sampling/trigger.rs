//! Pressure triggers: the kernel wakes the agent when a stall happens, not at the next look.
//!
//! Interface: Documentation/accounting/psi.rst of the kernel, "Monitoring for pressure thresholds".

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// At least 150 ms lost by some task within one second. Without CAP_SYS_RESOURCE the kernel wants
/// windows of whole two seconds.
const TRIGGERS: [&str; 2] = ["some 150000 1000000", "some 300000 2000000"];

/// Why there is no trigger.
#[derive(Debug, thiserror::Error)]
#[error("no pressure trigger on {}: {source}; stalls are seen at the next sample instead", path.display())]
pub struct TriggerError {
    path: PathBuf,
    source: io::Error,
}

/// A file that polls as having priority data (`POLLPRI`) when tasks have waited too long.
///
/// With tokio: `AsyncFd::with_interest(trigger, Interest::PRIORITY)`. The error of a file whose
/// control group is gone comes as `POLLERR`.
#[derive(Debug)]
pub struct PressureTrigger(File);

impl PressureTrigger {
    /// A trigger on `/proc/pressure/RESOURCE`, or on the `RESOURCE.pressure` of a control group.
    ///
    /// # Errors
    /// When the kernel has no pressure information, or does not let this process set triggers.
    pub fn on(path: &Path) -> Result<Self, TriggerError> {
        let mut refused = None;
        for trigger in TRIGGERS {
            match Self::set(path, trigger) {
                Ok(trigger) => return Ok(trigger),
                Err(error) => refused = Some(error),
            }
        }
        Err(TriggerError {
            path: path.to_owned(),
            source: refused.unwrap_or_else(|| io::ErrorKind::Unsupported.into()),
        })
    }

    fn set(path: &Path, trigger: &str) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        // The kernel wants the terminating nought: it overwrites the last byte with one.
        let mut line = trigger.as_bytes().to_vec();
        line.push(0);
        let written = file.write(&line)?;
        if written == line.len() {
            Ok(Self(file))
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// Waits until there was a stall, at most `timeout_ms` milliseconds. Whether there was one.
    ///
    /// # Errors
    /// When the file no longer stands for anything, or waiting was interrupted.
    pub fn wait(&self, timeout_ms: i32) -> io::Result<bool> {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLPRI,
            revents: 0,
        };
        // SAFETY: one valid pollfd, and the count says one.
        let ready = unsafe { libc::poll(&raw mut poll, 1, timeout_ms) };
        match ready {
            ..0 => Err(io::Error::last_os_error()),
            0 => Ok(false),
            _ if poll.revents & libc::POLLERR != 0 => Err(io::ErrorKind::NotFound.into()),
            _ => Ok(poll.revents & libc::POLLPRI != 0),
        }
    }
}

impl AsRawFd for PressureTrigger {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for PressureTrigger {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_none_it_says_so() {
        let error = PressureTrigger::on(Path::new("/proc/pressure/nothing")).unwrap_err();
        assert!(error.to_string().contains("next sample instead"), "{error}");
    }

    #[test]
    fn on_this_host() {
        let path = Path::new("/proc/pressure/memory");
        // A kernel without pressure information, or one that lets only root set triggers, refuses.
        let Ok(trigger) = PressureTrigger::on(path) else {
            return;
        };
        trigger.wait(0).unwrap();
    }
}
