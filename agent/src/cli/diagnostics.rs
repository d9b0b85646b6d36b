//! The agent's own messages, on stderr.

use std::io::{self, Write};

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries tell more than anybody wants to know; rustls tells of what strangers have sent.
        let level = if metadata.target().starts_with("rustls") {
            Level::Error
        } else {
            Level::Warn
        };
        metadata.level() <= level || metadata.target().starts_with("mcpsonar")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_ascii_lowercase();
            // Where stderr is gone nobody is left to tell.
            writeln!(io::stderr(), "mcpsonar: {level}: {}", record.args()).unwrap_or_default();
        }
    }

    fn flush(&self) {}
}

/// Turns messages on, at the level that `MCPSONAR_LOG` names (error, warn, info, debug, trace, off);
/// warn without it.
pub(super) fn start() {
    let wanted = std::env::var("MCPSONAR_LOG").ok().and_then(|level| level.parse().ok());
    log::set_max_level(wanted.unwrap_or(LevelFilter::Warn));
    // It fails when a logger is set already, which then does the job.
    log::set_logger(&Stderr).unwrap_or_default();
}
