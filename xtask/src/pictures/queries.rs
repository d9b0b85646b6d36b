//! `cargo xtask queries`: every query of every panel and rule has an answer from a real agent that
//! watches real faults, or a reason why not.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::answers::{Answers, Verdict};
use super::stage::Stage;
use crate::dashboards::Catalog;
use crate::sh;

/// The answers are complete when all faults of the workload have come up: they do so by chance.
const PAUSE: Duration = Duration::from_secs(8);

/// Asks every query of the dashboards and rules of a database that scrapes a real agent
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long answers are waited for
    #[arg(long, value_name = "SECONDS", default_value_t = 240)]
    seconds: u64,
    /// An agent that is built already
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let agent = super::agent(args.agent.as_deref(), "queries")?;
    check(&agent, Duration::from_secs(args.seconds))
}

/// Runs the workload until every query has its answer, at most for `patience`.
pub(crate) fn check(agent: &Path, patience: Duration) -> Result<()> {
    let catalog = Catalog::read()?;
    let mut stage = Stage::begin(agent)?;
    let began = Instant::now();
    stage.play_on(patience + PAUSE)?;
    loop {
        std::thread::sleep(PAUSE);
        let answers = Answers::ask(&stage, &catalog, began.elapsed().as_secs().max(1))?;
        let open = answers
            .verdicts()
            .filter(|(_, verdict)| matches!(verdict, Verdict::Wrong(_) | Verdict::NotFed(_)))
            .count();
        if open > 0 && began.elapsed() < patience {
            sh::say(format!("{open} queries have no answer yet"));
            continue;
        }
        let wrong = super::tell(&answers);
        ensure!(
            wrong == 0,
            "{wrong} queries have no plausible answer after {} s; the lines above say which",
            began.elapsed().as_secs()
        );
        return Ok(());
    }
}
