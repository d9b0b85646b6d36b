//! The kernel side's counterpart: loads the programs, attaches them, reads their ring and tells
//! them the verdicts. The only code that names aya.

mod attach;
mod btf;
mod error;
mod hooks;
mod keeper;
mod limits;
mod object;
mod pins;
mod probe;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use agent_abi::{Counter, EndpointKey, Membership, VerdictCode, VerdictEntry};
use aya::Ebpf;
use aya::maps::{HashMap, MapData, MapError, PerCpuArray, RingBuf};
use aya_log::EbpfLogger;

pub use attach::{Scope, Settings, Tier};
pub use error::SensorError;
pub use limits::{BUDGET_BYTES, RING_BYTES};
pub use object::is_embedded;
pub use probe::{EmptyTracepoints, hooks_of_host, probe};
pub use tls::tls_of_processes;

use self::pins::Pins;
use crate::hooks::HookStatus;

/// The attached programs. Dropping it detaches them.
pub struct Sensor {
    ring: RingBuf<MapData>,
    scope: HashMap<MapData, u32, u32>,
    verdicts: HashMap<MapData, u64, VerdictEntry>,
    endpoints: HashMap<MapData, EndpointKey, u32>,
    counters: PerCpuArray<MapData, u64>,
    diagnostics: Option<EbpfLogger<&'static dyn log::Log>>,
    tier: Tier,
    hooks: Vec<HookStatus>,
    /// Holds the programs and their links where TLS libraries are hooked.
    tls: Option<tls::Tls>,
    /// The same where they are not.
    held: Option<(Ebpf, Pins)>,
}

impl Sensor {
    /// Loads and attaches the programs.
    ///
    /// # Errors
    /// When the object is not embedded, privileges are missing, the kernel has no BTF, or it
    /// refuses a program that nothing works without.
    pub fn start(settings: &Settings) -> Result<Self, SensorError> {
        attach::start(settings)
    }

    /// The tier of data hooks in use.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Every hook that was tried.
    #[must_use]
    pub fn hooks(&self) -> &[HookStatus] {
        &self.hooks
    }

    /// A descriptor that becomes readable when the kernel wants the ring to be read before its
    /// regular turn.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn wake(&self) -> io::Result<OwnedFd> {
        self.ring.as_fd().try_clone_to_owned()
    }

    /// Hands up to `limit` raw records to `take`, oldest first, and says how many there were.
    pub fn drain(&mut self, limit: usize, mut take: impl FnMut(&[u8])) -> usize {
        let mut taken = 0;
        while taken < limit {
            let Some(record) = self.ring.next() else { break };
            take(&record);
            taken += 1;
        }
        taken
    }

    /// Hands the programs' diagnostics to the `log` crate.
    pub fn flush_diagnostics(&mut self) {
        if let Some(diagnostics) = &mut self.diagnostics {
            diagnostics.flush();
        }
    }

    /// Brings a process into scope.
    ///
    /// # Errors
    /// When the table of processes is full.
    pub fn admit(&mut self, tgid: u32, membership: Membership) -> Result<(), SensorError> {
        self.scope
            .insert(tgid, membership as u32, 0)
            .map_err(|source| SensorError::Table {
                table: "processes",
                source: Box::new(source),
            })
    }

    /// How a process is in scope, where not every process is; `None` when it is not.
    #[must_use]
    pub fn membership(&self, tgid: u32) -> Option<Membership> {
        match self.scope.get(&tgid, 0) {
            Ok(value) if value == Membership::Member as u32 => Some(Membership::Member),
            Ok(_) => Some(Membership::Peer),
            Err(_) => None,
        }
    }

    /// Tells the programs what the stream at `key` is worth.
    ///
    /// # Errors
    /// When the kernel refuses the entry.
    pub fn judge(&mut self, key: u64, verdict: VerdictEntry) -> Result<(), SensorError> {
        self.verdicts
            .insert(key, verdict, 0)
            .map_err(|source| SensorError::Table {
                table: "verdicts",
                source: Box::new(source),
            })
    }

    /// Tells the programs what connections to the server at `endpoint` are worth from their first
    /// byte on, or with `None` that they are to be judged one by one. Streams that are known already
    /// keep their verdict.
    ///
    /// # Errors
    /// When the table of endpoints is full.
    pub fn judge_endpoint(&mut self, endpoint: EndpointKey, verdict: Option<VerdictCode>) -> Result<(), SensorError> {
        let result = match verdict {
            Some(verdict) => self.endpoints.insert(endpoint, verdict as u32, 0),
            None => match self.endpoints.remove(&endpoint) {
                Err(MapError::KeyNotFound) => Ok(()),
                result => result,
            },
        };
        result.map_err(|source| SensorError::Table {
            table: "endpoints",
            source: Box::new(source),
        })
    }

    /// A process has come into view, has started a program or may have loaded a library: what it
    /// has of TLS libraries is looked for, and looked into.
    pub fn look_for_tls(&mut self, tgid: u32) {
        if let Some(tls) = &self.tls {
            tls.look_at(tgid);
        }
    }

    /// What the programs have counted, over all CPUs, by name.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        Counter::ALL
            .iter()
            .map(|&counter| (counter.name(), self.total(counter)))
            .collect()
    }

    /// Records that found no room in the ring.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.total(Counter::RingFull)
    }

    fn total(&self, counter: Counter) -> u64 {
        self.counters
            .get(&(counter as u32), 0)
            .map_or(0, |values| values.iter().sum())
    }
}
