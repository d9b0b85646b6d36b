//! Child processes that servers start, and wait for.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use mcp_proto::Nanos;

use super::causes::{Phase, UpstreamKind, UpstreamWait};

/// Running processes whose start is kept; those with the lowest pid give way.
const MAX_RUNNING: usize = 16_384;
/// Parents whose ended children are kept.
const MAX_PARENTS: usize = 1024;
/// Ended children that are kept of one parent.
const MAX_ENDED: usize = 64;

#[derive(Debug)]
struct Child {
    parent: u32,
    from: Nanos,
    /// What it was started as; empty while it is a copy of its parent.
    name: Box<str>,
}

/// Who started whom, when, and until when it ran.
#[derive(Debug, Default)]
pub(super) struct Children {
    running: BTreeMap<u32, Child>,
    ended: BTreeMap<u32, VecDeque<UpstreamWait>>,
}

impl Children {
    pub(super) fn forked(&mut self, pid: u32, parent: u32, from: Nanos) {
        let name = Box::default();
        self.running.insert(pid, Child { parent, from, name });
        if self.running.len() > MAX_RUNNING {
            self.running.pop_first();
        }
    }

    pub(super) fn executed(&mut self, pid: u32, comm: &[u8]) {
        if let Some(child) = self.running.get_mut(&pid) {
            child.name = String::from_utf8_lossy(comm).into();
        }
    }

    /// A process has ended, with a status as `wait` gives it.
    pub(super) fn exited(&mut self, pid: u32, status: u32, to: Nanos) {
        self.ended.remove(&pid);
        let Some(Child { parent, from, name }) = self.running.remove(&pid) else {
            return;
        };
        let ended = self.ended.entry(parent).or_default();
        ended.push_back(UpstreamWait {
            peer: name,
            kind: UpstreamKind::Process,
            phase: Phase::Rest,
            address: None,
            from,
            to,
            bytes: 0,
            exit_status: Some(shell_status(status)),
        });
        if ended.len() > MAX_ENDED {
            ended.pop_front();
        }
        if self.ended.len() > MAX_PARENTS {
            self.ended.pop_first();
        }
    }

    /// The children that `parent` started and that ended between the two instants. One that ran on was
    /// not waited for.
    pub(super) fn between(&self, parent: u32, from: Nanos, to: Nanos) -> Vec<UpstreamWait> {
        let ended = self.ended.get(&parent).into_iter().flatten();
        ended
            .filter(|child| child.from >= from && child.to <= to)
            .cloned()
            .collect()
    }
}

/// A status of `wait` as a shell has it: a signal counts from 128 on.
fn shell_status(status: u32) -> i32 {
    let status = ExitStatus::from_raw(status.cast_signed());
    let signal = || status.signal().map_or(0, |signal| 128 + signal);
    status.code().unwrap_or_else(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_children_of_the_window_were_waited_for() {
        let mut children = Children::default();
        for (pid, from) in [(10, 50), (11, 110), (12, 120), (13, 130)] {
            children.forked(pid, 1, from);
            children.executed(pid, format!("p{pid}").as_bytes());
        }
        children.exited(10, 0, 150);
        children.exited(11, 3 << 8, 160);
        children.exited(12, 9, 250);
        children.exited(99, 0, 1);
        let peers = |parent, from, to| -> Vec<_> {
            let between = children.between(parent, from, to);
            between
                .into_iter()
                .map(|wait| (wait.peer, wait.from, wait.to))
                .collect()
        };
        assert_eq!(peers(1, 100, 200), [("p11".into(), 110, 160)]);
        assert_eq!(peers(1, 0, 300).len(), 3);
        assert_eq!(peers(2, 0, 300), []);
        let statuses = children
            .between(1, 0, 300)
            .iter()
            .map(|wait| wait.exit_status)
            .collect::<Vec<_>>();
        assert_eq!(statuses, [Some(0), Some(3), Some(137)]);
    }
}
