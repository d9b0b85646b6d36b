//! Which processes use the two sides of a stream, and what that says about two streams.

use crate::{Carrier, PairId, ProcessId};

/// The processes that were seen to use one side of a stream, the latest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Users {
    seen: Vec<ProcessId>,
    live: Vec<ProcessId>,
    /// The first processes of the programs that they run: a child that was forked without executing
    /// another program goes on with its parent's conversations.
    programs: Vec<ProcessId>,
}

impl Users {
    /// Notes a use; true when the process is new to this side.
    pub(crate) fn note(&mut self, process: ProcessId, program: ProcessId, bound: usize) -> bool {
        if self.seen.last() == Some(&process) {
            return false;
        }
        let known = self.seen.iter().position(|seen| *seen == process);
        match known {
            Some(at) => {
                self.seen.remove(at);
            }
            None if self.seen.len() >= bound => {
                let oldest = self.seen.remove(0);
                self.live.retain(|live| *live != oldest);
            }
            None => {}
        }
        if known.is_none() {
            push(&mut self.live, process);
            if !self.programs.contains(&program) {
                push(&mut self.programs, program);
            }
            if self.programs.len() > bound {
                self.programs.remove(0);
            }
        }
        push(&mut self.seen, process);
        known.is_none()
    }

    pub(crate) fn latest(&self) -> Option<ProcessId> {
        self.seen.last().copied()
    }

    pub(crate) fn all(&self) -> &[ProcessId] {
        &self.seen
    }

    /// Whether somebody used this side and nobody who did lives on.
    pub(crate) fn are_gone(&self) -> bool {
        !self.seen.is_empty() && self.live.is_empty()
    }

    /// Notes an exit; true when it leaves this side without a user.
    /// An heir takes its place.
    pub(crate) fn exited(&mut self, process: ProcessId, heir: Option<ProcessId>) -> bool {
        let before = self.live.len();
        self.live.retain(|live| *live != process);
        if self.live.len() < before
            && let Some(heir) = heir
            && !self.live.contains(&heir)
        {
            self.live.push(heir);
        }
        before > 0 && self.live.is_empty()
    }

    fn meet(&self, other: &Self) -> Meeting {
        if self.seen.is_empty() || other.seen.is_empty() {
            Meeting::Unknown
        } else if self.programs.iter().any(|program| other.programs.contains(program)) {
            Meeting::Same
        } else {
            Meeting::Different
        }
    }
}

/// Most lists hold one process for good.
fn push(list: &mut Vec<ProcessId>, process: ProcessId) {
    if list.capacity() == 0 {
        list.reserve_exact(1);
    }
    list.push(process);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Meeting {
    Same,
    Different,
    Unknown,
}

/// How surely two streams are the two directions of one conversation; less is surer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Relation {
    /// They are the two directions of one socket.
    SamePair,
    /// Each is read by who writes the other.
    BothEnds,
    /// The reader of the requests writes the responses; nothing contradicts.
    Answers,
    /// The writer of the requests reads the responses; nothing contradicts.
    Asks,
}

/// What is known of the ends of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends<'a> {
    pub(crate) pair: Option<PairId>,
    pub(crate) carrier: Carrier,
    pub(crate) writers: &'a Users,
    pub(crate) readers: &'a Users,
}

/// Judges whether `other` carries the other direction of the conversation that `known` carries one of.
pub(crate) fn relation(known: Ends<'_>, other: Ends<'_>) -> Option<Relation> {
    if known.pair.is_some() && known.pair == other.pair {
        return Some(Relation::SamePair);
    }
    // A named socket is always used in both directions.
    if matches!(known.carrier, Carrier::UnixSocket | Carrier::Tcp)
        || matches!(other.carrier, Carrier::UnixSocket | Carrier::Tcp)
    {
        return None;
    }
    match (known.readers.meet(other.writers), known.writers.meet(other.readers)) {
        (Meeting::Same, Meeting::Same) => Some(Relation::BothEnds),
        (Meeting::Same, Meeting::Unknown) => Some(Relation::Answers),
        (Meeting::Unknown, Meeting::Same) => Some(Relation::Asks),
        _ => None,
    }
}
