//! A thousand sessions with a stream each, of which nobody says anything: they cost little and none is lost.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::fixture::score::score;
use mcpsonar_tests::harness::usage::memory_kib;
use mcpsonar_tests::harness::{Guard, Listening, Trace, fixture, pick, wait_within};

/// Sessions beyond the first ten.
const SESSIONS: u64 = 1000;
/// What one may add to the agent: both of its ends are here, so it has two sockets.
const EACH: u64 = 4 * 1024;
/// Until what is kept of the calls at its beginning, for others that might follow, is forgotten and given back.
const QUIET: Duration = Duration::from_secs(60);

/// Memory of a process, in bytes: all that is resident, and of it what is its own. Beside that, the ring that it shares
/// with the kernel becomes resident page by page, up to a size that is fixed.
fn memory(pid: u32) -> Result<[u64; 2]> {
    Ok([memory_kib(pid, "VmRSS")? * 1024, memory_kib(pid, "RssAnon")? * 1024])
}

#[test]
fn a_thousand_streams_cost_little_and_none_is_lost() -> Result<()> {
    let trace = Trace::new("idle")?;
    let agent = trace.attach(&[])?;
    let server = Listening::start(Command::new(fixture()).arg("http-server"))?;
    let mut client = Command::new(fixture());
    client
        .args([
            "http-client",
            "--script",
            "idle",
            "--share",
            "--truth",
            &trace.truth(),
            "--calls",
        ])
        .args([&SESSIONS.to_string(), &server.url]);
    let mut client = Guard::spawn(client.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let mut output = BufReader::new(client.stdout.take().context("no output")?);
    let mut input = client.stdin.take().context("no input")?;
    let mut ready = || -> Result<()> {
        let mut line = String::new();
        output.read_line(&mut line)?;
        ensure!(line == "READY\n", "the client said {line:?}");
        // What is on its way to the agent arrives.
        std::thread::sleep(Duration::from_millis(700));
        Ok(())
    };
    ready()?;
    let before = memory(agent.agent.id())?;
    writeln!(input)?;
    ready()?;
    let quiet = Instant::now();
    let (own, all) = loop {
        let after = memory(agent.agent.id())?;
        let [all, own] = [0, 1].map(|which: usize| after[which].saturating_sub(before[which]) / SESSIONS);
        if own < EACH || quiet.elapsed() > QUIET {
            break (own, all);
        }
        std::thread::sleep(Duration::from_millis(500));
    };
    println!(
        "{own} bytes a session, {all} with the ring, after {:?}",
        quiet.elapsed()
    );
    writeln!(input)?;
    let status = wait_within(&mut client, Duration::from_secs(60))?;
    ensure!(status.success(), "the client ended with {status}");
    let run = agent.stop()?;
    let score = score(&run.truth, &run.calls);
    ensure!(score.perfect(), "{}", serde_json::to_string_pretty(&score)?);
    let asked = pick(&run.calls, "method", "roots/list");
    ensure!(asked.len() as u64 == SESSIONS + 10, "{} streams spoke", asked.len());
    ensure!(own < EACH, "{own} bytes a session");
    Ok(())
}
