//! `cargo xtask pictures`: every dashboard with real data, a report, and `top`. The agent watches a workload with faults, a
//! time series database scrapes it, every query is asked, and headless Chromium draws the answers.

mod answers;
mod empty;
mod page;
mod queries;
mod stage;
mod terminal;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

pub(crate) use self::queries::{Args as QueriesArgs, check as check_queries, main as queries_main};

use self::answers::{Answers, Verdict};
use self::stage::Stage;
use crate::dashboards::{self, Catalog};
use crate::{build, repo, setup, sh};

/// Pixels of the picture of a report.
const REPORT: (u64, u64) = (1100, 1500);
/// The workload goes on while pictures are taken: `top` shows what is so at the moment.
const ENCORE: Duration = Duration::from_secs(90);

/// Draws the dashboards with real data into docs/pictures, and says which queries have no answer
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long the workload runs
    #[arg(long, value_name = "SECONDS", default_value_t = 240)]
    seconds: u64,
    /// An agent that is built already
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let agent = agent(args.agent.as_deref(), "pictures")?;
    let catalog = Catalog::read()?;
    page::prepare()?;
    let mut stage = Stage::begin(&agent)?;
    stage.play_on(Duration::from_secs(args.seconds) + ENCORE)?;
    std::thread::sleep(Duration::from_secs(args.seconds));
    let answers = Answers::ask(&stage, &catalog, args.seconds)?;
    let wrong = tell(&answers);
    let folder = repo::root().join("docs/pictures");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for dashboard in dashboards::all(&catalog)? {
        let picture = folder.join(format!("{}.png", dashboard.uid));
        page::draw(&dashboard, &answers, &stage, &picture)?;
        sh::say(format!("{} is drawn", picture.display()));
    }
    let report = folder.join("report.png");
    page::shoot(&stage.report()?, "report", REPORT, &stage, &report)?;
    sh::say(format!("{} is drawn", report.display()));
    let top = folder.join("top.png");
    let screen = terminal::screen(&agent, &stage)?;
    page::shoot(&screen, "top", terminal::PIXELS, &stage, &top)?;
    sh::say(format!("{} is drawn", top.display()));
    ensure!(
        wrong == 0,
        "{wrong} queries have no plausible answer; the lines above say which"
    );
    Ok(())
}

/// The agent that is given, else one that is built for `verb`.
fn agent(given: Option<&Path>, verb: &str) -> Result<PathBuf> {
    ensure!(
        sh::is_root(),
        "the agent loads eBPF programs and so needs root: run `sudo -E cargo xtask {verb}`"
    );
    if let Some(agent) = given {
        return Ok(agent.to_owned());
    }
    setup::for_build()?;
    build::ebpf()?;
    build::agent(true)?;
    Ok(repo::release("mcpsonar"))
}

/// One line for each query that has no plain answer. The number of those that should have one.
fn tell(answers: &Answers) -> usize {
    let (mut full, mut wrong) = (0, 0);
    for (query, verdict) in answers.verdicts() {
        match verdict {
            Verdict::Answered(_) => full += 1,
            Verdict::Expected(why) => println!("none, as {why}: {query}"),
            Verdict::NotFed(metrics) => {
                wrong += 1;
                println!("NOT FED: {} ({query})", metrics.join(", "));
            }
            Verdict::NothingToTell => println!("does not hold: {query}"),
            Verdict::Wrong(why) => {
                wrong += 1;
                println!("WRONG: {why}: {query}");
            }
        }
    }
    println!("{full} queries have an answer");
    wrong
}
