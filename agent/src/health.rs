//! The health of the host and of those who take part in calls: samples of both, and the flags that
//! follow from samples and calls. One copy for everybody who observes.

use std::collections::BTreeMap;
use std::io;

use mcp_proto::Nanos;

use crate::calls::{Output, Party, Survey};
use crate::flags::{
    ActiveFlag, AgentInput, CallInput, Engine, FaultInput, FlagEvent, InFlight, Levels, ProcessEvent, ProcessRef,
};
use crate::host::{ClockOffset, ProcessSample, SamplerReport, SamplerThread, Settings};

/// Pause between two looks at what is under way.
const SURVEY_EVERY: Nanos = 1_000_000_000;

/// Samples who takes part in calls and the host, and raises flags.
#[derive(Debug)]
pub struct Health {
    engine: Engine,
    sampler: SamplerThread,
    /// The latest of each process that is watched.
    samples: BTreeMap<u32, ProcessSample>,
    /// What processes had to answer when that was last looked at.
    loads: BTreeMap<u32, InFlight>,
    surveyed: Nanos,
    /// Reports of the sampler that found no room.
    lost: u64,
}

impl Health {
    /// Nothing is known yet; the sampler starts.
    ///
    /// # Errors
    /// When there is no thread for the sampler.
    pub fn start(levels: Levels) -> io::Result<Self> {
        Ok(Self {
            engine: Engine::new(levels, ClockOffset::default()),
            sampler: SamplerThread::spawn(Settings::default())?,
            samples: BTreeMap::new(),
            loads: BTreeMap::new(),
            surveyed: 0,
            lost: 0,
        })
    }

    /// Observation begins: this is the time of day.
    pub fn begin(&mut self, clock: ClockOffset) {
        self.engine.set_clock(clock);
    }

    /// Other thresholds are in force from now on.
    pub fn set_levels(&mut self, levels: Levels) {
        self.engine.set_levels(levels);
    }

    /// Takes a call or a fault, and has both ends of a call watched.
    pub fn output(&mut self, output: &Output) {
        match output {
            Output::Call(call) => {
                let call = CallInput::from(&**call);
                self.engine.call(&call);
                // The client's end is what makes an orphan of its server.
                if let Some(client) = call.client {
                    self.sampler.watch(client.pid);
                }
                if let Some(server) = call.server {
                    self.sampler.watch(server.pid);
                    let flight = InFlight {
                        last_byte: Some(call.ended),
                        ..self.loads.get(&server.pid).copied().unwrap_or_default()
                    };
                    self.engine.in_flight(server.pid, flight, call.ended);
                }
            }
            Output::Fault(fault) => self.engine.fault(&FaultInput::from(fault)),
        }
    }

    /// Whether it is time for [`Health::survey`].
    #[must_use]
    pub fn wants_survey(&self, now: Nanos) -> bool {
        now.saturating_sub(self.surveyed) >= SURVEY_EVERY
    }

    /// Takes what is under way: a server that answers nothing has no calls that end.
    pub fn survey(&mut self, survey: &Survey) {
        self.surveyed = survey.at;
        for conversation in &survey.conversations {
            let client = conversation.client.as_ref().and_then(process);
            if let Some(server) = conversation.server.as_ref().and_then(process) {
                self.sampler.watch(server.pid);
                self.engine.server(server, client, survey.at);
            }
            if let Some(client) = client {
                self.sampler.watch(client.pid);
            }
        }
        let mut loads = BTreeMap::new();
        for (&pid, load) in &survey.loads {
            let flight = InFlight {
                pending: load.pending,
                waiting: load.waiting,
                oldest: load.oldest,
                last_byte: load.last_byte,
            };
            self.engine.in_flight(pid, flight, survey.at);
            loads.insert(pid, flight);
        }
        self.sampler.attend(loads.keys().copied().collect());
        for (pid, _) in std::mem::replace(&mut self.loads, loads) {
            if !self.loads.contains_key(&pid) {
                self.engine.in_flight(pid, InFlight::default(), survey.at);
            }
        }
    }

    /// The kernel kills a process for want of memory.
    pub fn oom_killed(&mut self, pid: u32, at: Nanos) {
        self.engine.event(pid, ProcessEvent::OomKilled, at);
    }

    /// Takes how the agent itself is.
    pub fn agent(&mut self, agent: &AgentInput<'_>) {
        self.engine.agent(agent);
    }

    /// Takes what the sampler has found since the last time, hands it on, and lets time pass.
    pub fn tick(&mut self, now: Nanos, mut sampled: impl FnMut(&SamplerReport)) {
        while let Some(report) = self.sampler.poll() {
            self.lost += report.lost;
            self.engine.samples(&report.samples, report.at);
            for (pid, ends) in &report.ends {
                self.engine.ends(*pid, ends, report.at);
            }
            for sample in &report.samples.processes {
                self.samples.insert(sample.pid, sample.clone());
            }
            for pid in &report.samples.gone {
                self.samples.remove(pid);
            }
            sampled(&report);
        }
        self.engine.tick(now);
    }

    /// The latest samples of all processes that take part.
    #[must_use]
    pub fn processes(&self) -> &BTreeMap<u32, ProcessSample> {
        &self.samples
    }

    /// The next change of a flag.
    pub fn poll_event(&mut self) -> Option<FlagEvent> {
        self.engine.poll_event()
    }

    /// The flags that are raised.
    pub fn active(&self) -> impl Iterator<Item = &ActiveFlag> {
        self.engine.active()
    }

    /// What was not taken in, by name: reports of samples, subjects of flags, and events of flags.
    #[must_use]
    pub fn lost(&self) -> [(&'static str, u64); 3] {
        let stats = self.engine.stats();
        [
            ("samples_lost", self.lost),
            ("flag_subjects_refused", stats.refused),
            ("flag_events_dropped", stats.dropped),
        ]
    }
}

fn process(party: &Party) -> Option<ProcessRef<'_>> {
    Some(ProcessRef::new(party.facts.as_deref()?, party.name.as_deref()))
}
