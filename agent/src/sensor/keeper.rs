//! Before 6.5 the kernel takes pinned hooks off while the last process ends that has their file system, and not by
//! its workers. There a child has it as well, and ends a little later: nobody waits for that.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The end of all descriptor numbers.
const NO_FD: u32 = u32::MAX;

/// Has a child keep what `fd` is open for until this process has ended, however it ends.
///
/// # Errors
/// When the process may have no descriptors or children more.
pub(super) fn keep_in_child(fd: &OwnedFd) -> io::Result<()> {
    let mut ends: [RawFd; 2] = [-1; 2];
    // SAFETY: the pointer is to two descriptors, as the call wants.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let [wait, until_the_end] = ends;
    // SAFETY: both have just been opened. The one is closed here; the other is left open, so that it is closed when
    // the process has ended.
    let wait = unsafe { OwnedFd::from_raw_fd(wait) };
    // SAFETY: the child calls nothing but system calls.
    match unsafe { libc::fork() } {
        -1 => {
            let error = io::Error::last_os_error();
            // SAFETY: as above; there is no child to wait for it.
            drop(unsafe { OwnedFd::from_raw_fd(until_the_end) });
            Err(error)
        }
        0 => keep(fd.as_raw_fd(), wait.as_raw_fd()),
        _ => Ok(()),
    }
}

/// The child: lets go of everything but two descriptors, and of those when its parent has ended.
fn keep(kept: RawFd, wait: RawFd) -> ! {
    let (first, second) = (kept.min(wait).unsigned_abs(), kept.max(wait).unsigned_abs());
    close_between(0, first);
    close_between(first + 1, second);
    close_between(second + 1, NO_FD);
    // SAFETY: as a daemon does: no signal of the terminal is for it.
    unsafe { libc::setsid() };
    let mut byte = 0_u8;
    // SAFETY: the buffer is one byte. The other end of the pipe is closed when the parent ends.
    unsafe { libc::read(wait, (&raw mut byte).cast(), 1) };
    // SAFETY: ends the process, and none of its destructors runs.
    unsafe { libc::_exit(0) }
}

/// Closes the descriptors from `first` on and before `end`.
fn close_between(first: u32, end: u32) {
    if first < end {
        // SAFETY: closes descriptors that nobody in this process uses any more.
        unsafe { libc::syscall(libc::SYS_close_range, first, end - 1, 0) };
    }
}
