//! Hooks of libraries are taken off when nobody holds them any more. The kernel waits for all CPUs
//! with each of them, a tenth of a second or more, and the end of the agent would wait for all of them.

use std::fs;
use std::io;
use std::os::fd::RawFd;

/// What the kernel calls the descriptors of hooks: links, or the events of kernels before 5.15.
const HOOKS: [&str; 2] = ["bpf_link", "perf_event"];
/// The end of all descriptor numbers.
const NO_FD: u32 = u32::MAX;

/// Has a child of this process hold the hooks until this process has ended, so that the kernel takes
/// them off while the child ends. Where there can be none, dropping the hooks takes its time.
pub(super) fn leave_to_child() {
    let mut kept = hooks();
    let mut ends: [RawFd; 2] = [-1; 2];
    // SAFETY: the pointer is to two descriptors, as the call wants.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        log::debug!("hooks are taken off one by one: {}", io::Error::last_os_error());
        return;
    }
    let [wait, _held_until_the_end] = ends;
    kept.push(wait);
    kept.sort_unstable();
    // SAFETY: the child calls nothing but system calls.
    match unsafe { libc::fork() } {
        -1 => log::debug!("hooks are taken off one by one: {}", io::Error::last_os_error()),
        0 => hold(&kept, wait),
        _ => {}
    }
}

/// Descriptors of hooks, by what they are links to.
fn hooks() -> Vec<RawFd> {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let hooks = entries.filter(|entry| {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let target = target.to_string_lossy();
        target.starts_with("anon_inode:") && HOOKS.iter().any(|name| target.contains(name))
    });
    hooks
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The child: lets go of everything but `kept`, which is sorted, and of that when its parent has ended.
fn hold(kept: &[RawFd], wait: RawFd) -> ! {
    let mut next = 0;
    for &fd in kept {
        let fd = fd.unsigned_abs();
        if next < fd {
            close_range(next, fd - 1);
        }
        next = fd + 1;
    }
    close_range(next, NO_FD);
    // SAFETY: as a daemon does: no signal of the terminal is for it.
    unsafe { libc::setsid() };
    let mut byte = 0_u8;
    // SAFETY: the buffer is one byte. The other end of the pipe is closed when the parent ends.
    unsafe { libc::read(wait, (&raw mut byte).cast(), 1) };
    // SAFETY: ends the process, and none of its destructors runs.
    unsafe { libc::_exit(0) }
}

fn close_range(first: u32, last: u32) {
    // SAFETY: closes descriptors that nobody in this process uses any more. Where the kernel has no
    // such call (before 5.9), they stay open until the process ends.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}
