//! In which system calls a server was while it worked on a call.

use std::collections::VecDeque;

use agent_abi::SyscallsRecord;
use mcp_proto::Nanos;
use serde::Serialize;
use syscalls::Sysno;

/// Accounts that are kept until their calls are known; the oldest give way.
const MAX_ACCOUNTS: usize = 1024;
/// System calls that are told of a call.
const MAX_TOLD: usize = 8;

/// How often and how long a server was in one system call during a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SyscallTime {
    /// Its name; its number where that has none.
    pub name: Box<str>,
    /// How often it was left.
    pub count: u64,
    /// Microseconds in it, of all threads together.
    pub us: f64,
}

/// What the kernel has told of system calls.
#[derive(Debug, Default)]
pub(super) struct Syscalls(VecDeque<(u32, Nanos, Nanos, Vec<SyscallTime>)>);

impl Syscalls {
    /// Keeps an account.
    pub(super) fn record(&mut self, record: &SyscallsRecord) {
        let mut uses: Vec<_> = record.uses.iter().filter(|used| used.number > 0).collect();
        uses.sort_by_key(|used| std::cmp::Reverse(used.ns));
        uses.truncate(MAX_TOLD);
        let told = uses.into_iter().map(|used| SyscallTime {
            name: name(used.number - 1),
            count: used.count,
            us: super::parts::micros(used.ns),
        });
        if self.0.len() == MAX_ACCOUNTS {
            self.0.pop_front();
        }
        self.0
            .push_back((record.header.tgid, record.from, record.to, told.collect()));
    }

    /// The system calls of a process in a window, the longest first. A request that came meanwhile has
    /// begun another account: then nothing is known.
    pub(super) fn within(&self, pid: u32, from: Nanos, to: Nanos) -> Vec<SyscallTime> {
        let of_window = |it: &&(u32, Nanos, Nanos, _)| it.0 == pid && it.1 == from && it.2 <= to;
        let newest = self.0.iter().rev().find(of_window);
        newest.map(|(.., told)| told.clone()).unwrap_or_default()
    }
}

fn name(number: u64) -> Box<str> {
    let known = usize::try_from(number).ok().and_then(Sysno::new);
    known.map_or_else(|| number.to_string().into(), |known| known.name().into())
}

#[cfg(test)]
mod tests {
    use agent_abi::{Header, SYSCALL_SLOTS, SyscallUse};

    use super::*;

    fn record(from: Nanos, to: Nanos, uses: &[(Sysno, u64)]) -> SyscallsRecord {
        let mut slots = [SyscallUse::default(); SYSCALL_SLOTS];
        for (slot, &(number, ns)) in slots.iter_mut().zip(uses) {
            *slot = SyscallUse {
                number: number as u64 + 1,
                count: 2,
                ns,
            };
        }
        SyscallsRecord {
            header: Header {
                kind: 10,
                captured: 0,
                tgid: 7,
                tid: 7,
            },
            from,
            to,
            uses: slots,
        }
    }

    #[test]
    fn the_longest_first_of_the_right_window() {
        let mut syscalls = Syscalls::default();
        syscalls.record(&record(10, 20, &[(Sysno::futex, 3000)]));
        syscalls.record(&record(30, 40, &[(Sysno::read, 1000), (Sysno::fsync, 5000)]));
        let told = syscalls.within(7, 30, 45);
        let names: Vec<_> = told.iter().map(|it| (&*it.name, it.count, it.us)).collect();
        assert_eq!(names, [("fsync", 2, 5.0), ("read", 2, 1.0)]);
        assert_eq!(syscalls.within(7, 30, 39), []);
        assert_eq!(syscalls.within(8, 30, 45), []);
        assert_eq!(&*name(99_999), "99999");
    }

    #[test]
    fn no_more_than_there_is_room_for() {
        let mut syscalls = Syscalls::default();
        for at in 0..5000 {
            syscalls.record(&record(at, at + 1, &[(Sysno::read, 1)]));
        }
        assert_eq!(syscalls.0.len(), MAX_ACCOUNTS);
    }
}
