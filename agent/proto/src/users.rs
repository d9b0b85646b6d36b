//! Which processes use the two sides of a stream, and what that says about two streams.

use crate::{Carrier, PairId, ProcessId};

/// The processes that were seen to use one side of a stream.
#[derive(Clone, Debug, Default)]
pub(crate) enum Users {
    #[default]
    None,
    /// Most sides have one for good.
    One {
        process: ProcessId,
        /// As in [`Lists::programs`].
        program: ProcessId,
        lives: bool,
    },
    Many(Box<Lists>),
}

/// Several processes that use one side.
#[derive(Clone, Debug)]
pub(crate) struct Lists {
    /// The latest last.
    seen: Vec<ProcessId>,
    live: Vec<ProcessId>,
    /// The first processes of the programs that they run: a child that was forked without executing
    /// another program goes on with its parent's conversations.
    programs: Vec<ProcessId>,
}

impl Users {
    /// Notes a use; true when the process is new to this side.
    pub(crate) fn note(&mut self, process: ProcessId, program: ProcessId, bound: usize) -> bool {
        match self {
            Self::None => {
                *self = Self::One {
                    process,
                    program,
                    lives: true,
                };
                true
            }
            Self::One { process: only, .. } if *only == process => false,
            Self::One {
                process: first,
                program: its,
                lives,
            } => {
                let mut lists = Lists::new(*first, *its, *lives);
                let is_new = lists.note(process, program, bound);
                *self = Self::Many(Box::new(lists));
                is_new
            }
            Self::Many(lists) => lists.note(process, program, bound),
        }
    }

    pub(crate) fn latest(&self) -> Option<ProcessId> {
        self.all().last().copied()
    }

    /// The latest last.
    pub(crate) fn all(&self) -> &[ProcessId] {
        match self {
            Self::None => &[],
            Self::One { process, .. } => std::slice::from_ref(process),
            Self::Many(lists) => &lists.seen,
        }
    }

    fn programs(&self) -> &[ProcessId] {
        match self {
            Self::None => &[],
            Self::One { program, .. } => std::slice::from_ref(program),
            Self::Many(lists) => &lists.programs,
        }
    }

    /// Whether somebody used this side and nobody who did lives on.
    pub(crate) fn are_gone(&self) -> bool {
        match self {
            Self::None => false,
            Self::One { lives, .. } => !lives,
            Self::Many(lists) => lists.live.is_empty(),
        }
    }

    /// Notes an exit; true when it leaves this side without a user.
    /// An heir takes its place.
    pub(crate) fn exited(&mut self, process: ProcessId, heir: Option<ProcessId>) -> bool {
        match self {
            Self::None => false,
            Self::One {
                process: only,
                program,
                lives,
            } => {
                if *only != process || !*lives {
                    return false;
                }
                if heir.is_some() {
                    let mut lists = Lists::new(*only, *program, *lives);
                    lists.exited(process, heir);
                    *self = Self::Many(Box::new(lists));
                    return false;
                }
                *lives = false;
                true
            }
            Self::Many(lists) => lists.exited(process, heir),
        }
    }

    fn meet(&self, other: &Self) -> Meeting {
        if self.all().is_empty() || other.all().is_empty() {
            Meeting::Unknown
        } else if self.programs().iter().any(|program| other.programs().contains(program)) {
            Meeting::Same
        } else {
            Meeting::Different
        }
    }
}

impl Lists {
    fn new(process: ProcessId, program: ProcessId, lives: bool) -> Self {
        Self {
            seen: vec![process],
            live: if lives { vec![process] } else { Vec::new() },
            programs: vec![program],
        }
    }

    fn note(&mut self, process: ProcessId, program: ProcessId, bound: usize) -> bool {
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
            self.live.push(process);
            if !self.programs.contains(&program) {
                self.programs.push(program);
            }
            if self.programs.len() > bound {
                self.programs.remove(0);
            }
        }
        self.seen.push(process);
        known.is_none()
    }

    fn exited(&mut self, process: ProcessId, heir: Option<ProcessId>) -> bool {
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
