//! The command line.

mod agent;
mod args;
mod ask;
mod bench;
mod diagnostics;
mod doctor;
mod endpoints;
mod events;
mod explain;
mod failure;
mod outputs;
mod pages;
mod ps;
mod query;
mod record;
mod replay;
mod stats;
mod trace;

pub use args::{
    AgentArgs, CallsArgs, CaptureArgs, Cli, ColorArg, Command, ConfigArgs, ConfigCommand, DoctorArgs, ExplainArgs,
    FlagsArgs, FormatArgs, HistogramsArg, MetricsArgs, OtlpArgs, OtlpProtocolArg, PsArgs, RecordArgs, ReplayArgs,
    ReportArgs, TargetArgs, TemporalityArg, TierArg, TopArgs, TraceArgs,
};
pub(crate) use ask::{ask_all, escape};
pub use failure::Failure;
pub use outputs::{Console, outputs};
pub(crate) use pages::print;

/// Does what was asked; the exit status on success (that of the traced command, if there is one).
///
/// # Errors
/// When it could not be done: see [`Failure::exit_code`].
pub fn run(cli: &Cli) -> Result<u8, Failure> {
    // The agent's messages are a log, and it configures that.
    if !matches!(cli.command, Command::Agent(_)) {
        diagnostics::start();
    }
    match &cli.command {
        Command::Trace(args) => trace::run(args),
        Command::Record(args) => record::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Ps(args) => ps::run(args),
        Command::Agent(args) => agent::run(args),
        Command::Calls(args) => query::calls(args),
        Command::Flags(args) => query::flags(args),
        Command::Top(args) => crate::tui::run(args),
        Command::Report(args) => query::report(args),
        Command::Config(command) => agent::config(command),
        Command::Completions { shell } => pages::completions(*shell).map(|()| 0),
        Command::Man { dir } => pages::man(dir.as_deref()).map(|()| 0),
        Command::ConfigurationPage => pages::print(crate::config::page().as_bytes()).map(|()| 0),
        Command::Catalog => pages::print(crate::catalog::catalog().as_bytes()).map(|()| 0),
        Command::MetricsPage => pages::print(crate::metrics::page().as_bytes()).map(|()| 0),
        Command::BenchEmptyTracepoints => bench::empty_tracepoints(),
    }
}
