//! Programs that were started by processes that have not moved a byte yet: most processes of a
//! host never move one that matters, so what they are is read with the first.

use std::collections::{HashMap, VecDeque};

/// Programs that are kept; the oldest give way.
const MAX_STARTED: usize = 4096;

/// What a process was started as, by the kernel's word.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) comm: String,
    pub(super) args: Vec<String>,
}

/// What is known of processes that nobody has looked at.
#[derive(Debug, Default)]
pub(super) struct Programs {
    /// Parents of processes that have not executed a program.
    forks: HashMap<u32, u32>,
    started: HashMap<u32, Program>,
    order: VecDeque<u32>,
}

impl Programs {
    pub(super) fn forked(&mut self, child: u32, parent: u32) {
        if self.forks.len() >= MAX_STARTED {
            self.forks.clear();
        }
        self.forks.insert(child, parent);
    }

    pub(super) fn executed(&mut self, pid: u32, comm: &[u8], args: &[u8]) {
        self.forks.remove(&pid);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let args = args.strip_suffix(b"\0").unwrap_or(args);
        let program = Program {
            comm: text(comm),
            args: args.split(|&b| b == 0).map(text).collect(),
        };
        if self.started.insert(pid, program).is_none() {
            self.order.push_back(pid);
        }
        if self.order.len() > MAX_STARTED
            && let Some(oldest) = self.order.pop_front()
        {
            self.started.remove(&oldest);
        }
    }

    pub(super) fn exited(&mut self, pid: u32) {
        self.started.remove(&pid);
        self.forks.remove(&pid);
    }

    /// The program that the process was started as, once.
    pub(super) fn take(&mut self, pid: u32) -> Option<Program> {
        self.started.remove(&pid)
    }

    /// The parent that the process runs the program of, once.
    pub(super) fn take_parent(&mut self, pid: u32) -> Option<u32> {
        self.forks.remove(&pid)
    }
}
