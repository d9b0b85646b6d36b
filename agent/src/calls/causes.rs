//! What a call's server window was spent on.
//!
//! The window runs from the instant at which the responder had all of the request to that at which it
//! began to write its answer. The kernel's totals are known exactly at both. What follows is how sums
//! over threads become parts of one window, which they fill exactly:
//!
//! - One thread read the request and wrote the answer (a plain loop, a thread per connection, the loop
//!   of an event-driven server): what it did itself is exact. While it slept, others may have worked
//!   for it: what the other threads of the process did takes its place, CPU time first and the rest in
//!   proportion where it is more than the sleep can hold. Unless other calls shared the window: then the other threads worked for
//!   those, as like as not, and only the thread's own time counts.
//! - Different threads read and wrote: the sums of the process stand in. A chain of threads that hand
//!   on to each other does not overlap, and is exact; of threads that worked at once CPU time goes first,
//!   and the rest is scaled down in proportion to what the window can hold.
//!
//! What is left is sleep. As far as a request to an upstream, or a child process, was outstanding
//! then, it was a wait for that; the rest was a lock or a timer. Uninterruptible sleep that the kernel
//! does not call I/O is a file system's journal where there was I/O too, and unknown where there was
//! none.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use agent_abi::{Times, Totals};
use mcp_proto::Nanos;
use serde::Serialize;

use super::record::Causes;
use super::syscalls::SyscallTime;

/// Waits that are kept of one call.
const MAX_WAITS: usize = 32;

/// A process's totals at the instant of one of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// CLOCK_MONOTONIC nanoseconds.
    pub at: Nanos,
    /// The thread that made the syscall.
    pub tid: u32,
    /// Of the process and of that thread.
    pub totals: Totals,
}

/// A time during which the server waited for someone else: from the last byte of a request to the
/// first byte of its answer, from there to more of it, while it connected, or from the start of a
/// child process to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamWait {
    /// Whom for: a host or an address, the name that was looked up, or what the child was started as.
    pub peer: Box<str>,
    /// What that is.
    pub kind: UpstreamKind,
    /// Which part of the conversation it was.
    pub phase: Phase,
    /// Its address, where it has one.
    pub address: Option<SocketAddr>,
    /// When it began.
    pub from: Nanos,
    /// When it ended.
    pub to: Nanos,
    /// Bytes sent and received.
    pub bytes: u64,
    /// How the child ended, as a shell has it.
    pub exit_status: Option<i32>,
}

/// Part of the conversation with an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Until the connection was there.
    Connect,
    /// From the request to the first byte of the answer.
    FirstByte,
    /// Anything else.
    Rest,
}

/// What a server waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamKind {
    /// A connection that it has opened.
    Connection,
    /// A name server's answer.
    Lookup,
    /// A child process.
    Process,
}

/// Someone the server waited for during a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Upstream {
    /// As of [`UpstreamWait`].
    pub peer: Box<str>,
    /// As of [`UpstreamWait`].
    pub kind: UpstreamKind,
    /// Address of a connection's other end.
    pub address: Option<SocketAddr>,
    /// Microseconds of the window.
    pub us: f64,
    /// Bytes sent and received.
    pub bytes: u64,
    /// Microseconds until the connection was there, of the one that took longest within the window.
    pub connect_us: Option<f64>,
    /// Microseconds from a request to the first byte of its answer, likewise.
    pub first_byte_us: Option<f64>,
    /// How the child ended, as a shell has it; of several the first that failed.
    pub exit_status: Option<i32>,
}

/// What is known of a call's server window.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// When the responder had all of the request.
    pub from: Snapshot,
    /// When it began to write its answer.
    pub to: Snapshot,
    /// Other calls of the process overlap it.
    pub shared: bool,
    /// What the process waited for; need not lie within the window.
    pub waits: &'a [UpstreamWait],
}

/// What the process used within the window, in all of its threads and for all of its calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Resources {
    /// Microseconds on a CPU.
    pub cpu_us: f64,
    /// Major page faults.
    pub major_faults: u64,
    /// Bytes read and written on streams that carry MCP.
    pub stream_bytes: u64,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// The parts of the window, in microseconds.
    pub causes: Causes,
    /// The part that holds more than half of it.
    pub dominant: Option<&'static str>,
    /// Whom the process waited for, the longest wait first.
    pub upstreams: Vec<Upstream>,
    /// In which system calls it was, the longest first; empty where that is not known.
    pub syscalls: Vec<SyscallTime>,
    /// The waits themselves in order of their beginning, the longest of them.
    pub waits: Vec<UpstreamWait>,
    /// What the process used.
    pub resources: Option<Resources>,
}

/// States of [`Times`], as nanoseconds.
const STATES: usize = 7;
type Spent = [f64; STATES];

/// Accounts for a window.
#[must_use]
pub fn account(window: &Window<'_>) -> Account {
    let length = nanos(window.to.at.saturating_sub(window.from.at));
    let process = spent(window.from.totals.process, window.to.totals.process);
    let own = if window.from.tid == window.to.tid {
        let thread = spent(window.from.totals.thread, window.to.totals.thread);
        let own = fit(thread, length);
        if window.shared {
            own
        } else {
            let others = std::array::from_fn(|i| (process[i] - thread[i]).max(0.0));
            plus(own, fit(others, length - sum(own)))
        }
    } else {
        fit(process, length)
    };
    let [on_cpu, run_queue, disk, blocked, memory, blocked_write, throttled] = own;
    let asleep = (length - sum(own)).max(0.0);
    let upstream = asleep.min(waited(window, |_| true));
    let (disk, unknown) = if disk > 0.0 {
        (disk + blocked, 0.0)
    } else {
        (0.0, blocked)
    };
    let parts = [
        ("on_cpu", on_cpu),
        ("run_queue", run_queue),
        ("disk", disk),
        ("upstream", upstream),
        ("lock_or_timer", asleep - upstream),
        ("memory", memory),
        ("throttled", throttled),
        ("blocked_write", blocked_write),
        ("unknown", unknown),
    ];
    let dominant = parts
        .iter()
        .find(|(_, part)| *part > length / 2.0)
        .map(|(name, _)| *name);
    let [
        on_cpu,
        run_queue,
        disk,
        upstream,
        lock_or_timer,
        memory,
        throttled,
        blocked_write,
        unknown,
    ] = parts.map(|(_, part)| Some(part / 1000.0));
    Account {
        causes: Causes {
            on_cpu,
            run_queue,
            disk,
            upstream,
            lock_or_timer,
            memory,
            throttled,
            blocked_write,
            unknown,
        },
        dominant,
        upstreams: upstreams(window),
        syscalls: Vec::new(),
        waits: longest(window),
        resources: Some(resources(window)),
    }
}

fn resources(window: &Window<'_>) -> Resources {
    let (from, to) = (&window.from.totals, &window.to.totals);
    Resources {
        cpu_us: nanos(to.process.on_cpu.saturating_sub(from.process.on_cpu)) / 1000.0,
        major_faults: to.faults.saturating_sub(from.faults),
        stream_bytes: to.bytes.saturating_sub(from.bytes),
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
fn nanos(nanos: u64) -> f64 {
    nanos as f64
}

/// Growth of each state; an earlier total that is greater counts as equal.
fn spent(from: Times, to: Times) -> Spent {
    let (from, to) = (from.words(), to.words());
    std::array::from_fn(|i| nanos(to[i].saturating_sub(from[i])))
}

fn sum(parts: Spent) -> f64 {
    parts.iter().sum()
}

fn plus(a: Spent, b: Spent) -> Spent {
    std::array::from_fn(|i| a[i] + b[i])
}

/// The parts, scaled down to what `room` holds when they are more. What ran goes first: while one thread
/// has a CPU, it is not for want of one that the process has not come further.
fn fit(parts: Spent, room: f64) -> Spent {
    let all = sum(parts);
    if all <= room {
        return parts;
    }
    let [on_cpu, ..] = parts;
    let ran = on_cpu.min(room.max(0.0));
    let share = if all > on_cpu {
        (room.max(0.0) - ran) / (all - on_cpu)
    } else {
        0.0
    };
    let mut parts = parts.map(|part| part * share);
    parts[0] = ran;
    parts
}

/// Nanoseconds of the window during which any of the waits that are `wanted` was on.
fn waited(window: &Window<'_>, wanted: impl Fn(&UpstreamWait) -> bool) -> f64 {
    let clip = |at: Nanos| at.clamp(window.from.at, window.to.at.max(window.from.at));
    let wanted = window.waits.iter().filter(|wait| wanted(wait));
    let mut spans: Vec<(Nanos, Nanos)> = wanted.map(|wait| (clip(wait.from), clip(wait.to))).collect();
    spans.sort_unstable();
    let mut covered = 0;
    let mut end = 0;
    for (from, to) in spans {
        covered += to.saturating_sub(from.max(end));
        end = end.max(to);
    }
    nanos(covered)
}

fn longest(window: &Window<'_>) -> Vec<UpstreamWait> {
    let mut waits: Vec<&UpstreamWait> = window.waits.iter().collect();
    waits.sort_by_key(|wait| Reverse(wait.to.saturating_sub(wait.from)));
    waits.truncate(MAX_WAITS);
    waits.sort_by_key(|wait| wait.from);
    waits.into_iter().cloned().collect()
}

fn upstreams(window: &Window<'_>) -> Vec<Upstream> {
    let within = |wait: &&UpstreamWait| wait.from <= window.to.at && wait.to >= window.from.at;
    let mut peers: BTreeMap<(UpstreamKind, &str), Vec<&UpstreamWait>> = BTreeMap::new();
    for wait in window.waits.iter().filter(within) {
        peers.entry((wait.kind, &wait.peer)).or_default().push(wait);
    }
    let upstream = |((kind, peer), waits): ((UpstreamKind, &str), Vec<&UpstreamWait>)| {
        let longest = |phase| {
            let of_phase = waits.iter().filter(|wait| wait.phase == phase);
            let longest = of_phase.map(|wait| wait.to.saturating_sub(wait.from)).max();
            longest.map(|longest| nanos(longest) / 1000.0)
        };
        let statuses = || waits.iter().filter_map(|wait| wait.exit_status);
        Upstream {
            peer: peer.into(),
            kind,
            address: waits.iter().find_map(|wait| wait.address),
            us: waited(window, |wait| wait.kind == kind && &*wait.peer == peer) / 1000.0,
            bytes: waits.iter().map(|wait| wait.bytes).sum(),
            connect_us: longest(Phase::Connect),
            first_byte_us: longest(Phase::FirstByte).filter(|_| kind != UpstreamKind::Process),
            exit_status: statuses().find(|status| *status != 0).or_else(|| statuses().next()),
        }
    };
    let mut upstreams: Vec<Upstream> = peers.into_iter().map(upstream).collect();
    upstreams.sort_by(|a, b| b.us.total_cmp(&a.us));
    upstreams
}

impl Causes {
    /// Each with its name, in microseconds.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Option<f64>); 9] {
        let Self {
            on_cpu,
            run_queue,
            disk,
            upstream,
            lock_or_timer,
            memory,
            throttled,
            blocked_write,
            unknown,
        } = *self;
        [
            ("on_cpu", on_cpu),
            ("run_queue", run_queue),
            ("disk", disk),
            ("upstream", upstream),
            ("lock_or_timer", lock_or_timer),
            ("memory", memory),
            ("throttled", throttled),
            ("blocked_write", blocked_write),
            ("unknown", unknown),
        ]
    }

    /// The sum of the parts that are known, in microseconds.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.named().iter().filter_map(|(_, part)| *part).sum()
    }
}

impl UpstreamKind {
    /// Its name, as JSON has it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Lookup => "lookup",
            Self::Process => "process",
        }
    }
}

#[cfg(test)]
mod tests;
