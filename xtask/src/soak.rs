//! `cargo xtask soak`: in full length what `cargo xtask test` runs in short.

use std::process::Command;

use anyhow::{Result, bail, ensure};

use crate::{build, sh};

/// The tests of faults that are injected.
const FAULTS: [&str; 4] = ["causes", "causes_sdk", "lifecycle", "leaked"];

/// Injects every fault a hundred times, and watches a healthy system for long
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long the healthy system is watched; 0 leaves it out
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Only faults whose name contains this, and no healthy system
    #[arg(long, value_name = "NAME")]
    fault: Option<String>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    ensure!(
        sh::is_root(),
        "the agent loads eBPF programs into this kernel and so needs root: run `sudo -E cargo xtask soak`"
    );
    build::agent(true)?;
    build::fixtures()?;
    let mut failed = Vec::new();
    if args.fault.is_none() && args.minutes > 0 {
        let mut test = test("healthy");
        test.env("MCPSONAR_IDLE_SECONDS", (args.minutes * 60).to_string());
        run("a healthy system", test, None, &mut failed);
    }
    for fault in FAULTS {
        let mut test = test(fault);
        test.env("MCPSONAR_LONG", "1");
        run(fault, test, args.fault.as_deref(), &mut failed);
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("failed: {}; what was seen is above", failed.join(", "))
}

fn test(name: &str) -> Command {
    let mut cargo = build::end_to_end();
    cargo.args(["--test", name, "--"]);
    cargo
}

/// Runs one test file, with the figures that it prints.
fn run<'a>(name: &'a str, mut test: Command, filter: Option<&str>, failed: &mut Vec<&'a str>) {
    sh::say(format!("soaking: {name}"));
    test.args(filter).args(["--test-threads=1", "--nocapture"]);
    if let Err(error) = sh::run(&mut test) {
        sh::say(format!("FAILED: {name}: {error:#}"));
        failed.push(name);
    }
}
