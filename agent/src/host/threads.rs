//! Threads that are in a system call right now.

use std::fs;

/// The system calls that move data, by number.
const DATA_SYSCALLS: [libc::c_long; 18] = [
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwritev2,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_vmsplice,
    libc::SYS_sendfile,
];

/// Threads of a process that are in a data syscall now. Those of a process that is gone or may not
/// be looked into are none.
#[must_use]
pub fn in_data_syscall(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let tids = tasks
        .flatten()
        .filter_map(|task| task.file_name().to_str()?.parse().ok());
    tids.filter(|tid| is_in_data_syscall(pid, *tid)).collect()
}

/// `/proc/PID/task/TID/syscall` is "running", or begins with the number of the system call.
fn is_in_data_syscall(pid: u32, tid: u32) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")) else {
        return false;
    };
    let number = text.split_whitespace().next().and_then(|number| number.parse().ok());
    number.is_some_and(|number| DATA_SYSCALLS.contains(&number))
}

/// Every process of the host.
#[must_use]
pub fn all_pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_blocked_reader_is_found() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let thread = std::thread::spawn(move || reader.read(&mut [0]).unwrap());
        let own = std::process::id();
        let found = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(2));
            in_data_syscall(own).iter().any(|&tid| tid != own)
        });
        drop(writer);
        assert_eq!(thread.join().unwrap(), 0);
        assert!(found);
        assert!(all_pids().contains(&own));
    }
}
