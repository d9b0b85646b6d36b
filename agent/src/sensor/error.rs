//! What can go wrong between the agent and the kernel.

use std::io;

use super::btf::BtfError;

/// Why the sensor cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// The binary was built by plain cargo.
    #[error("this binary carries no eBPF programs; build it with `cargo xtask build`")]
    NotEmbedded,
    /// The kernel wants more privileges.
    #[error(
        "the kernel refused {what} for lack of privilege; run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE"
    )]
    Privilege {
        /// What was refused.
        what: String,
    },
    /// The kernel's type information cannot be read.
    #[error("cannot read the kernel's types: {0}; mcpsonar needs a kernel built with CONFIG_DEBUG_INFO_BTF")]
    Btf(#[from] BtfError),
    /// The object does not load.
    #[error("the kernel refused the eBPF object: {0}; `mcpsonar doctor` says what this kernel allows")]
    Object(#[source] Box<aya::EbpfError>),
    /// A hook that nothing works without does not attach.
    #[error("the hook {hook} cannot be used: {reason}; `mcpsonar doctor` says what this kernel allows")]
    Hook {
        /// Its name.
        hook: String,
        /// What the kernel said.
        reason: String,
    },
    /// A map is not in the object, or not what it should be.
    #[error(
        "the eBPF object has no usable map {map}: agent and object are of different builds; run `cargo xtask build`"
    )]
    Map {
        /// Its name.
        map: &'static str,
    },
    /// The system has no more threads.
    #[error("cannot start the thread that hooks TLS libraries: {0}")]
    Thread(io::Error),
    /// A kernel table takes no more entries.
    #[error("the kernel's table of {table} refused an entry: {source}")]
    Table {
        /// Of what.
        table: &'static str,
        /// What the kernel said.
        source: Box<aya::maps::MapError>,
    },
}

impl SensorError {
    /// Whether more privileges would help.
    #[must_use]
    pub fn is_privilege(&self) -> bool {
        matches!(self, Self::Privilege { .. })
    }
}

/// The operating system's error at the bottom of `error`, if there is one.
pub(super) fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(code);
        }
        next = error.source();
    }
    None
}

/// `error` and everything that it says was behind it, in one line.
pub(super) fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = source.source();
    }
    // The verifier's log is pages long; its last lines say what it minds.
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.len() > 6 {
        return format!("{} ... {}", lines[0], lines[lines.len() - 4..].join(" / "));
    }
    lines.join(" / ")
}
