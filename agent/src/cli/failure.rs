//! Why a command ends without having done what it should, and with which exit status.

use std::{io, path::PathBuf};

use crate::{
    calls::recording::RecordingError,
    observe::{ObserveError, ObserverError},
    sensor::SensorError,
    sink::{OtlpError, OutputError, PrometheusError},
};

/// Why a command failed. The text reads `what happened: to what; what to do next`.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line asks for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// No agent answers.
    #[error("no agent is running: {socket} does not answer; start one with `mcpsonar agent`")]
    NoAgent {
        /// Its socket.
        socket: PathBuf,
    },
    /// The agent answers others only.
    #[error("not allowed to ask the agent at {}: be root, or a member of its group (socket.group, by default mcpsonar)", socket.display())]
    NotAllowed {
        /// Its socket.
        socket: PathBuf,
    },
    /// A file cannot be used.
    #[error("cannot {action}: {}: {source}", path.display())]
    File {
        /// What was tried: "open the recording".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The observation.
    #[error(transparent)]
    Observe(ObserveError),
    /// The kernel side.
    #[error(transparent)]
    Sensor(#[from] SensorError),
    /// An output.
    #[error(transparent)]
    Output(OutputError),
    /// The exporter of spans.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// The scrape endpoint.
    #[error(transparent)]
    Prometheus(#[from] PrometheusError),
    /// A recording.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// A report on a fleet.
    #[error(transparent)]
    Fleet(#[from] crate::report::FleetError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The daemon.
    #[error(transparent)]
    Daemon(#[from] crate::daemon::DaemonError),
    /// Something that has no better name.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, and with what.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Whoever read our output is gone, and has seen all that it wanted.
    #[error("the reader of the output has gone away: stopped; write to a file with -o to keep everything")]
    OutputClosed,
}

impl Failure {
    /// The exit status: 0 done, 1 failed, 2 usage, 3 no agent, 4 insufficient privilege.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // `mcpsonar trace | head` has shown all that was wanted.
            Self::OutputClosed => 0,
            Self::Usage(_) | Self::Config(_) => 2,
            Self::NoAgent { .. } => 3,
            Self::NotAllowed { .. } | Self::Sensor(SensorError::Privilege { .. }) => 4,
            Self::File { .. }
            | Self::Observe(_)
            | Self::Sensor(_)
            | Self::Output(_)
            | Self::Otlp(_)
            | Self::Prometheus(_)
            | Self::Recording(_)
            | Self::Fleet(_)
            | Self::Daemon(_)
            | Self::Io { .. } => 1,
        }
    }

    /// Failure of writing to our standard output.
    #[must_use]
    pub fn stdout(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Io {
                what: "cannot write: standard output".to_owned(),
                source,
            },
        }
    }
}

impl From<OutputError> for Failure {
    fn from(error: OutputError) -> Self {
        match error {
            OutputError::Closed { .. } => Self::OutputClosed,
            failed @ OutputError::Failed { .. } => Self::Output(failed),
        }
    }
}

impl From<ObserveError> for Failure {
    fn from(error: ObserveError) -> Self {
        match error {
            ObserveError::Sensor(error) => Self::Sensor(error),
            ObserveError::Observer(ObserverError(error)) => match error.downcast::<OutputError>() {
                Ok(error) => error.into(),
                Err(error) => match error.downcast::<RecordingError>() {
                    Ok(error) => Self::Recording(error),
                    Err(error) => Self::Observe(ObserverError(error).into()),
                },
            },
            other => Self::Observe(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let privilege = SensorError::Privilege {
            what: "a map".to_owned(),
        };
        assert_eq!(Failure::from(privilege).exit_code(), 4);
        assert_eq!(Failure::Usage(String::new()).exit_code(), 2);
        assert_eq!(Failure::NoAgent { socket: "/x".into() }.exit_code(), 3);
        assert_eq!(Failure::NotAllowed { socket: "/x".into() }.exit_code(), 4);
        let closed = Failure::stdout(io::ErrorKind::BrokenPipe.into());
        assert_eq!(closed.exit_code(), 0);
        let failed = Failure::stdout(io::ErrorKind::StorageFull.into());
        assert_eq!(failed.exit_code(), 1);
    }
}
