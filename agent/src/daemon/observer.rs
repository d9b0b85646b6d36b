//! Takes what is observed to the history, the exporters and the API, and the configuration anew.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mcp_proto::Nanos;
use sd_notify::NotifyState;

use super::logs::{self, Level};
use super::{DaemonError, State, environment};
use crate::calls::{Origin, Output};
use crate::config::{Config, Inputs};
use crate::history::History;
use crate::host::ProcessFacts;
use crate::observe::{Observer, ObserverError};
use crate::sink::{Losses, Otlp, OtlpSettings, Sink, WhenFull};

/// Time for exporters to send what they have: all is to end within 5 s.
const FINISH: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(5);

pub(super) struct Daemon {
    inputs: Inputs,
    config: Config,
    history: Option<History>,
    otlp: Option<Otlp>,
    /// Exporters of an earlier configuration that still send what they have.
    retiring: Vec<JoinHandle<u64>>,
    state: Arc<State>,
    level: Level,
    watchdog: Option<Duration>,
    ready: bool,
    patted: Instant,
}

impl Daemon {
    pub(super) fn new(
        inputs: Inputs,
        config: Config,
        history: Option<History>,
        state: Arc<State>,
        level: Level,
    ) -> Result<Self, DaemonError> {
        Ok(Self {
            otlp: exporter(&config)?,
            inputs,
            config,
            history,
            retiring: Vec::new(),
            state,
            level,
            // Twice as often as it has to be.
            watchdog: sd_notify::watchdog_enabled().map(|period| period / 2),
            ready: false,
            patted: Instant::now(),
        })
    }

    /// Ends everything, within a few seconds whatever the disk and the collector do.
    pub(super) fn finish(&mut self, losses: &mut Losses) {
        tell(&[NotifyState::Stopping]);
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
                losses.add("output_dropped", exporter.join().unwrap_or(0));
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
            otlp.dropped()
        };
        match thread::Builder::new().name("otlp-end".to_owned()).spawn(run) {
            Ok(thread) => self.retiring.push(thread),
            Err(error) => tracing::error!(%error, "spans were lost: no thread to send them"),
        }
    }

    fn reload(&mut self) -> Result<(), DaemonError> {
        let mut config = self.inputs.load(environment)?.config;
        // The certificates that it names may have changed.
        if settings(&config) != settings(&self.config) || config.otlp.certificate.is_some() {
            let next = exporter(&config)?;
            if let Some(before) = std::mem::replace(&mut self.otlp, next) {
                self.retire(before);
            }
        }
        if let Some(history) = &mut self.history {
            history.set_limits(config.limits);
        }
        self.state.slow_us.store(micros(config.limits.slow), Ordering::Relaxed);
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
    fn begin(&mut self, _origin: &Origin) -> Result<(), ObserverError> {
        Ok(())
    }

    fn record(&mut self, _bytes: &[u8]) -> Result<(), ObserverError> {
        Ok(())
    }

    fn facts(&mut self, _facts: &ProcessFacts) -> Result<(), ObserverError> {
        Ok(())
    }

    /// No output ends the observation: each says what it has lost.
    fn output(&mut self, output: Output) -> Result<(), ObserverError> {
        match output {
            Output::Call(call) => {
                let call = Arc::new(*call);
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

    fn tick(&mut self, _now: Nanos) -> Result<(), ObserverError> {
        if !self.ready {
            self.ready = true;
            tracing::info!("observing");
            tell(&[NotifyState::Ready]);
        }
        if self.watchdog.is_some_and(|period| self.patted.elapsed() >= period) {
            self.patted = Instant::now();
            tell(&[NotifyState::Watchdog]);
        }
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

fn exporter(config: &Config) -> Result<Option<Otlp>, DaemonError> {
    let settings = settings(config);
    let start = || Otlp::start(&settings, WhenFull::Drop, None);
    Ok(settings.is_on().then(start).transpose()?)
}

/// What is slow to the history is slow to the exporter.
fn settings(config: &Config) -> OtlpSettings {
    OtlpSettings {
        slow: config.limits.slow,
        ..config.otlp.clone()
    }
}

/// Tells systemd, if it asked for it.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
