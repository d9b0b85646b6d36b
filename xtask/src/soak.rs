//! `cargo xtask soak`: in full length what `cargo xtask test` runs in short.

use std::process::Command;

use anyhow::{Result, bail, ensure};

use crate::{build, sh};

/// The tests of faults that are injected.
const FAULTS: [&str; 4] = ["causes", "causes_sdk", "lifecycle", "leaked"];

/// Injects every fault a hundred times, and watches a healthy system for long
///
/// Or only other things that take long: collectors that misbehave, a day of history.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long the healthy system is watched; 0 leaves it out
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Only faults whose name contains this, and no healthy system
    #[arg(long, value_name = "NAME")]
    fault: Option<String>,
    /// Only collectors that misbehave, each under load for --seconds
    #[arg(long)]
    collectors: bool,
    /// How long a collector misbehaves
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only a history of --hours at 100 calls a second, written by a clock that is given, and a report of it
    #[arg(long)]
    history: bool,
    /// How long a time the history is of
    #[arg(long, default_value_t = 24)]
    hours: u64,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    ensure!(
        sh::is_root(),
        "the agent loads eBPF programs into this kernel and so needs root: run `sudo -E cargo xtask soak`"
    );
    build::agent(true)?;
    build::fixtures()?;
    let mut failed = Vec::new();
    if args.collectors {
        let mut test = test("collectors");
        test.env("MCPSONAR_COLLECTOR_SECONDS", args.seconds.to_string());
        run("collectors that misbehave", test, Some("each_fault"), &mut failed);
    }
    if args.history {
        let mut test = test("history");
        test.env("MCPSONAR_HISTORY_HOURS", args.hours.to_string());
        run("a day of history", test, None, &mut failed);
    }
    if !args.collectors && !args.history {
        faults(args, &mut failed);
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("failed: {}; what was seen is above", failed.join(", "))
}

/// What is judged by its causes and flags.
fn faults(args: &Args, failed: &mut Vec<&'static str>) {
    if args.fault.is_none() && args.minutes > 0 {
        let mut test = test("healthy");
        test.env("MCPSONAR_IDLE_SECONDS", (args.minutes * 60).to_string());
        run("a healthy system", test, None, failed);
    }
    for fault in FAULTS {
        let mut test = test(fault);
        test.env("MCPSONAR_LONG", "1");
        run(fault, test, args.fault.as_deref(), failed);
    }
}

fn test(name: &str) -> Command {
    let mut cargo = build::end_to_end();
    cargo.args(["--test", name, "--"]);
    cargo
}

/// Runs one test file, with the figures that it prints.
fn run(name: &'static str, mut test: Command, filter: Option<&str>, failed: &mut Vec<&'static str>) {
    sh::say(format!("soaking: {name}"));
    test.args(filter).args(["--test-threads=1", "--nocapture"]);
    if let Err(error) = sh::run(&mut test) {
        sh::say(format!("FAILED: {name}: {error:#}"));
        failed.push(name);
    }
}
