//! Takes what is observed to the history, the exporters and the API, and the configuration anew.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mcp_proto::Nanos;
use sd_notify::NotifyState;

use super::logs::{self, Level};
use super::meter::Meter;
use super::notify::Notifier;
use super::pods::PodWatch;
use super::{DaemonError, State, flag_lines};
use crate::calls::{Origin, Output, Survey};
use crate::config::{Config, Inputs, environment};
use crate::flags::AgentInput;
use crate::health::Health;
use crate::history::{History, HistoryState, HistoryStatus};
use crate::hooks::HookStatus;
use crate::host::SamplerReport;
use crate::metrics::samples::ExporterSample;
use crate::observe::{Observer, ObserverError};
use crate::sensor::SensorError;
use crate::sink::{Losses, Otlp, OtlpLosses, OtlpSettings, Sink, WhenFull};

/// Time for exporters to send what they have: all is to end within 5 s.
const FINISH: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(5);

pub(super) struct Daemon {
    inputs: Inputs,
    config: Config,
    history: Option<History>,
    otlp: Option<Otlp>,
    health: Health,
    pods: Option<PodWatch>,
    meter: Meter,
    /// Records that had been lost when that was last looked at.
    lost: u64,
    cpus: u64,
    /// Exporters of an earlier configuration that still send what they have.
    retiring: Vec<JoinHandle<OtlpLosses>>,
    state: Arc<State>,
    level: Level,
    notifier: Notifier,
    ready: bool,
}

impl Daemon {
    pub(super) fn new(
        inputs: Inputs,
        config: Config,
        history: Option<History>,
        state: Arc<State>,
        level: Level,
    ) -> Result<Self, DaemonError> {
        let health = Health::start(config.levels()).map_err(|source| DaemonError::Setup {
            what: "the sampler",
            source,
        })?;
        let mut meter = Meter::new(config.otlp.exponential);
        meter.serve(config.prometheus_address);
        Ok(Self {
            otlp: exporter(&config, &meter)?,
            pods: pods(&config)?,
            health,
            meter,
            lost: 0,
            cpus: 1,
            inputs,
            config,
            history,
            retiring: Vec::new(),
            state,
            level,
            notifier: Notifier::of_environment(),
            ready: false,
        })
    }

    /// Says, to everybody who may ask, that no calls are seen.
    pub(super) fn reduced(&mut self, why: &SensorError) {
        let why = why.to_string();
        tracing::error!(
            why,
            "reduced mode: no calls are seen; the history, metrics of the host and the socket go on"
        );
        self.notifier
            .say(&NotifyState::Status(&format!("Reduced: no calls are seen: {why}")));
        // Nobody else sets it.
        self.state.reduced.set(why).unwrap_or_default();
    }

    /// Ends everything, within a few seconds whatever the disk and the collector do.
    pub(super) fn finish(&mut self, losses: &mut Losses) {
        self.notifier.say(&NotifyState::Stopping);
        if let Some(otlp) = self.otlp.take() {
            self.retire(otlp);
        }
        let deadline = Instant::now() + FINISH;
        if let Some(history) = &mut self.history {
            if let Err(error) = history.finish(losses) {
                tracing::error!(%error, advice = history.advice(), "the history has not been written whole");
            }
            losses.add("history_dropped", history.dropped());
        }
        for exporter in self.retiring.drain(..) {
            while !exporter.is_finished() && Instant::now() < deadline {
                thread::sleep(POLL);
            }
            if exporter.is_finished() {
                for (name, count) in exporter.join().unwrap_or_default() {
                    losses.add(name, count);
                }
            } else {
                tracing::error!("spans were not delivered in time: the collector does not answer");
            }
        }
    }

    /// Lets an exporter send what it has, while the observation goes on.
    fn retire(&mut self, mut otlp: Otlp) {
        let run = move || {
            if let Err(error) = otlp.finish(&Losses::default()) {
                tracing::warn!(%error, collector = otlp.name(), "spans were lost");
            }
            otlp.losses()
        };
        match thread::Builder::new().name("otlp-end".to_owned()).spawn(run) {
            Ok(thread) => self.retiring.push(thread),
            Err(error) => tracing::error!(%error, "spans were lost: no thread to send them"),
        }
    }

    /// Takes what was sampled.
    fn sampled(&mut self, now: Nanos) {
        let (state, cpus) = (&self.state, &mut self.cpus);
        let mut host = None;
        let mut any = false;
        let meter = &mut self.meter;
        self.health.tick(now, |report: &SamplerReport| {
            let mut picture = state.picture();
            if let Some(sample) = &report.samples.host {
                picture.host(sample);
                *cpus = sample.cores.len() as u64;
                host = Some(sample.clone());
            }
            for sample in &report.samples.processes {
                picture.process(sample);
            }
            for &pid in &report.samples.gone {
                picture.gone(pid);
            }
            meter.groups(&report.samples.cgroups);
            any |= !report.samples.processes.is_empty() || !report.samples.gone.is_empty();
        });
        if let Some(host) = &host {
            self.meter.host(host);
        }
        if any {
            let picture = self.state.picture();
            self.meter.processes(&self.health, self.cpus, |pid| picture.name(pid));
        }
    }

    /// Takes what has happened to flags.
    fn flags(&mut self) {
        while let Some(event) = self.health.poll_event() {
            flag_lines::tell(&event);
            self.meter.flag(&event, &self.health);
            self.state.picture().flag(&event);
            if let Some(history) = &mut self.history {
                history.flag(flag_lines::row(&event));
            }
            self.state.live.flag(event);
        }
    }

    fn reload(&mut self) -> Result<(), DaemonError> {
        let mut config = self.inputs.load(environment)?.config;
        // The certificates that it names may have changed.
        if settings(&config) != settings(&self.config) || config.otlp.has_certificates() {
            let next = exporter(&config, &self.meter)?;
            if let Some(before) = std::mem::replace(&mut self.otlp, next) {
                self.retire(before);
            }
        }
        if config.pods != self.config.pods {
            self.pods = pods(&config)?;
        }
        if let Some(history) = &mut self.history {
            history.set_limits(config.limits);
        }
        self.state.slow_us.store(micros(config.limits.slow), Ordering::Relaxed);
        self.health.set_levels(config.levels());
        self.meter.serve(config.prometheus_address);
        self.level
            .reload(logs::targets(config.log_level))
            .unwrap_or_else(|error| tracing::warn!(%error, "the level of the log stays"));
        // What is taken at start only stays as it was.
        let fixed = |config: &Config| {
            let Config {
                socket_path,
                socket_group,
                history,
                history_path,
                log_json,
                ..
            } = config.clone();
            (socket_path, socket_group, history, history_path, log_json)
        };
        if fixed(&config) != fixed(&self.config) {
            tracing::warn!("the socket, the place of the history and the format of the log change at a restart only");
            (
                config.socket_path,
                config.socket_group,
                config.history,
                config.history_path,
                config.log_json,
            ) = fixed(&self.config);
        }
        self.config = config;
        Ok(())
    }
}

impl Observer for Daemon {
    fn begin(&mut self, origin: &Origin) -> Result<(), ObserverError> {
        self.health.begin(origin.clock);
        Ok(())
    }

    fn attached(&mut self, hooks: &[HookStatus]) {
        self.meter.hooks(hooks);
    }

    /// No output ends the observation: each says what it has lost.
    fn output(&mut self, output: Output) -> Result<(), ObserverError> {
        self.health.output(&output);
        match output {
            Output::Call(call) => {
                let call = Arc::new(*call);
                self.meter.call(&call);
                self.state.picture().call(&call, call.ended);
                if let Some(otlp) = &mut self.otlp
                    && let Err(error) = otlp.call(&call)
                {
                    tracing::debug!(%error, "a span was lost");
                }
                if let Some(history) = &mut self.history {
                    history.keep(Arc::clone(&call));
                }
                self.state.live.push(call);
            }
            Output::Fault(fault) => {
                self.meter.fault(&fault);
                if let Some(history) = &mut self.history
                    && let Err(error) = history.fault(&fault)
                {
                    tracing::debug!(%error, "a fault was lost");
                }
            }
        }
        Ok(())
    }

    fn records_lost(&mut self, total: u64) {
        self.state.dropped_records.store(total, Ordering::Relaxed);
    }

    fn wants_survey(&self, now: Nanos) -> bool {
        self.health.wants_survey(now)
    }

    fn survey(&mut self, survey: &Survey, losses: &Losses) {
        self.health.survey(survey);
        let history = self.history.as_ref().map(|history| history.status().read());
        let paused = history.as_ref().and_then(|status| match &status.state {
            HistoryState::Paused { reason, .. } => Some(reason.as_str()),
            _ => None,
        });
        let lost = self.state.dropped_records.load(Ordering::Relaxed);
        self.health.agent(&AgentInput {
            history_paused: paused,
            history_lost: history.as_ref().map_or(0, |status| status.lost_paused),
            records_lost: lost.saturating_sub(self.lost),
            at: survey.at,
        });
        self.lost = lost;
        let mut losses = losses.clone();
        if let Some(status) = &history {
            losses.add("history_dropped", status.dropped + status.lost_paused);
        }
        for (name, count) in self.otlp.as_ref().map(Otlp::losses).unwrap_or_default() {
            losses.add(name, count);
        }
        for (name, count) in self.health.lost() {
            losses.add(name, count);
        }
        self.meter.survey(survey, &losses);
        let mut exporters = self.otlp.as_ref().map(Otlp::samples).unwrap_or_default();
        exporters.extend(history.as_ref().map(history_sample));
        self.meter.exporters(&exporters);
        self.meter.keep_serving();
        self.state.told(self.meter.served(), losses);
        let mut picture = self.state.picture();
        picture.survey(survey.clone());
        self.meter.loads(survey, |pid| picture.name(pid));
        if let Some(pods) = &self.pods {
            picture.pods(|container| pods.of_container(container));
        }
        if let Some(history) = &mut self.history {
            history.uses(picture.uses());
        }
    }

    fn oom_killed(&mut self, pid: u32, at: Nanos) {
        self.health.oom_killed(pid, at);
    }

    fn tick(&mut self, now: Nanos) -> Result<(), ObserverError> {
        self.sampled(now);
        self.flags();
        if !self.ready {
            self.ready = true;
            if self.state.reduced.get().is_none() {
                tracing::info!("observing");
            }
            self.notifier.say(&NotifyState::Ready);
        }
        self.notifier.tick();
        Ok(())
    }

    fn hangup_ends(&mut self) -> bool {
        match self.reload() {
            Ok(()) => tracing::info!("the configuration has been read again"),
            Err(error) => tracing::error!(%error, "the configuration stays as it was"),
        }
        false
    }
}

fn exporter(config: &Config, meter: &Meter) -> Result<Option<Otlp>, DaemonError> {
    let settings = settings(config);
    let start = || Otlp::start(&settings, WhenFull::Drop, Some(meter.source()));
    Ok(settings.is_on().then(start).transpose()?)
}

/// What is slow to the history is slow to the exporter.
fn settings(config: &Config) -> OtlpSettings {
    OtlpSettings {
        slow: config.limits.slow,
        ..config.otlp.clone()
    }
}

fn pods(config: &Config) -> Result<Option<PodWatch>, DaemonError> {
    if config.pods.url.is_none() {
        return Ok(None);
    }
    let watch = PodWatch::start(config.pods.clone());
    watch.map(Some).map_err(|source| DaemonError::Setup {
        what: "the questions for pods",
        source,
    })
}

/// The history, as an exporter. Its queue is a channel that does not tell how long it is.
fn history_sample(status: &HistoryStatus) -> ExporterSample {
    ExporterSample {
        exporter: "history",
        sent: status.calls,
        failed: status.lost_paused,
        dropped: Some(status.dropped),
        errors: None,
        queue: None,
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
