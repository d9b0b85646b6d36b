//! The agent as a service with all its sinks at once, under load: what it costs, and what of it arrives.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Plan;
use super::report::{Bar, Report};
use crate::{build, sh};

/// MiB that caches may still fill with after half of the time: the history's, snapshots of processes.
const STILL_GROWING: f64 = 8.0;

/// What is wanted of it.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Options {
    /// Calls a second under which the agent runs with all its sinks
    #[arg(long, default_value_t = 5000)]
    rate: u64,
    /// For how long, in seconds [default: 300, or 20 with --quick]
    #[arg(long)]
    seconds: Option<u64>,
}

pub(crate) fn run(plan: &Plan, options: Options, report: &mut Report) -> Result<()> {
    let seconds = options.seconds.unwrap_or_else(|| plan.pick(20, 300));
    let mut test = build::end_to_end();
    test.args(["--test", "load", "--", "--nocapture"])
        .env("MCPSONAR_TIER", plan.tier.to_string())
        .env("MCPSONAR_LOAD_RATE", options.rate.to_string())
        .env("MCPSONAR_LOAD_SECONDS", seconds.to_string());
    let told = super::last_json(&sh::read(&mut test)?)?;
    let field = |name: &str| super::field(&told, name);
    let under = format!("all sinks, {} calls/s wanted for {seconds} s", options.rate);
    let mut add = |what: &str, figure: f64, unit: &str, bar: Bar| {
        report.add_one(&format!("{under}: {what}"), figure, unit, bar);
    };
    add("calls/s reached", field("rate")?, "", Bar::None);
    let made = field("made")?;
    add("calls made", made, "", Bar::None);
    add(
        "calls that the history does not have",
        made - field("seen")?,
        "",
        Bar::AtMost(0.0),
    );
    add("agent's CPU", field("cpu_percent")?, " % of a core", Bar::None);
    let half = field("rss_half_mib")?;
    for (what, name) in [("at start", "rss_start_mib"), ("at its peak", "rss_peak_mib")] {
        add(&format!("agent's memory {what}"), field(name)?, " MiB", Bar::None);
    }
    add("agent's memory half way", half, " MiB", Bar::None);
    // What has not settled by then grows without end.
    let end = field("rss_end_mib")?;
    add(
        "agent's memory at the end",
        end,
        " MiB",
        Bar::AtMost(half + STILL_GROWING),
    );
    add("spans received", field("spans")?, "", Bar::None);
    add("points of metrics received", field("points")?, "", Bar::None);
    let losses = told.get("losses").and_then(Value::as_object).context("no losses")?;
    for (name, count) in losses {
        add(
            &format!("lost: {name}"),
            count.as_f64().unwrap_or(f64::NAN),
            "",
            Bar::None,
        );
    }
    Ok(())
}
