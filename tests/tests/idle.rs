//! A thousand sessions with a stream each, of which nobody says anything: they cost little and none is lost.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::fixture::score::score;
use mcpsonar_tests::harness::{Guard, Trace, fixture, pick, wait_within};

/// Sessions beyond the first ten.
const SESSIONS: u64 = 1000;
/// What one may add to the agent.
const EACH: u64 = 4096;

/// The resident memory of a process, in bytes.
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?.parse()?;
    Ok(kib * 1024)
}

#[test]
fn a_thousand_streams_cost_little_and_none_is_lost() -> Result<()> {
    let trace = Trace::new("idle")?;
    let agent = trace.attach(&[])?;
    let mut server = Guard::spawn(Command::new(fixture()).arg("http-server").stdout(Stdio::piped()))?;
    let mut first = String::new();
    BufReader::new(server.stdout.take().context("no output")?).read_line(&mut first)?;
    let address = first.trim().strip_prefix("listening on ").context("the server does not say where it listens")?;
    let mut client = Command::new(fixture());
    client
        .args(["http-client", "--script", "idle", "--share", "--truth", &trace.truth(), "--calls"])
        .args([&SESSIONS.to_string(), &format!("http://{address}/mcp")]);
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
    let before = resident(agent.agent.id())?;
    writeln!(input)?;
    ready()?;
    let after = resident(agent.agent.id())?;
    writeln!(input)?;
    let status = wait_within(&mut client, Duration::from_secs(60))?;
    ensure!(status.success(), "the client ended with {status}");
    let run = agent.stop()?;
    let score = score(&run.truth, &run.calls);
    ensure!(score.perfect(), "{}", serde_json::to_string_pretty(&score)?);
    let asked = pick(&run.calls, "method", "roots/list");
    ensure!(asked.len() as u64 == SESSIONS + 10, "{} streams spoke", asked.len());
    let grown = after.saturating_sub(before);
    println!("{} bytes a session ({before} to {after})", grown / SESSIONS);
    ensure!(grown < EACH * SESSIONS, "{} bytes a session ({before} to {after})", grown / SESSIONS);
    Ok(())
}
