//! `cargo xtask bench`: the figures that the project promises, measured on this machine.

mod agent;
mod capacity;
mod load;
mod pair;
mod report;
mod syscalls;
mod throughput;
mod web;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{build, repo, setup, sh};
use report::Report;

/// Measures the figures that the project promises, and prints them beside the promises
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Few rounds and short loads: minutes, and more noise
    #[arg(long)]
    quick: bool,
    /// The tier of hooks: 1 (fentry/fexit) or 2 (raw tracepoints)
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
    tier: u8,
    /// How often each condition is measured
    #[arg(long)]
    rounds: Option<usize>,
    #[command(flatten)]
    load: load::Options,
    /// Only these tables; may be repeated
    #[arg(long, value_enum)]
    only: Vec<Table>,
    /// Takes the release build as it is
    #[arg(long)]
    no_build: bool,
    /// Ends with a failure when a bar is missed
    #[arg(long)]
    strict: bool,
}

/// One group of figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Table {
    /// The fastest server, traced against untraced
    Throughput,
    /// System calls that are not watched
    Syscalls,
    /// A busy web server that does not speak MCP (nginx and wrk, where they are installed)
    Web,
    /// The agent's own CPU, memory, start and losses
    Capacity,
    /// The agent as a service, all its sinks on, under load
    Load,
    /// The protocol package offline
    Proto,
}

/// How much is measured.
#[derive(Debug)]
pub(crate) struct Plan {
    quick: bool,
    rounds: Option<usize>,
    pub(crate) tier: u8,
}

impl Plan {
    fn pick(&self, quick: u64, full: u64) -> u64 {
        if self.quick { quick } else { full }
    }

    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 5 } else { 21 }).max(1)
    }
}

pub(crate) fn main(args: &Args) -> Result<()> {
    if !args.no_build {
        setup::for_build()?;
        build::ebpf()?;
        build::agent(true)?;
        build::fixtures()?;
    }
    let plan = Plan {
        quick: args.quick,
        rounds: args.rounds,
        tier: args.tier,
    };
    let mut report = Report::default();
    for table in [
        Table::Throughput,
        Table::Syscalls,
        Table::Web,
        Table::Capacity,
        Table::Load,
        Table::Proto,
    ] {
        if !args.only.is_empty() && !args.only.contains(&table) {
            continue;
        }
        if table != Table::Proto {
            ensure!(
                sh::is_root(),
                "measuring the agent loads eBPF programs, which takes root: run this as root, or with --only proto"
            );
        }
        sh::say(format!("measuring: {table:?}"));
        let others = agent::hooks_on_host();
        let done = match table {
            Table::Throughput => throughput::run(&plan, &mut report),
            Table::Syscalls => syscalls::run(&plan, &mut report),
            Table::Web => web::run(&plan, &mut report),
            Table::Capacity => capacity::run(&plan, &mut report),
            Table::Load => load::run(&plan, args.load, &mut report),
            Table::Proto => throughput::proto(&plan, &mut report),
        };
        let others = others.max(agent::hooks_on_host());
        if others > 0 {
            report.missing(
                &format!("{table:?} alone"),
                &format!("other programs had {others} eBPF attachments meanwhile, which slow everything down"),
            );
        }
        // One table that cannot be had does not cost the others.
        if let Err(error) = done {
            report.missing(&format!("{table:?}"), &format!("{error:#}"));
        }
    }
    let method = format!(
        "Tier {}, {} alternating rounds, medians; quotients and differences are taken within each round.",
        plan.tier,
        plan.rounds()
    );
    report.print(&method);
    if args.strict && report.missed() > 0 {
        bail!("{} bars were missed; the table says which", report.missed());
    }
    Ok(())
}

/// Runs the test fixture and gives the JSON that it prints.
fn fixture_json(arguments: &[String]) -> Result<Value> {
    let fixture = repo::release("mcp-fixture");
    last_json(&sh::read(sh::cmd(fixture).args(arguments))?)
}

/// The last line that is a JSON object.
fn last_json(text: &str) -> Result<Value> {
    text.lines()
        .rev()
        .find_map(|line| serde_json::from_str(line.trim()).ok().filter(Value::is_object))
        .with_context(|| format!("expected a line of JSON, and this came: {text}"))
}

fn field(value: &Value, name: &str) -> Result<f64> {
    value
        .get(name)
        .and_then(Value::as_f64)
        .with_context(|| format!("no number {name:?} in {value}"))
}

/// The first number in a text like `94.2`, `94.2 ns` or `{"ns_per_op":94.2}`.
fn first_number(text: &str) -> Option<f64> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .find_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_among_words() {
        assert_eq!(first_number("{\"ns_per_op\":94.25}"), Some(94.25));
        assert_eq!(first_number("93 ns\n"), Some(93.0));
        assert_eq!(first_number("none"), None);
        let value = last_json("words\n{\"calls_per_s\": 5}\n");
        assert!(value.and_then(|v| field(&v, "calls_per_s")).is_ok_and(|n| n == 5.0));
    }
}
