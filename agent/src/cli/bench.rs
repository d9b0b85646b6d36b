//! The yardstick of the benchmarks: what hooks cost that do nothing.

use std::io::{self, Read};

use super::{Failure, pages::print};
use crate::sensor::EmptyTracepoints;

/// Attaches a pair of empty programs to every syscall, says `ready`, and waits until stdin closes.
///
/// # Errors
/// When they cannot be attached.
pub(super) fn empty_tracepoints() -> Result<u8, Failure> {
    let _attached = EmptyTracepoints::attach()?;
    print(b"ready\n")?;
    let mut ignored = Vec::new();
    io::stdin().read_to_end(&mut ignored).map_err(|source| Failure::Io {
        what: "cannot read: standard input".to_owned(),
        source,
    })?;
    Ok(0)
}
