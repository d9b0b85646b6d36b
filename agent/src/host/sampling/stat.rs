//! `/proc/PID/stat`, which is read most of all files.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::limits::MAX_KEPT_FILES;

/// The longest has a third of it: 52 numbers and a name of 64 bytes at most.
const ROOM: usize = 3072;

/// What is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::host) struct Stat {
    pub(in crate::host) comm: String,
    pub(in crate::host) state: char,
    pub(in crate::host) parent: u32,
    /// In clock ticks since boot.
    pub(in crate::host) start_time: u64,
    pub(super) minor_faults: u64,
    pub(super) major_faults: u64,
    /// CPU time in clock ticks.
    pub(super) user_ticks: u64,
    pub(super) system_ticks: u64,
    pub(super) threads: u32,
    pub(super) virtual_bytes: u64,
    pub(super) rss_pages: u64,
}

/// Files that stay open: to look up and to open one costs more than to read it. One is of its process
/// for good: when that has ended nothing more comes of it, whoever has its id then.
#[derive(Debug, Default)]
pub(super) struct StatFiles(HashMap<u32, File>);

impl StatFiles {
    /// `None` when there is no such process.
    pub(super) fn read(&mut self, pid: u32) -> Option<Stat> {
        if let Some(file) = self.0.get(&pid) {
            let found = read(file);
            if found.is_some() {
                return found;
            }
            self.0.remove(&pid);
        }
        let file = open(pid)?;
        let found = read(&file)?;
        if self.0.len() < MAX_KEPT_FILES {
            self.0.insert(pid, file);
        }
        Some(found)
    }

    pub(super) fn forget(&mut self, pid: u32) {
        self.0.remove(&pid);
    }
}

/// That of a process that is looked at once.
pub(in crate::host) fn read_stat(pid: u32) -> Option<Stat> {
    read(&open(pid)?)
}

fn open(pid: u32) -> Option<File> {
    File::open(format!("/proc/{pid}/stat")).ok()
}

fn read(file: &File) -> Option<Stat> {
    let mut bytes = [0; ROOM];
    // The kernel writes all of it for one read, or nothing.
    let len = file.read_at(&mut bytes, 0).ok()?;
    stat(&String::from_utf8_lossy(bytes.get(..len)?))
}

/// Fields by their numbers in proc_pid_stat(5). The command, which is the second, may hold anything.
fn stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.split_once('(')?;
    let (comm, rest) = rest.rsplit_once(") ")?;
    let mut fields = [""; 22];
    for (field, word) in fields.iter_mut().zip(rest.split(' ')) {
        *field = word;
    }
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        comm: comm.to_owned(),
        state: fields[0].chars().next()?,
        parent: u32::try_from(number(4)?).ok()?,
        minor_faults: number(10)?,
        major_faults: number(12)?,
        user_ticks: number(14)?,
        system_ticks: number(15)?,
        threads: u32::try_from(number(20)?).ok()?,
        start_time: number(22)?,
        virtual_bytes: number(23)?,
        rss_pages: number(24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_any_name() {
        let text = "12 (a) b (c) S 3 12 12 0 -1 4 5 6 70 8 9 10 11 12 20 0 4 0 999 1000 42 18446744073709551615 1\n";
        let stat = stat(text).unwrap();
        assert_eq!(
            (&*stat.comm, stat.state, stat.parent, stat.user_ticks, stat.system_ticks),
            ("a) b (c", 'S', 3, 9, 10)
        );
        assert_eq!(
            (stat.minor_faults, stat.major_faults, stat.threads, stat.start_time),
            (5, 70, 4, 999)
        );
        assert_eq!((stat.virtual_bytes, stat.rss_pages), (1000, 42));
        for broken in ["", "12 (a", "12 (a) S 3", "12 (a) "] {
            assert_eq!(super::stat(broken), None, "{broken}");
        }
    }

    #[test]
    fn as_the_procfs_crate_has_it() {
        let theirs = procfs::process::Process::myself().unwrap().stat().unwrap();
        let ours = read_stat(std::process::id()).unwrap();
        assert_eq!(
            (ours.comm, ours.start_time, i64::from(ours.parent)),
            (theirs.comm, theirs.starttime, i64::from(theirs.ppid))
        );
    }

    #[test]
    fn of_a_process_that_has_ended_nothing_comes() {
        let mut files = StatFiles::default();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        // The kernel lets whoever starts a program go on a little before that has its name.
        while files.read(pid).map(|stat| stat.comm).as_deref() != Some("sleep") {
            std::thread::yield_now();
        }
        assert_eq!(files.read(pid).map(|stat| stat.parent), Some(std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(files.read(pid), None);
        assert!(files.0.is_empty());
    }
}
