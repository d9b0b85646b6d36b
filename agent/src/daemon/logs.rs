//! The daemon's log, on stderr, where the journal takes it.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt};

/// Sets another level.
pub(super) type Level = Handle<Targets, Registry>;

pub(super) fn start(level: log::LevelFilter, json: bool) -> Level {
    let (filter, handle) = reload::Layer::new(targets(level));
    let lines = fmt::layer().with_writer(io::stderr).with_target(false).with_ansi(false);
    let lines = if json {
        lines.json().flatten_event(true).boxed()
    } else {
        lines.boxed()
    };
    // It fails when there is a log already, which then does the job. The messages of `log` come too.
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()
        .unwrap_or_default();
    log::set_max_level(log::LevelFilter::Trace);
    handle
}

/// Libraries tell more than anybody wants to know.
pub(super) fn targets(level: log::LevelFilter) -> Targets {
    let level = match level {
        log::LevelFilter::Off => LevelFilter::OFF,
        log::LevelFilter::Error => LevelFilter::ERROR,
        log::LevelFilter::Warn => LevelFilter::WARN,
        log::LevelFilter::Info => LevelFilter::INFO,
        log::LevelFilter::Debug => LevelFilter::DEBUG,
        log::LevelFilter::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("mcpsonar", level)
}
