//! What can be wrong with a configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::Source;

/// One mistake.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A key that there is not.
    #[error("{source_}: there is no key {key}; `mcpsonar config show` lists those that there are")]
    Unknown {
        /// As it was written.
        key: String,
        /// Where.
        source_: Source,
    },
    /// A value that it cannot have.
    #[error("{source_}: {key} = {value:?}: allowed: {allowed}")]
    Value {
        /// The key.
        key: &'static str,
        /// As it was written.
        value: String,
        /// Where.
        source_: Source,
        /// What it takes.
        allowed: &'static str,
    },
    /// A setting of a flag that makes no sense.
    #[error("{source_}: {message}")]
    Flags {
        /// Where.
        source_: Source,
        /// The setting, and what is allowed.
        message: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is not TOML.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
}

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is wrong")?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}
