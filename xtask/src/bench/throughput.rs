//! What the agent costs the fastest stdio server there is: Rust, one call at a time.

use anyhow::Result;
use serde_json::Value;

use super::agent::{self, Background, Stats};
use super::pair::{self, Series};
use super::report::{Bar, Report};
use super::{Plan, fixture_json};
use crate::repo;

/// The conditions, in the order of the rounds.
const NOTHING: usize = 0;
const EMPTY: usize = 1;
const TRACED: usize = 2;

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    let calls = plan.pick(4_000, 20_000);
    let rounds = pair::alternate(plan.rounds(), 3, |condition| match condition {
        EMPTY => {
            let empty = Background::empty()?;
            let speed = load(calls)?;
            empty.finish()?;
            Ok(speed)
        }
        TRACED => traced(plan.tier, calls),
        _ => load(calls),
    })?;
    report.add(
        "calls/s of the Rust server, nothing attached",
        &rounds.series(NOTHING),
        "",
        Bar::None,
    );
    report.add(
        "calls/s of it, empty raw tracepoints",
        &rounds.series(EMPTY),
        "",
        Bar::None,
    );
    report.add("calls/s of it, traced", &rounds.series(TRACED), "", Bar::None);
    let (to_empty, to_nothing) = if plan.tier == 1 {
        (Bar::None, Bar::AtLeast(0.97))
    } else {
        (Bar::AtLeast(0.95), Bar::None)
    };
    report.add(
        "traced to empty raw tracepoints",
        &rounds.ratio(TRACED, EMPTY),
        "",
        to_empty,
    );
    report.add(
        "traced to nothing attached",
        &rounds.ratio(TRACED, NOTHING),
        "",
        to_nothing,
    );
    report.add(
        "empty raw tracepoints to nothing attached",
        &rounds.ratio(EMPTY, NOTHING),
        "",
        Bar::None,
    );
    Ok(())
}

/// The offline speed of the protocol package.
pub(crate) fn proto(plan: &Plan, report: &mut Report) -> Result<()> {
    let (mut large, mut small) = (Vec::new(), Vec::new());
    for _ in 0..plan.pick(2, 5) {
        let mut cargo = crate::sh::cargo();
        cargo.args([
            "run",
            "--quiet",
            "--release",
            "-p",
            "mcp-proto",
            "--example",
            "throughput",
        ]);
        let value = super::last_json(&crate::sh::read(&mut cargo)?)?;
        large.push(super::field(&value, "large_gb_per_s")?);
        small.push(super::field(&value, "small_msgs_per_s")? / 1e6);
    }
    report.add(
        "offline `proto`, large results",
        &Series::new(large),
        " GB/s",
        Bar::AtLeast(1.0),
    );
    report.add(
        "offline `proto`, small messages",
        &Series::new(small),
        " M/s",
        Bar::AtLeast(2.0),
    );
    Ok(())
}

fn arguments(calls: u64) -> Vec<String> {
    let server = repo::release("mcp-rmcp-server").to_string_lossy().into_owned();
    let calls = calls.to_string();
    ["load", "-n", &calls, "-c", "1", "--", &server]
        .map(str::to_owned)
        .to_vec()
}

fn load(calls: u64) -> Result<f64> {
    super::field(&fixture_json(&arguments(calls))?, "calls_per_s")
}

/// The same under the agent, which starts it: nothing of it is missed.
fn traced(tier: u8, calls: u64) -> Result<f64> {
    let stats = agent::stats_file()?;
    let mut trace = agent::trace(tier, &stats);
    trace.arg("--").arg(repo::release("mcp-fixture")).args(arguments(calls));
    let speed: Value = super::last_json(&crate::sh::read(&mut trace)?)?;
    let dropped = Stats::read(&stats)?.dropped()?;
    if dropped > 0 {
        eprintln!("    note: the ring dropped {dropped} records in this round");
    }
    super::field(&speed, "calls_per_s")
}
