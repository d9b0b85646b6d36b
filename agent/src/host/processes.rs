//! The processes that were seen: which life of a pid is meant, and what is known of it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use mcp_proto::{Nanos, ProcessId};

use super::{FactsSource, ProcessFacts, redact_args};

/// How long the facts of an exited process are kept, in nanoseconds: its last calls may still be
/// on their way.
pub const KEEP_EXITED: Nanos = 60_000_000_000;
/// Exited processes kept at most.
pub const MAX_EXITED: usize = 4096;
/// Processes kept at most, exited ones included; the one that was seen first gives way.
pub const MAX_LIVE: usize = 32_768;

/// Table of the processes that were seen.
#[derive(Debug)]
pub struct Processes<S> {
    source: S,
    by_pid: HashMap<u32, ProcessId>,
    known: BTreeMap<ProcessId, Arc<ProcessFacts>>,
    exited: VecDeque<(Nanos, ProcessId)>,
    /// Ids whose facts were read since they were last asked for.
    fresh: Vec<ProcessId>,
    next: u64,
    evicted: u64,
}

impl<S: FactsSource> Processes<S> {
    /// An empty table that reads facts from `source`.
    pub fn new(source: S) -> Self {
        Self {
            source,
            by_pid: HashMap::new(),
            known: BTreeMap::new(),
            exited: VecDeque::new(),
            fresh: Vec::new(),
            next: 1,
            evicted: 0,
        }
    }

    /// The process that has this pid now. Facts are read when it is seen for the first time.
    pub fn seen(&mut self, pid: u32) -> ProcessId {
        if let Some(&id) = self.by_pid.get(&pid) {
            return id;
        }
        let facts = self.read(pid);
        self.insert(facts)
    }

    /// A process was created: its pid is nobody else's, even if an exit was missed.
    pub fn forked(&mut self, pid: u32, at: Nanos) {
        if self.by_pid.contains_key(&pid) {
            self.exited(pid, at);
        }
    }

    /// A process has started a program: same process, new facts. `comm`, `filename` and `args` are
    /// the kernel's word, for when the process is gone before its files can be read.
    pub fn execed(&mut self, pid: u32, comm: &str, filename: Option<&str>, args: &[impl AsRef<str>]) -> ProcessId {
        let mut facts = self.read(pid);
        facts.complete_from(ProcessFacts {
            pid,
            comm: Some(comm.to_owned()).filter(|comm| !comm.is_empty()),
            exe: filename.map(str::to_owned),
            cmdline: redact_args(args),
            ..ProcessFacts::default()
        });
        let Some(&id) = self.by_pid.get(&pid) else {
            return self.insert(facts);
        };
        // What the new program hides, the process still has: its cgroup, its start and its parent. Its user may be
        // another's from then on.
        if let Some(before) = self.known.get(&id) {
            facts.cgroup = facts.cgroup.or_else(|| before.cgroup.clone());
            facts.container = facts.container.or_else(|| before.container.clone());
            facts.start_time = facts.start_time.or(before.start_time);
            facts.parent = facts.parent.or(before.parent);
        }
        self.keep(id, facts);
        id
    }

    /// A process has ended at `at`. Its facts stay for [`KEEP_EXITED`]; its pid is free.
    pub fn exited(&mut self, pid: u32, at: Nanos) -> Option<ProcessId> {
        let id = self.by_pid.remove(&pid);
        if let Some(id) = id {
            self.exited.push_back((at, id));
        }
        self.expire(at);
        id
    }

    /// Forgets the processes that ended more than [`KEEP_EXITED`] before `now`, and the oldest
    /// beyond [`MAX_EXITED`].
    pub fn expire(&mut self, now: Nanos) {
        while let Some(&(at, id)) = self.exited.front() {
            if self.exited.len() <= MAX_EXITED && now.saturating_sub(at) <= KEEP_EXITED {
                break;
            }
            self.exited.pop_front();
            self.known.remove(&id);
        }
    }

    /// What is known of a process.
    #[must_use]
    pub fn facts(&self, id: ProcessId) -> Option<&Arc<ProcessFacts>> {
        self.known.get(&id)
    }

    /// The facts that were read since the last time this was asked, for a recording.
    pub fn take_fresh(&mut self) -> Vec<Arc<ProcessFacts>> {
        let ids = std::mem::take(&mut self.fresh);
        ids.iter().filter_map(|id| self.known.get(id).cloned()).collect()
    }

    /// Where facts come from.
    pub fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// How many processes were forgotten to stay within [`MAX_LIVE`].
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    fn read(&mut self, pid: u32) -> ProcessFacts {
        self.source.read(pid).unwrap_or(ProcessFacts {
            pid,
            ..ProcessFacts::default()
        })
    }

    fn insert(&mut self, facts: ProcessFacts) -> ProcessId {
        if self.known.len() >= MAX_LIVE {
            self.make_room();
        }
        let id = ProcessId(self.next);
        self.next += 1;
        self.by_pid.insert(facts.pid, id);
        self.keep(id, facts);
        id
    }

    fn keep(&mut self, id: ProcessId, facts: ProcessFacts) {
        self.known.insert(id, Arc::new(facts));
        // Nobody may ever ask for them.
        if self.fresh.len() >= MAX_EXITED {
            self.fresh.clear();
        }
        self.fresh.push(id);
    }

    /// The dead give way first, then whoever was seen first.
    fn make_room(&mut self) {
        if let Some((_, id)) = self.exited.pop_front() {
            self.known.remove(&id);
        } else if let Some((id, facts)) = self.known.pop_first() {
            self.evicted += 1;
            if self.by_pid.get(&facts.pid) == Some(&id) {
                self.by_pid.remove(&facts.pid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::RecordedFacts;

    const SECOND: Nanos = 1_000_000_000;

    fn table() -> Processes<RecordedFacts> {
        let mut processes = Processes::new(RecordedFacts::default());
        let facts = ProcessFacts {
            pid: 7,
            comm: Some("sh".into()),
            cgroup: Some("/x".into()),
            start_time: Some(3),
            ..ProcessFacts::default()
        };
        processes.source_mut().insert(facts);
        processes
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let mut processes = table();
        let first = processes.seen(7);
        assert_eq!(processes.seen(7), first);
        assert_eq!(processes.exited(7, SECOND), Some(first));
        let second = processes.seen(7);
        assert_ne!(first, second);
        assert!(processes.facts(first).is_some(), "its last calls need it");
        processes.forked(7, 2 * SECOND);
        assert_ne!(processes.seen(7), second, "an exit that was missed");
        processes.expire(SECOND + KEEP_EXITED);
        assert!(processes.facts(first).is_some());
        processes.expire(SECOND + KEEP_EXITED + 1);
        assert!(processes.facts(first).is_none());
        assert_eq!(processes.exited(99, 0), None);
    }

    #[test]
    fn exec_keeps_the_process_and_renews_its_facts() {
        let mut processes = table();
        let id = processes.seen(7);
        let args = ["node", "--token=abc"];
        processes.source_mut().insert(ProcessFacts {
            pid: 7,
            ..ProcessFacts::default()
        });
        assert_eq!(processes.execed(7, "node", Some("/bin/node"), &args), id);
        let facts = processes.facts(id).unwrap();
        assert_eq!(facts.comm.as_deref(), Some("node"));
        assert_eq!(facts.exe.as_deref(), Some("/bin/node"));
        assert_eq!(facts.cmdline, ["node", "--token=***"]);
        assert_eq!((facts.cgroup.as_deref(), facts.start_time), (Some("/x"), Some(3)));
        assert_eq!(processes.execed(8, "a", None, &[""; 0]), processes.seen(8));
        let fresh: Vec<_> = processes.take_fresh().iter().map(|facts| facts.pid).collect();
        assert_eq!(fresh, [7, 7, 8]);
        assert!(processes.take_fresh().is_empty());
    }

    #[test]
    fn bounded() {
        let mut processes = table();
        let limit = u32::try_from(MAX_LIVE).unwrap();
        let first = processes.seen(0);
        for pid in 1..=limit {
            processes.seen(pid);
        }
        assert_eq!((processes.evicted(), processes.known.len()), (1, MAX_LIVE));
        assert_ne!(processes.seen(0), first);
        for pid in 1..=limit {
            processes.exited(pid, SECOND);
        }
        assert!(processes.exited.len() <= MAX_EXITED);
        assert!(processes.known.len() <= MAX_EXITED + 1);
        assert!(processes.by_pid.len() <= 1);
    }
}
