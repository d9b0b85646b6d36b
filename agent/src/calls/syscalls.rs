//! In which system calls a server was while it worked on a call.

use std::collections::VecDeque;

use agent_abi::{SYSCALL_BUCKETS, SYSCALL_FIRST_BUCKET, SyscallUse};
use mcp_proto::Nanos;
use serde::{Deserialize, Serialize};
use syscalls::{aarch64, x86_64};

/// Accounts that are kept until their calls are known; the oldest give way.
const MAX_ACCOUNTS: usize = 1024;
/// System calls that are told of a call.
const MAX_TOLD: usize = 8;

/// What the numbers of system calls depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86,
    /// 64-bit Arm, little-endian.
    #[serde(rename = "aarch64")]
    Arm,
}

impl Architecture {
    /// That of this build.
    pub const HERE: Self = if cfg!(target_arch = "aarch64") {
        Self::Arm
    } else {
        Self::X86
    };
    /// The names of all, for messages.
    pub const NAMES: &str = "x86_64 or aarch64";

    /// By Rust's name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "x86_64" => Some(Self::X86),
            "aarch64" => Some(Self::Arm),
            _ => None,
        }
    }

    /// The name of a system call; its number where that has none.
    fn syscall(self, number: u64) -> Box<str> {
        let known = usize::try_from(number).ok().and_then(|number| match self {
            Self::X86 => x86_64::Sysno::new(number).map(|known| known.name()),
            Self::Arm => aarch64::Sysno::new(number).map(|known| known.name()),
        });
        known.map_or_else(|| number.to_string().into(), Into::into)
    }
}

/// How often and how long a server was in one system call during a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SyscallTime {
    /// Its name; its number where that has none.
    pub name: Box<str>,
    /// How often it was left.
    pub count: u64,
    /// Microseconds in it, of all threads together.
    pub us: f64,
    /// How often by how long, the shortest first; durations that did not occur are left out.
    pub durations: Vec<Durations>,
}

/// Of so many times it took less than so long, and at least half of that.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Durations {
    /// Microseconds; `None` for all that is longer than can be told apart.
    pub below_us: Option<f64>,
    /// How often.
    pub count: u32,
}

/// What the kernel has told of system calls.
#[derive(Debug, Default)]
pub(super) struct Syscalls(VecDeque<(u32, Nanos, Nanos, Vec<SyscallTime>)>);

impl Syscalls {
    /// Keeps the account of a process between two instants.
    pub(super) fn record(
        &mut self,
        architecture: Architecture,
        pid: u32,
        from: Nanos,
        to: Nanos,
        uses: impl Iterator<Item = SyscallUse>,
    ) {
        let mut uses: Vec<_> = uses.collect();
        uses.sort_by_key(|used| std::cmp::Reverse(used.ns));
        uses.truncate(MAX_TOLD);
        let told = uses.iter().map(|used| SyscallTime {
            name: architecture.syscall(used.number.saturating_sub(1)),
            count: used.count,
            us: super::parts::micros(used.ns),
            durations: durations(used),
        });
        if self.0.len() == MAX_ACCOUNTS {
            self.0.pop_front();
        }
        self.0.push_back((pid, from, to, told.collect()));
    }

    /// The system calls of a process in a window, the longest first. A request that came meanwhile has
    /// begun another account: then nothing is known.
    pub(super) fn within(&self, pid: u32, from: Nanos, to: Nanos) -> Vec<SyscallTime> {
        let of_window = |it: &&(u32, Nanos, Nanos, _)| it.0 == pid && it.1 == from && it.2 <= to;
        let newest = self.0.iter().rev().find(of_window);
        newest.map(|(.., told)| told.clone()).unwrap_or_default()
    }
}

fn durations(used: &SyscallUse) -> Vec<Durations> {
    let buckets = (SYSCALL_FIRST_BUCKET..)
        .zip(used.buckets)
        .filter(|&(_, count)| count > 0);
    let last = SYSCALL_FIRST_BUCKET + (SYSCALL_BUCKETS as u32) - 1;
    buckets
        .map(|(power, count)| Durations {
            below_us: (power < last).then(|| super::parts::micros(1 << power)),
            count,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use syscalls::Sysno;

    use super::*;

    fn uses(uses: &[(Sysno, u64)]) -> impl Iterator<Item = SyscallUse> {
        uses.iter().map(|&(number, ns)| SyscallUse {
            number: number as u64 + 1,
            count: 2,
            ns,
            buckets: std::array::from_fn(|bucket| u32::from(bucket == 2 || bucket == SYSCALL_BUCKETS - 1)),
        })
    }

    #[test]
    fn the_longest_first_of_the_right_window() {
        let mut syscalls = Syscalls::default();
        let here = Architecture::HERE;
        syscalls.record(here, 7, 10, 20, uses(&[(Sysno::futex, 3000)]));
        syscalls.record(here, 7, 30, 40, uses(&[(Sysno::read, 1000), (Sysno::fsync, 5000)]));
        let told = syscalls.within(7, 30, 45);
        let names: Vec<_> = told.iter().map(|it| (&*it.name, it.count, it.us)).collect();
        assert_eq!(names, [("fsync", 2, 5.0), ("read", 2, 1.0)]);
        let durations: Vec<_> = told[0].durations.iter().map(|it| (it.below_us, it.count)).collect();
        assert_eq!(durations, [(Some(4.096), 1), (None, 1)]);
        assert_eq!(syscalls.within(7, 30, 39), []);
        assert_eq!(syscalls.within(8, 30, 45), []);
    }

    #[test]
    fn a_number_is_another_call_elsewhere() {
        let names = [Architecture::X86, Architecture::Arm].map(|it| it.syscall(63));
        assert_eq!(names, ["uname".into(), "read".into()]);
        assert_eq!(&*Architecture::Arm.syscall(99_999), "99999");
        for name in Architecture::NAMES.split(" or ") {
            let json = serde_json::to_value(Architecture::named(name)).ok();
            assert_eq!(json, Some(name.into()));
        }
        assert_eq!(Architecture::named(std::env::consts::ARCH), Some(Architecture::HERE));
    }

    #[test]
    fn no_more_than_there_is_room_for() {
        let mut syscalls = Syscalls::default();
        for at in 0..5000 {
            syscalls.record(Architecture::HERE, 7, at, at + 1, uses(&[(Sysno::read, 1)]));
        }
        assert_eq!(syscalls.0.len(), MAX_ACCOUNTS);
    }
}
