//! Metrics of the daemon: what is observed goes to the recorder, and the recorder to whoever scrapes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::durations::Durations;
use super::groups::Groups;
use crate::calls::{CallRecord, FaultRecord, Survey};
use crate::flags::{Change, FlagEvent};
use crate::health::Health;
use crate::hooks::HookStatus;
use crate::host::{CgroupSample, ClockOffset, HostSample, PressureLine, ProcessSample, nanos_of_ticks};
use crate::metrics::samples::{
    self, ConnectionCount, ExporterSample, FlagCount, HookCount, LoadCount, Pressure, StreamCount,
};
use crate::metrics::{Options, SharedRecorder};
use crate::sink::{Losses, Metering, Prometheus, Sink as _, Source};

/// How long an address that could not be listened on is left alone.
const RETRY_EVERY: Duration = Duration::from_secs(10);
const NANOS_A_SECOND: f64 = 1e9;

/// Feeds the recorder.
#[derive(Debug)]
pub(super) struct Meter {
    metering: Metering,
    serving: Serving,
    /// How often each flag was raised, by code and severity.
    raised: BTreeMap<(&'static str, &'static str), u64>,
    durations: Durations,
    groups: Groups,
    clock: ClockOffset,
}

/// Whether metrics are served, for the status.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct Served {
    /// Where, if they are wanted.
    address: Option<SocketAddr>,
    /// Why they are not.
    error: Option<String>,
}

#[derive(Debug, Default)]
struct Serving {
    address: Option<SocketAddr>,
    endpoint: Option<Prometheus>,
    error: Option<String>,
    tried: Option<Instant>,
}

impl Meter {
    /// With exponential histograms, or those of the conventions.
    pub(super) fn new(exponential: bool) -> Self {
        Self {
            metering: Metering::new(Options { exponential }),
            serving: Serving::default(),
            raised: BTreeMap::new(),
            durations: Durations::default(),
            groups: Groups::default(),
            clock: ClockOffset::now(),
        }
    }

    /// Serves at another address, or no longer.
    pub(super) fn serve(&mut self, address: Option<SocketAddr>) {
        if self.serving.address != address {
            self.serving = Serving {
                address,
                ..Serving::default()
            };
        }
        self.keep_serving();
    }

    /// Tries again what has failed before.
    pub(super) fn keep_serving(&mut self) {
        let Serving {
            address: Some(address),
            endpoint: None,
            tried,
            ..
        } = &self.serving
        else {
            return;
        };
        if tried.is_some_and(|tried| tried.elapsed() < RETRY_EVERY) {
            return;
        }
        match Prometheus::start(*address, self.metering.source()) {
            Ok(endpoint) => {
                tracing::info!(address = %endpoint.address(), "metrics are served");
                self.serving.endpoint = Some(endpoint);
                self.serving.error = None;
            }
            Err(error) => {
                let error = error.to_string();
                // Once, not every time.
                if self.serving.error.as_ref() != Some(&error) {
                    tracing::error!(%error, "metrics are not served (key prometheus.address); everything else goes on");
                }
                self.serving.error = Some(error);
            }
        }
        self.serving.tried = Some(Instant::now());
    }

    pub(super) fn served(&self) -> Served {
        let bound = self.serving.endpoint.as_ref().map(Prometheus::address);
        Served {
            address: bound.or(self.serving.address),
            error: self.serving.error.clone(),
        }
    }

    /// Where exporters get the metrics.
    pub(super) fn source(&self) -> Source {
        self.metering.source()
    }

    /// The recorder's calls and faults.
    pub(super) fn call(&mut self, call: &CallRecord) {
        self.durations.call(call);
        // The recorder takes everything.
        self.metering.call(call).unwrap_or_default();
    }

    pub(super) fn fault(&mut self, fault: &FaultRecord) {
        self.metering.fault(fault).unwrap_or_default();
    }

    /// The processes of all endpoints, with what `name` calls them.
    pub(super) fn processes(&mut self, health: &Health, cpus: u64, name: impl Fn(u32) -> Option<String>) {
        let all = health.processes();
        let names: Vec<_> = all.keys().map(|&pid| name(pid)).collect();
        let rows = all.values().zip(&names);
        let rows: Vec<_> = rows
            .map(|(sample, name)| samples::ProcessSample {
                group: self.groups.of(sample.cgroup.as_deref(), self.clock),
                ..process(sample, name.as_deref(), cpus, self.clock)
            })
            .collect();
        let now = self.now();
        self.recorder().lock().processes(&rows, now);
    }

    /// Control groups that were looked at.
    pub(super) fn groups(&mut self, groups: &[CgroupSample]) {
        self.groups.sampled(groups);
    }

    /// Where the sensor listens. What is on is told by number only: a fleet has many of them.
    pub(super) fn hooks(&mut self, hooks: &[HookStatus]) {
        let on = hooks.iter().filter(|hook| hook.on).count() as u64;
        let off = hooks.iter().filter(|hook| !hook.on).map(|hook| HookCount {
            name: Some(&hook.name),
            on: false,
            hooks: 1,
        });
        let on = HookCount {
            name: None,
            on: true,
            hooks: on,
        };
        let rows: Vec<_> = off.chain([on]).collect();
        let now = self.now();
        self.recorder().lock().hooks(&rows, now);
    }

    /// How exporters do.
    pub(super) fn exporters(&mut self, exporters: &[ExporterSample]) {
        let now = self.now();
        self.recorder().lock().exporters(exporters, now);
    }

    /// What processes have to answer, with what `name` calls them.
    pub(super) fn loads(&mut self, survey: &Survey, name: impl Fn(u32) -> Option<String>) {
        let mut loads: BTreeMap<Option<String>, (u64, u64)> = BTreeMap::new();
        // Those who have nothing to answer have that: a line that stops says nothing.
        for conversation in &survey.conversations {
            let server = conversation.server.as_ref().and_then(|server| server.label());
            loads.entry(server.map(str::to_owned)).or_default();
        }
        for (&pid, load) in &survey.loads {
            let (unread, read) = loads.entry(name(pid)).or_default();
            *unread += u64::from(load.waiting);
            *read += u64::from(load.pending.saturating_sub(load.waiting));
        }
        let rows = loads.iter().map(|(service, &(unread, read))| LoadCount {
            service: service.as_deref(),
            unread,
            read,
        });
        let rows: Vec<_> = rows.collect();
        let now = self.now();
        self.recorder().lock().loads(&rows, now);
    }

    /// The host, with its pressure as of now.
    pub(super) fn host(&mut self, host: &HostSample) {
        let cores = (0..).zip(&host.cores).map(|(core, share)| (core, share * 100.0));
        let cores: Vec<(u32, f64)> = cores.collect();
        let lines = PressureLine::read_all();
        #[expect(clippy::cast_precision_loss, reason = "microseconds since boot")]
        let pressure = lines.iter().map(|(resource, line)| Pressure {
            resource: resource.name(),
            stall: line.stall,
            shares: line.shares,
            total_seconds: line.total as f64 / 1e6,
        });
        let pressure: Vec<_> = pressure.collect();
        let sample = samples::HostSample {
            // Near enough: CLOCK_MONOTONIC began then.
            booted_unix_ns: self.clock.unix(0),
            core_percent: &cores,
            pressure: &pressure,
        };
        let now = self.now();
        self.recorder().lock().host(&sample, now);
    }

    /// What is under way, and what was lost.
    pub(super) fn survey(&mut self, survey: &Survey, losses: &Losses) {
        let mut open: BTreeMap<(Option<&str>, &'static str), u64> = BTreeMap::new();
        for conversation in &survey.conversations {
            let server = conversation.server.as_ref().and_then(|server| server.label());
            *open.entry((server, conversation.transport)).or_default() += 1;
        }
        let rows = open.into_iter().map(|((server, transport), open)| ConnectionCount {
            server,
            transport,
            open,
        });
        let rows: Vec<_> = rows.collect();
        let streams = survey.streams;
        let streams = [
            ("watched", streams.watched),
            ("unjudged", streams.unjudged),
            ("ignored", streams.ignored),
        ];
        let streams = streams.map(|(state, streams)| StreamCount { state, streams });
        let now = self.now();
        let mut recorder = self.metering.recorder().lock();
        let open = survey
            .conversations
            .iter()
            .map(|conversation| conversation.id)
            .collect();
        self.durations
            .survey(&open, survey.at, self.clock, |session| recorder.session(session));
        recorder.connections(&rows, now);
        recorder.streams(&streams, now);
        recorder.losses(losses.iter(), now);
    }

    /// A flag has changed.
    pub(super) fn flag(&mut self, event: &FlagEvent, health: &Health) {
        if event.change == Change::Raised {
            let key = (event.flag.flag.code(), event.flag.severity.code());
            *self.raised.entry(key).or_default() += 1;
        }
        let mut counts: BTreeMap<_, (u64, u64)> = BTreeMap::new();
        for (key, raised) in &self.raised {
            counts.entry(*key).or_default().1 = *raised;
        }
        for flag in health.active() {
            counts.entry((flag.flag.code(), flag.severity.code())).or_default().0 += 1;
        }
        let rows = counts
            .into_iter()
            .map(|((code, severity), (active, raised))| FlagCount {
                code,
                severity,
                active,
                raised,
            });
        let rows: Vec<_> = rows.collect();
        let now = self.now();
        self.recorder().lock().flags(&rows, now);
    }

    fn recorder(&self) -> &SharedRecorder {
        self.metering.recorder()
    }

    fn now(&self) -> u64 {
        self.clock.unix(crate::host::monotonic())
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days of CPU")]
fn process<'a>(
    sample: &'a ProcessSample,
    name: Option<&'a str>,
    cpus: u64,
    clock: ClockOffset,
) -> samples::ProcessSample<'a> {
    let seconds = |nanos: u64| nanos as f64 / NANOS_A_SECOND;
    let share = |cores: f64| (cores / cpus.max(1) as f64).min(1.0);
    let system = sample.cpu.zip(sample.cpu_user).map(|(all, user)| (all - user).max(0.0));
    samples::ProcessSample {
        service: name,
        pid: sample.pid,
        program: Some(&sample.comm),
        started_unix_ns: clock.unix(nanos_of_ticks(sample.start_time)),
        cpu_user_seconds: Some(seconds(sample.cpu_user_ns)),
        cpu_system_seconds: Some(seconds(sample.cpu_ns.saturating_sub(sample.cpu_user_ns))),
        cpu_user_share: sample.cpu_user.map(share),
        cpu_system_share: system.map(share),
        run_queue_seconds: sample.run_queue_ns.map(seconds),
        resident_bytes: Some(sample.rss),
        proportional_bytes: sample.pss,
        swapped_bytes: sample.swap,
        virtual_bytes: Some(sample.virtual_bytes),
        disk_read_bytes: sample.read_bytes,
        disk_written_bytes: sample.write_bytes,
        threads: Some(sample.threads.into()),
        descriptors: sample.fds,
        descriptor_limit: sample.fd_limit,
        group: samples::GroupSample::default(),
        switches_voluntary: sample.voluntary_switches,
        switches_involuntary: sample.involuntary_switches,
        faults_major: Some(sample.major_faults),
        faults_minor: Some(sample.minor_faults),
    }
}
