//! What the agent itself uses, and how much it can take: CPU, memory, start, losses.

use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::agent::{self, Background, Scope};
use super::pair::Series;
use super::report::{Bar, Report};
use super::{Plan, fixture_json};
use crate::{repo, sh};

/// Conversations at once under load.
const SESSIONS: u64 = 2;
/// Processes that do nothing, for the agent's idle cost.
const IDLE_PROCESSES: usize = 500;

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    start(plan, report)?;
    idle(plan, report)?;
    busy(plan, report)?;
    losses(plan, report)
}

/// From the command to its child's first instruction: hooks are attached before the child runs.
fn start(plan: &Plan, report: &mut Report) -> Result<()> {
    let mut seconds = Vec::new();
    for _ in 0..plan.pick(3, 9) {
        let stats = agent::stats_file()?;
        let begin = Instant::now();
        sh::read(agent::trace(plan.tier, &stats).args(["--", "true"]))?;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    report.add(
        "start to the end of a child that does nothing",
        &Series::new(seconds),
        " s",
        Bar::AtMost(1.0),
    );
    Ok(())
}

fn idle(plan: &Plan, report: &mut Report) -> Result<()> {
    let idlers = Idlers::start(IDLE_PROCESSES)?;
    let agent = Background::agent(plan.tier, Scope::Host)?;
    std::thread::sleep(Duration::from_secs(2));
    let (before, begin) = (agent.usage()?, Instant::now());
    std::thread::sleep(Duration::from_secs(plan.pick(10, 60)));
    let after = agent.usage()?;
    let share = 100.0 * (after.cpu_s - before.cpu_s) / begin.elapsed().as_secs_f64();
    agent.finish()?;
    drop(idlers);
    report.add_one(
        &format!("agent's CPU, idle, {IDLE_PROCESSES} processes"),
        share,
        " % of a core",
        Bar::AtMost(0.1),
    );
    report.add_one("agent's memory, idle", after.rss_mib, " MiB", Bar::AtMost(18.0));
    Ok(())
}

fn busy(plan: &Plan, report: &mut Report) -> Result<()> {
    let agent = Background::agent(plan.tier, Scope::Host)?;
    let (before, begin) = (agent.usage()?, Instant::now());
    // A call is two messages.
    load(500, plan.pick(2_500, 10_000))?;
    let after = agent.usage()?;
    let share = 100.0 * (after.cpu_s - before.cpu_s) / begin.elapsed().as_secs_f64();
    agent.finish()?;
    report.add_one(
        "agent's CPU at 1000 messages/s",
        share,
        " % of a core",
        Bar::AtMost(1.0),
    );
    report.add_one(
        "agent's peak memory at 1000 messages/s",
        after.peak_mib,
        " MiB",
        Bar::None,
    );
    Ok(())
}

/// Raises the rate until records are lost, or the load cannot go faster.
fn losses(plan: &Plan, report: &mut Report) -> Result<()> {
    let mut best = 0.0_f64;
    for wanted in [5_000, 10_000, 20_000, 50_000, 70_000, 100_000, 200_000] {
        let agent = Background::agent(plan.tier, Scope::Host)?;
        let seconds = plan.pick(2, 5);
        let done = load(wanted / 2, wanted / 2 * seconds)?;
        let rate = 2.0 * super::field(&done, "calls_per_s")?;
        let stats = agent.finish()?.context("the agent left no figures")?;
        let (dropped, cpu) = (stats.dropped()?, stats.cpu_ms()?);
        eprintln!("    {rate:.0} messages/s of {wanted} wanted: {dropped} records dropped, {cpu:.0} ms of CPU");
        report.add_one(
            &format!("records dropped at {rate:.0} messages/s of 200 B"),
            dropped as f64,
            "",
            Bar::None,
        );
        if dropped > 0 {
            break;
        }
        // The load generator keeps a rate to a fraction of a percent.
        let kept = rate >= 0.99 * wanted as f64;
        best = if kept { wanted as f64 } else { best.max(rate) };
        if !kept {
            break;
        }
    }
    report.add_one(
        "messages/s of 200 B without loss (or as many as could be sent)",
        best,
        "",
        Bar::AtLeast(50_000.0),
    );
    Ok(())
}

/// Calls at a rate, in messages of about 200 B: an echo of 100 B is one with its envelope.
fn load(calls_per_s: u64, calls: u64) -> Result<Value> {
    let fixture = repo::release("mcp-fixture").to_string_lossy().into_owned();
    let (each, rate) = ((calls / SESSIONS).to_string(), calls_per_s.to_string());
    let sessions = SESSIONS.to_string();
    let load = [
        "load", "-n", &each, "-k", &sessions, "-c", "8", "-r", &rate, "--size", "100",
    ];
    let arguments = load.into_iter().chain(["--", &fixture, "server"]);
    fixture_json(&arguments.map(str::to_owned).collect::<Vec<_>>())
}

/// Processes that sleep, ended when dropped.
struct Idlers(Vec<Child>);

impl Idlers {
    fn start(count: usize) -> Result<Self> {
        let mut idlers = Self(Vec::with_capacity(count));
        for _ in 0..count {
            idlers.0.push(
                sh::cmd("sleep")
                    .arg("3600")
                    .spawn()
                    .context("cannot start a process that sleeps")?,
            );
        }
        ensure!(idlers.0.len() == count, "fewer processes than wanted");
        Ok(idlers)
    }
}

impl Drop for Idlers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            if let Err(error) = child.kill().and_then(|()| child.wait()) {
                eprintln!("    ending a process that sleeps: {error}");
            }
        }
    }
}
