//! The agent as a service: the observation of the host, its history and exporters, and the API.

mod api;
mod blind;
mod durations;
mod flag_lines;
mod groups;
mod live;
mod logs;
mod meter;
mod notify;
mod observer;
mod picture;
mod pods;
mod socket;
mod window;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use self::live::Live;
use self::meter::Served;
use self::observer::Daemon;
use self::picture::Picture;
use self::socket::Claim;
use crate::config::{ConfigError, Inputs, environment};
use crate::history::{History, HistoryError, StatusHandle, UnixMillis};
use crate::observe::{ObserveError, Options, observe};
use crate::sensor::SensorError;
use crate::sink::{Losses, OtlpError};

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// There is one already.
    #[error("an agent runs already: process {pid}, at {}; stop it, or give this one another socket.path", path.display())]
    Running {
        /// Its process, if it says.
        pid: String,
        /// Its socket.
        path: PathBuf,
    },
    /// The socket.
    #[error("cannot listen on {}: {source}; set socket.path to a place that may be written", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The history cannot even be begun.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The exporter of spans.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// A thread or the event loop.
    #[error("cannot set up {what}: {source}")]
    Setup {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The observation.
    #[error(transparent)]
    Observe(#[from] ObserveError),
}

/// What the API knows of the daemon.
#[derive(Debug)]
struct State {
    live: Live,
    history: Option<(PathBuf, StatusHandle)>,
    slow_us: AtomicU64,
    dropped_records: AtomicU64,
    picture: Mutex<Picture>,
    told: Mutex<(Served, Losses)>,
    /// Why calls are not seen at all, if they are not.
    reduced: OnceLock<String>,
    host: String,
    began: UnixMillis,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot begin: another agent runs, or the kernel refuses the programs. One that has no types
/// is no reason: the agent goes on without seeing calls.
pub fn run(inputs: Inputs, options: Options) -> Result<(), DaemonError> {
    let config = inputs.load(environment)?.config;
    let level = logs::start(config.log_level, config.log_json);
    let claim = Claim::take(&config.socket_path, &config.socket_group)?;
    let history = if config.history {
        Some(History::start(&config.history_path, config.limits, Box::new(now))?)
    } else {
        None
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let state = Arc::new(State {
        live: Live::default(),
        history: history
            .as_ref()
            .map(|history| (config.history_path.clone(), history.status())),
        slow_us: AtomicU64::new(observer::micros(config.limits.slow)),
        dropped_records: AtomicU64::new(0),
        picture: Mutex::new(Picture::new(crate::host::monotonic())),
        told: Mutex::default(),
        reduced: OnceLock::new(),
        host: host.trim().to_owned(),
        began: now(),
    });
    let socket = config.socket_path.clone();
    api::start(&claim, Arc::clone(&state))?;
    let mut daemon = Daemon::new(inputs, config, history, state, level)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| DaemonError::Setup {
            what: "the event loop",
            source,
        })?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), socket = %socket.display(), "starting");
    let observed = runtime.block_on(observe(options, &mut daemon));
    if let Err(ObserveError::Sensor(error @ SensorError::Btf(_))) = &observed {
        runtime.block_on(blind::run(&mut daemon, error))?;
        daemon.finish(&mut Losses::default());
        tracing::info!("ended");
        return Ok(());
    }
    let mut losses = observed
        .as_ref()
        .map_or_else(|_| Losses::default(), |report| report.losses.clone());
    daemon.finish(&mut losses);
    match observed {
        Ok(report) => {
            tracing::info!(%losses, cpu_ms = report.usage.cpu_ms, peak_rss_kib = report.usage.peak_rss_kib, "ended");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Milliseconds since the Unix epoch.
fn now() -> UnixMillis {
    crate::host::unix_nanos() / 1_000_000
}

impl State {
    fn picture(&self) -> MutexGuard<'_, Picture> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether metrics are served, and what was lost so far.
    fn told(&self, served: Served, losses: Losses) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = (served, losses);
    }

    fn is_slow(&self, latency_us: Option<f64>) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a threshold")]
        let threshold = self.slow_us.load(Ordering::Relaxed) as f64;
        latency_us.is_some_and(|latency| latency > threshold)
    }
}
