//! One run of the sensor: whom to observe, the loop that reads the ring, and what it came to.

mod child;
mod peers;
mod run;
mod usage;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::process::ExitStatus;

use agent_abi::Membership;
use mcp_proto::{Nanos, Stats};

use crate::calls::{Architecture, Origin, Output, Selection, Survey};
use crate::hooks::HookStatus;
use crate::host::{self, ClockOffset, ProcessFacts};
use crate::sensor::{Scope, SensorError, Tier};
use crate::sink::Losses;

pub use run::observe;
pub use usage::Usage;

/// Whom to observe.
#[derive(Clone, Debug)]
pub enum Target {
    /// Every process of the host.
    Host,
    /// These processes and their descendants.
    Processes(Vec<u32>),
    /// A command, run as a child, and its descendants. The observation ends with it.
    Command(Vec<OsString>),
}

/// How to observe.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whom.
    pub target: Target,
    /// Tier of data hooks; `None` takes the first that works.
    pub tier: Option<Tier>,
    /// Size of the ring, a power of two.
    pub ring_bytes: u32,
    /// Whether TLS libraries are hooked.
    pub tls: bool,
}

/// Who takes what is observed.
pub trait Observer {
    /// Observation is about to begin.
    ///
    /// # Errors
    /// What the observer cannot go on after.
    fn begin(&mut self, _origin: &Origin) -> Result<(), ObserverError> {
        Ok(())
    }
    /// The programs are attached, as far as this kernel takes them.
    fn attached(&mut self, _hooks: &[HookStatus]) {}
    /// A raw record of the ring, before it is understood.
    ///
    /// # Errors
    /// As [`Observer::begin`].
    fn record(&mut self, _bytes: &[u8]) -> Result<(), ObserverError> {
        Ok(())
    }
    /// Facts of a process that was seen for the first time, before its first record is understood.
    ///
    /// # Errors
    /// As [`Observer::begin`].
    fn facts(&mut self, _facts: &ProcessFacts) -> Result<(), ObserverError> {
        Ok(())
    }
    /// A call or a fault.
    ///
    /// # Errors
    /// As [`Observer::begin`].
    fn output(&mut self, output: Output) -> Result<(), ObserverError>;
    /// Time passes: called after every look at the ring, ten times a second or more.
    ///
    /// # Errors
    /// As [`Observer::begin`].
    fn tick(&mut self, _now: Nanos) -> Result<(), ObserverError> {
        Ok(())
    }
    /// Whether what is under way is to be told now. It costs a look at all of it.
    fn wants_survey(&self, _now: Nanos) -> bool {
        false
    }
    /// What is under way, and what was lost since the observation began.
    fn survey(&mut self, _survey: &Survey, _losses: &Losses) {}
    /// The kernel has chosen a process to be killed for want of memory, at this instant.
    fn oom_killed(&mut self, _pid: u32, _at: Nanos) {}
    /// Records have found no room in the ring: so many since the observation began.
    fn records_lost(&mut self, _total: u64) {}
    /// SIGHUP has come. Whether it is to end the observation.
    fn hangup_ends(&mut self) -> bool {
        true
    }
}

/// Why an observer wants no more. A command that is observed runs on to its end all the same.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ObserverError(#[from] pub anyhow::Error);

/// Why there was no observation.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The sensor does not start.
    #[error(transparent)]
    Sensor(#[from] SensorError),
    /// A process to be observed does not exist.
    #[error("there is no process {0}; `ps` lists those that there are")]
    NoProcess(u32),
    /// The command cannot be run.
    #[error("cannot run {command}: {source}; give its path, or check that it is executable")]
    Command {
        /// Its program.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// The observer failed.
    #[error(transparent)]
    Observer(#[from] ObserverError),
    /// The operating system refused something that the loop needs.
    #[error("cannot set up {what}: {source}")]
    Setup {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// How an observation ended and what it came to.
#[derive(Debug)]
pub struct Report {
    /// Status of the command that was observed.
    pub command: Option<ExitStatus>,
    /// The tier in use.
    pub tier: Tier,
    /// The hooks that were tried.
    pub hooks: Vec<HookStatus>,
    /// What the programs counted.
    pub counters: BTreeMap<&'static str, u64>,
    /// What the protocol side counted.
    pub stats: Stats,
    /// Everything that went missing on the way to the sinks.
    pub losses: Losses,
    /// What the agent itself used.
    pub usage: Usage,
}

/// Whom the sensor and the pipeline look at, for a target.
struct Aim {
    scope: Scope,
    selection: Selection,
    preexisting: HashSet<u64>,
}

impl Aim {
    fn at(target: &Target) -> Result<Self, ObserveError> {
        match target {
            Target::Host => Ok(Self {
                scope: Scope::Host,
                selection: Selection::All,
                preexisting: host::open_inodes(),
            }),
            // The command is admitted once it is there.
            Target::Command(_) => Ok(Self::members(BTreeSet::new())),
            Target::Processes(pids) => {
                if let Some(&missing) = pids
                    .iter()
                    .find(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(false))
                {
                    return Err(ObserveError::NoProcess(missing));
                }
                Ok(Self::members(host::descendants(pids)))
            }
        }
    }

    /// Looks at members, and at whoever may be at the other end of their streams.
    fn members(members: BTreeSet<u32>) -> Self {
        let peers = host::peers(&members);
        let member = members.iter().map(|&pid| (pid, Membership::Member));
        let peer = peers.iter().map(|&pid| (pid, Membership::Peer));
        let processes = member.chain(peer).filter(|&(pid, _)| pid != std::process::id());
        Self {
            scope: Scope::Processes(processes.collect()),
            selection: Selection::Processes(members.into_iter().collect()),
            preexisting: host::open_inodes(),
        }
    }
}

/// What the pipeline has to know of this host.
fn origin(preexisting: HashSet<u64>) -> Origin {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Origin {
        clock: ClockOffset::now(),
        boot_id: boot_id.trim().to_owned(),
        architecture: Architecture::HERE,
        preexisting,
    }
}
