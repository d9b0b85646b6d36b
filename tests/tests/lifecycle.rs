//! Servers that crash or are left behind: flagged within half a minute, and no longer than it lasts.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use mcpsonar_tests::fixture::{sys, truth};
use mcpsonar_tests::harness::{Trace, fixture};
use serde_json::Value;

/// How long it may take until a condition is told of, or its end.
const LIMIT: Duration = Duration::from_secs(30);

/// A server without its client, which is ended with the test.
struct LeftBehind(u64);

impl Drop for LeftBehind {
    fn drop(&mut self) {
        if let Ok(pid) = u32::try_from(self.0) {
            // Gone already is as good.
            sys::kill(pid, libc::SIGKILL).unwrap_or_default();
        }
    }
}

/// Waits for an event of a flag.
fn wait(trace: &Trace, event: &str, flag: &str, is_it: impl Fn(&Value) -> bool) -> Result<()> {
    let since = Instant::now();
    while since.elapsed() < LIMIT {
        let events = std::fs::read_to_string(trace.file("events"))?;
        let events = events
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let found = |line: &Value| line["event"] == event && line["flag"] == flag && is_it(line);
        if events.into_iter().any(|line| found(&line)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("{flag} was not {event} within {LIMIT:?}");
}

/// Runs a fixture client that does not end well; gives the pid of its server.
fn client(trace: &Trace, script: &str, server: &[&str]) -> Result<u64> {
    let path = trace.file(script);
    let status = Command::new(fixture())
        .args(["client", "--script", script, "--truth"])
        .arg(&path)
        .args(["--", &fixture(), "server"])
        .args(server)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    let lines: Vec<Value> = truth::load(&path)?;
    let pid = lines.first().and_then(|line| line["server_pid"].as_u64());
    pid.with_context(|| format!("a client without a server; it ended with {status}"))
}

#[test]
fn a_server_that_crashes_and_one_that_is_left_behind() -> Result<()> {
    let trace = Trace::new("lifecycle")?;
    let events = trace.file("events");
    let events = events.to_str().context("a path that is no text")?.to_owned();
    let trace = trace.options(&["--events", &events]);
    let agent = trace.attach(&[])?;
    client(&trace, "kill", &[])?;
    let orphan = LeftBehind(client(&trace, "die", &["--linger"])?);
    let is_orphan = |event: &Value| event["subject"]["pid"] == orphan.0;
    wait(&trace, "raised", "crashed", |_| true)?;
    wait(&trace, "raised", "orphaned", is_orphan)?;
    ensure!(
        std::path::Path::new(&format!("/proc/{}", orphan.0)).exists(),
        "the orphan has ended"
    );
    let pid = orphan.0;
    drop(orphan);
    wait(&trace, "cleared", "orphaned", |event| event["subject"]["pid"] == pid)?;
    agent.stop()?;
    Ok(())
}
