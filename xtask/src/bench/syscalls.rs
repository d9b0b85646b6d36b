//! What the agent costs system calls that are none of its business.

use anyhow::{Context, Result};

use super::agent::{Background, Scope};
use super::report::{Bar, Report};
use super::{Plan, pair};
use crate::{repo, sh};

const CONDITIONS: [&str; 4] = [
    "nothing",
    "empty raw tracepoints",
    "mcpsonar, host scope",
    "mcpsonar, tree scope",
];
const NOTHING: usize = 0;
const EMPTY: usize = 1;
const HOST: usize = 2;
const TREE: usize = 3;

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    for (verb, name, count) in [
        ("getppid", "getppid", plan.pick(1_000_000, 4_000_000)),
        ("pipe", "512 B pipe write + read", plan.pick(300_000, 1_000_000)),
    ] {
        let rounds = pair::alternate(plan.rounds(), CONDITIONS.len(), |condition| {
            let background = match condition {
                EMPTY => Some(Background::empty()?),
                HOST => Some(Background::agent(plan.tier, Scope::Host)?),
                TREE => Some(Background::agent(plan.tier, Scope::Tree)?),
                _ => None,
            };
            let cost = measure(verb, count);
            background.map(Background::finish).transpose()?;
            cost
        })?;
        for (condition, under) in CONDITIONS.iter().enumerate() {
            report.add(
                &format!("{name}, unwatched, under {under}"),
                &rounds.series(condition),
                " ns",
                Bar::None,
            );
        }
        for condition in [HOST, TREE] {
            let under = CONDITIONS[condition];
            // Two system calls make up a write and a read.
            let calls = if verb == "pipe" { 2.0 } else { 1.0 };
            let (added, factor) = if plan.tier == 1 {
                (5.0, Bar::None)
            } else {
                (100.0, Bar::AtMost(1.5))
            };
            let what = format!("added to an unwatched {name} by {under}");
            report.add(
                &what,
                &rounds.difference(condition, NOTHING),
                " ns",
                Bar::AtMost(added * calls),
            );
            report.add(
                "the same, as a multiple of what an empty pair adds",
                &rounds.added_ratio(condition, EMPTY, NOTHING),
                "",
                factor,
            );
        }
    }
    Ok(())
}

fn measure(verb: &str, count: u64) -> Result<f64> {
    let mut fixture = sh::cmd(repo::release("mcp-fixture"));
    let text = sh::read(fixture.args(["syscalls", verb, "-n", &count.to_string()]))?;
    super::first_number(&text).with_context(|| format!("`mcp-fixture syscalls {verb}` printed no figure: {text}"))
}
