//! The daemon, and its configuration.

use std::io::Write as _;

use super::trace::options;
use super::{AgentArgs, ConfigArgs, ConfigCommand, Failure, TargetArgs, pages::print};
use crate::config::{Inputs, Loaded, environment, variable};
use crate::daemon;

/// Runs the daemon until it is told to end.
///
/// # Errors
/// When it cannot begin.
pub(super) fn run(args: &AgentArgs) -> Result<u8, Failure> {
    let inputs = inputs(&args.config)?;
    daemon::run(inputs, options(&TargetArgs::default(), &args.capture))
        .map(|()| 0)
        .map_err(|error| match error {
            daemon::DaemonError::Observe(error) => error.into(),
            daemon::DaemonError::Config(error) => error.into(),
            other => other.into(),
        })
}

/// Checks or shows the configuration.
///
/// # Errors
/// All its mistakes.
pub(super) fn config(command: &ConfigCommand) -> Result<u8, Failure> {
    match command {
        ConfigCommand::Check(args) => {
            load(args)?;
            print(b"the configuration is right\n")?;
        }
        ConfigCommand::Show(args) => {
            let (mut out, loaded) = (Vec::new(), load(args)?);
            for (key, value, source) in loaded.shown() {
                writeln!(out, "{:<18} = {value:<32} # {source}; {}", key.name, variable(key.name))
                    .map_err(Failure::stdout)?;
            }
            for (name, value, source) in loaded.shown_flags() {
                writeln!(out, "{name:<18} = {value:<32} # {source}; {}", variable(name)).map_err(Failure::stdout)?;
            }
            print(&out)?;
        }
    }
    Ok(0)
}

/// The configuration that the agent has, or would have.
pub(super) fn load(args: &ConfigArgs) -> Result<Loaded, Failure> {
    Ok(inputs(args)?.load(environment)?)
}

fn inputs(args: &ConfigArgs) -> Result<Inputs, Failure> {
    let mut inputs = Inputs {
        file: args.config.clone(),
        flags: Vec::new(),
    };
    for set in &args.set {
        let (name, value) = set
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--set {set}: give KEY=VALUE, like --set history.slow=250ms")))?;
        inputs.flags.push((name.to_owned(), value.to_owned(), "--set"));
    }
    if let Some(socket) = &args.socket {
        inputs
            .flags
            .push(("socket.path".to_owned(), socket.clone(), "--socket"));
    }
    Ok(inputs)
}
