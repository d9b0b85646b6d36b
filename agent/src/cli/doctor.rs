//! What this kernel, container and set of privileges allow, what is off and why.

mod host;
mod text;
mod tls;

use serde::Serialize;

use self::host::HostFindings;
use super::{DoctorArgs, Failure, pages::print};
use crate::hooks::{HookStatus, TlsStatus};
use crate::host::all_pids;
use crate::sensor;

/// Everything that `doctor` finds out.
#[derive(Clone, Debug, Serialize)]
struct Findings {
    /// Version of mcpsonar.
    mcpsonar: &'static str,
    /// Whether this build carries the eBPF programs.
    programs_embedded: bool,
    #[serde(flatten)]
    host: HostFindings,
    /// Why the hooks could not even be tried.
    hooks_error: Option<String>,
    hooks: Vec<HookStatus>,
    /// The TLS libraries of the processes that run now.
    tls: Vec<TlsStatus>,
}

/// Prints what works here. The status is 0 when tracing would work, else that with which it would end.
///
/// # Errors
/// When the standard output cannot be written.
pub(super) fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    let (hooks, failure) = match sensor::probe() {
        Ok(hooks) => (hooks, None),
        Err(error) => (Vec::new(), Some(Failure::from(error))),
    };
    let findings = Findings {
        mcpsonar: env!("CARGO_PKG_VERSION"),
        programs_embedded: sensor::is_embedded(),
        host: HostFindings::gather(),
        hooks_error: failure.as_ref().map(ToString::to_string),
        hooks,
        tls: sensor::tls_of_processes(&all_pids()),
    };
    let output = if args.json {
        let mut line = serde_json::to_vec(&findings).map_err(|error| Failure::stdout(error.into()))?;
        line.push(b'\n');
        line
    } else {
        text::render(&findings).into_bytes()
    };
    print(&output)?;
    Ok(failure.map_or(0, |failure| failure.exit_code()))
}

#[cfg(test)]
mod tests;
