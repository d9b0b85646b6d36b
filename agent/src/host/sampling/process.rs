//! What one process uses.

use std::fs::{self, File};
use std::io::Read;
use std::sync::Arc;

use mcp_proto::Nanos;
use serde::Serialize;

use super::stat::StatFiles;
use crate::host::cgroup::ratio;
use crate::host::nanos_of_ticks;

/// How closely a process is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// One file: CPU time, memory, threads, state, parent.
    Glance,
    /// All files but the dear one.
    Look,
    /// Its proportional memory too, for which the kernel walks its page tables.
    Measure,
}

/// What the files of a process say at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessCounters {
    /// Process id.
    pub pid: u32,
    /// Clock ticks since boot when it began: with the pid, its identity.
    pub start_time: u64,
    /// Its parent.
    pub parent: u32,
    /// Name of its main thread.
    pub comm: String,
    /// `R` running, `S` asleep, `D` in uninterruptible sleep, `T` stopped, `Z` ended and not waited for.
    pub state: char,
    /// CPU time of all its threads, living and ended, in nanoseconds; to the clock tick.
    pub cpu_ns: u64,
    /// What of it was in user mode.
    pub cpu_user_ns: u64,
    /// Resident memory, in bytes.
    pub rss: u64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u32,
    /// Page faults that needed a device.
    pub major_faults: u64,
    /// Page faults that did not.
    pub minor_faults: u64,
    /// What a look adds; `None` after a glance, or where it may not be read.
    pub more: Option<MoreCounters>,
    /// Memory with shared pages divided among their users, in bytes.
    pub pss: Option<u64>,
}

/// What a closer look adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MoreCounters {
    /// Swapped out, in bytes.
    pub swap: Option<u64>,
    /// Open descriptors.
    pub fds: Option<u64>,
    /// How many it may have open (`RLIMIT_NOFILE`, soft).
    pub fd_limit: Option<u64>,
    /// Times that its main thread gave up the processor by itself.
    pub voluntary_switches: Option<u64>,
    /// Times that it was taken from its main thread.
    pub involuntary_switches: Option<u64>,
    /// Bytes that it caused to be read from devices.
    pub read_bytes: Option<u64>,
    /// Bytes that it caused to be written to devices.
    pub write_bytes: Option<u64>,
    /// Time that its main thread was ready and had no processor, in nanoseconds.
    pub run_queue_ns: Option<u64>,
    /// Time that its main thread ran, in nanoseconds.
    pub main_thread_ns: Option<u64>,
}

/// A process over the time between two looks. Totals are since its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProcessSample {
    /// Process id.
    pub pid: u32,
    /// Clock ticks since boot when it began.
    pub start_time: u64,
    /// Its parent.
    pub parent: u32,
    /// Name of its main thread.
    pub comm: String,
    /// State of its main thread, as in `/proc/PID/stat`.
    pub state: char,
    /// When it was looked at, CLOCK_MONOTONIC.
    pub at: Nanos,
    /// Since the look before, in nanoseconds; 0 at the first.
    pub interval: Nanos,
    /// CPU time so far, in nanoseconds.
    pub cpu_ns: u64,
    /// What of it was in user mode.
    pub cpu_user_ns: u64,
    /// Cores used on average over the interval: 1 is one processor in full.
    pub cpu: Option<f64>,
    /// Cores used in user mode.
    pub cpu_user: Option<f64>,
    /// Resident memory, in bytes.
    pub rss: u64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Memory with shared pages divided among their users, in bytes; when last measured.
    pub pss: Option<u64>,
    /// Swapped out, in bytes.
    pub swap: Option<u64>,
    /// Threads.
    pub threads: u32,
    /// Open descriptors.
    pub fds: Option<u64>,
    /// How many it may have open.
    pub fd_limit: Option<u64>,
    /// Times that its main thread gave up the processor by itself, so far.
    pub voluntary_switches: Option<u64>,
    /// Times that it was taken from its main thread, so far.
    pub involuntary_switches: Option<u64>,
    /// Bytes read from devices so far.
    pub read_bytes: Option<u64>,
    /// Bytes written to devices so far.
    pub write_bytes: Option<u64>,
    /// Page faults that needed a device, so far.
    pub major_faults: u64,
    /// Page faults that did not, so far.
    pub minor_faults: u64,
    /// Time that its main thread was ready and had no processor, so far, in nanoseconds.
    pub run_queue_ns: Option<u64>,
    /// Share of the interval that its main thread was ready and had no processor, 0 to 1.
    pub run_queue: Option<f64>,
    /// Cores used by its main thread, which in an event loop does all the work.
    pub main_thread: Option<f64>,
    /// Path of its control group.
    pub cgroup: Option<Arc<str>>,
}

impl ProcessSample {
    /// What lies between two looks at one process.
    ///
    /// A process that used no CPU time ran no system call: what a glance leaves out of `after` is as
    /// it was in `before`, to within a clock tick's doing.
    #[must_use]
    pub fn between(before: Option<(&ProcessCounters, Nanos)>, after: &ProcessCounters, at: Nanos) -> Self {
        let interval = before.map_or(0, |(_, from)| at.saturating_sub(from));
        let earlier = before.map(|(before, _)| before);
        let more_before = earlier.and_then(|before| before.more);
        let more = after.more.or(more_before).unwrap_or_default();
        let share = |of: fn(&MoreCounters) -> Option<u64>| {
            let spent = of(&more)?.saturating_sub(of(&more_before?)?);
            ratio(spent, interval).map(|share| share.min(1.0))
        };
        Self {
            pid: after.pid,
            start_time: after.start_time,
            parent: after.parent,
            comm: after.comm.clone(),
            state: after.state,
            at,
            interval,
            cpu_ns: after.cpu_ns,
            cpu_user_ns: after.cpu_user_ns,
            cpu: earlier.and_then(|before| ratio(after.cpu_ns.saturating_sub(before.cpu_ns), interval)),
            cpu_user: earlier.and_then(|before| ratio(after.cpu_user_ns.saturating_sub(before.cpu_user_ns), interval)),
            rss: after.rss,
            virtual_bytes: after.virtual_bytes,
            pss: after.pss.or(earlier.and_then(|before| before.pss)),
            swap: more.swap,
            threads: after.threads,
            fds: more.fds,
            fd_limit: more.fd_limit,
            voluntary_switches: more.voluntary_switches,
            involuntary_switches: more.involuntary_switches,
            read_bytes: more.read_bytes,
            write_bytes: more.write_bytes,
            major_faults: after.major_faults,
            minor_faults: after.minor_faults,
            run_queue_ns: more.run_queue_ns,
            run_queue: share(|more| more.run_queue_ns),
            main_thread: share(|more| more.main_thread_ns),
            cgroup: None,
        }
    }
}

/// Looks at a process, as closely as `depth` says by what a glance shows. `None` when it is gone.
pub(super) fn read_process(
    stats: &mut StatFiles,
    pid: u32,
    depth: impl FnOnce(&ProcessCounters) -> Depth,
) -> Option<ProcessCounters> {
    let stat = stats.read(pid)?;
    let mut counters = ProcessCounters {
        pid,
        start_time: stat.start_time,
        parent: stat.parent,
        comm: stat.comm,
        state: stat.state,
        cpu_ns: nanos_of_ticks(stat.user_ticks.saturating_add(stat.system_ticks)),
        cpu_user_ns: nanos_of_ticks(stat.user_ticks),
        rss: stat.rss_pages.saturating_mul(procfs::page_size()),
        virtual_bytes: stat.virtual_bytes,
        threads: stat.threads,
        major_faults: stat.major_faults,
        minor_faults: stat.minor_faults,
        more: None,
        pss: None,
    };
    let depth = depth(&counters);
    if depth >= Depth::Look {
        counters.more = Some(more(pid));
    }
    if depth >= Depth::Measure {
        counters.pss = text(pid, "smaps_rollup").and_then(|text| number(&text, "Pss:"));
        counters.pss = counters.pss.map(|kib| kib * 1024);
    }
    Some(counters)
}

/// Each file by itself: of a process of another user some may be read and some not.
fn more(pid: u32) -> MoreCounters {
    let status = text(pid, "status").unwrap_or_default();
    let io = text(pid, "io").unwrap_or_default();
    let schedule = text(pid, "schedstat").unwrap_or_default();
    let mut schedule = schedule.split_whitespace().map(|word| word.parse().ok());
    MoreCounters {
        swap: number(&status, "VmSwap:").map(|kib| kib * 1024),
        fds: descriptors(pid),
        fd_limit: text(pid, "limits").and_then(|limits| number(&limits, "Max open files")),
        voluntary_switches: number(&status, "voluntary_ctxt_switches:"),
        involuntary_switches: number(&status, "nonvoluntary_ctxt_switches:"),
        read_bytes: number(&io, "read_bytes:"),
        write_bytes: number(&io, "write_bytes:"),
        main_thread_ns: schedule.next().flatten(),
        run_queue_ns: schedule.next().flatten(),
    }
}

/// How many descriptors are open: from 6.2 on the size of the directory.
fn descriptors(pid: u32) -> Option<u64> {
    let path = format!("/proc/{pid}/fd");
    match fs::metadata(&path).ok()?.len() {
        0 => u64::try_from(fs::read_dir(&path).ok()?.count()).ok(),
        size => Some(size),
    }
}

/// A file of a process, of which a line or few are wanted: a parser of all of it costs more than the
/// kernel takes to write it.
fn text(pid: u32, name: &str) -> Option<String> {
    /// The longest that is read has half of it.
    const ROOM: usize = 4096;
    let mut file = File::open(format!("/proc/{pid}/{name}")).ok()?;
    let mut bytes = vec![0; ROOM];
    // The kernel writes all of it for the first read, or nothing.
    let len = file.read(&mut bytes).ok().filter(|&len| len > 0)?;
    bytes.truncate(len);
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The number after `name` at the beginning of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn itself() {
        let mut stats = StatFiles::default();
        let own = read_process(&mut stats, std::process::id(), |_| Depth::Measure).unwrap();
        let more = own.more.unwrap();
        assert!(own.rss > 1 << 20 && own.threads >= 1 && own.start_time > 0, "{own:?}");
        assert!(
            more.fds
                .is_some_and(|fds| fds >= 3 && fds <= more.fd_limit.unwrap_or(u64::MAX)),
            "{more:?}"
        );
        assert!(
            own.pss.is_some_and(|pss| pss > 1 << 16 && pss <= 2 * own.rss),
            "{own:?}"
        );
        assert!(more.voluntary_switches.is_some() && more.run_queue_ns.is_some() && more.write_bytes.is_some());
        let glance = read_process(&mut stats, std::process::id(), |_| Depth::Glance).unwrap();
        assert_eq!(glance.more, None);
        assert_eq!(read_process(&mut stats, u32::MAX, |_| Depth::Look), None);
    }

    #[test]
    fn as_the_procfs_crate_has_it() {
        let pid = std::process::id();
        let process = procfs::process::Process::myself().unwrap();
        let limit = process.limits().unwrap().max_open_files.soft_limit;
        let wanted = match limit {
            procfs::process::LimitValue::Value(limit) => Some(limit),
            procfs::process::LimitValue::Unlimited => None,
        };
        assert_eq!(more(pid).fd_limit, wanted);
        // The directory that is read is open meanwhile.
        let listed = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
        assert!(descriptors(pid).unwrap().abs_diff(listed) <= 8);
    }

    #[test]
    fn between_two_looks() {
        let before = ProcessCounters {
            pid: 7,
            cpu_ns: 1_000,
            pss: Some(5),
            more: Some(MoreCounters {
                fds: Some(9),
                run_queue_ns: Some(100),
                ..MoreCounters::default()
            }),
            ..ProcessCounters::default()
        };
        let mut after = ProcessCounters {
            pid: 7,
            cpu_ns: 4_000,
            rss: 4096,
            more: Some(MoreCounters {
                fds: Some(10),
                run_queue_ns: Some(1100),
                ..MoreCounters::default()
            }),
            ..ProcessCounters::default()
        };
        let sample = ProcessSample::between(Some((&before, 5000)), &after, 9000);
        assert_eq!(
            (sample.cpu, sample.run_queue, sample.interval),
            (Some(0.75), Some(0.25), 4000)
        );
        assert_eq!((sample.fds, sample.pss), (Some(10), Some(5)));
        after.more = None;
        let glanced = ProcessSample::between(Some((&before, 5000)), &after, 9000);
        assert_eq!((glanced.fds, glanced.run_queue), (Some(9), Some(0.0)));
        let first = ProcessSample::between(None, &after, 9000);
        assert_eq!((first.cpu, first.run_queue, first.interval), (None, None, 0));
    }
}
