//! Servers that crash, hang, grow or are left behind: flagged within half a minute, and no longer than it lasts.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::fixture::{group, truth};
use mcpsonar_tests::harness::sdk::{need_sdks, server};
use mcpsonar_tests::harness::{Holder, Trace, fixture};
use serde_json::Value;

/// How long it may take until a condition is told of, or its end.
const LIMIT: Duration = Duration::from_secs(30);
/// Memory that a server which grows may have: about forty seconds of growth.
const ROOM_MIB: &str = "400";
/// What would take minutes or hours takes seconds.
const SCALED: &str = r#"{"flags": {
    "hung": {"warn": 5},
    "idle": {"warn": 20},
    "spinning": {"warn": 0.3, "clear": 0.1},
    "crashed": {"quiet_s": 10},
    "oom_killed": {"quiet_s": 10}
}}"#;

fn is_of(pid: u32) -> impl Fn(&Value) -> bool {
    move |event| event["subject"]["pid"] == pid
}

fn raised(trace: &Trace, flag: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
    trace.wait_event("raised", flag, LIMIT, is_it)
}

fn cleared(trace: &Trace, flag: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
    trace.wait_event("cleared", flag, LIMIT, is_it)
}

/// Runs a fixture client whose server is killed with calls on their way.
fn crash(trace: &Trace) -> Result<()> {
    let path = trace.file("crash");
    Command::new(fixture())
        .args(["client", "--script", "kill", "--truth"])
        .arg(&path)
        .args(["--", &fixture(), "server"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    let lines: Vec<Value> = truth::load(&path)?;
    lines.first().context("a client without a server").map(drop)
}

/// The kernel has killed the server that grew when it had been said that it would.
fn killed_in_time(trace: &Trace, pid: u32) -> Result<()> {
    let grows = raised(trace, "memory_growth", is_of(pid))?;
    let limit = Duration::from_secs(60);
    let killed = trace.wait_event("raised", "oom_killed", limit, is_of(pid))?;
    ensure!(killed["evidence"]["pending"] == 1, "calls in flight in {killed}");
    let at = |event: &Value| event["at_mono_ns"].as_f64().context("no time").map(|ns| ns / 1e9);
    let took = at(&killed)? - at(&grows)?;
    let told = grows["evidence"]["seconds_to_oom"].as_f64().context("no estimate")?;
    println!("killed after {took:.1} s, which had been said to be {told:.1} s");
    ensure!(
        (told - took).abs() <= took * 0.2,
        "killed after {took} s and not after {told} s: {grows}"
    );
    raised(trace, "crashed", |event| event["evidence"]["pid"] == pid)?;
    Ok(())
}

#[test]
fn servers_that_are_left_behind_or_do_not_work() -> Result<()> {
    group::sweep();
    let trace = Trace::new("lifecycle")?.flags(SCALED)?;
    let agent = trace.attach(&[])?;
    let grows = Holder::start(&["--call", "grow", "--ms", "600000"], &["--limit-memory", ROOM_MIB])?;
    let mut orphan = Holder::start(&[], &["--linger", "--spin"])?;
    let abandoned = Holder::start(&["--close"], &["--linger"])?;
    let twins = Holder::start(&["--servers", "3"], &[])?;
    let hung = Holder::start(&["--call", "hold", "--ms", "40000"], &[])?;
    crash(&trace)?;
    orphan.kill_client()?;

    let is_twins = |event: &Value| event["subject"]["client_pid"] == twins.client.id();
    raised(&trace, "crashed", |_| true)?;
    raised(&trace, "orphaned", is_of(orphan.servers[0]))?;
    raised(&trace, "abandoned", is_of(abandoned.servers[0]))?;
    let alike = raised(&trace, "duplicate_servers", is_twins)?;
    ensure!(alike["evidence"]["count"] == 3, "{alike}");
    raised(&trace, "hung", is_of(hung.servers[0]))?;
    raised(&trace, "spinning", is_of(orphan.servers[0]))?;
    raised(&trace, "idle", is_of(twins.servers[0]))?;

    orphan.kill_servers();
    abandoned.kill_servers();
    twins.kill_servers();
    cleared(&trace, "spinning", is_of(orphan.servers[0]))?;
    cleared(&trace, "orphaned", is_of(orphan.servers[0]))?;
    cleared(&trace, "abandoned", is_of(abandoned.servers[0]))?;
    cleared(&trace, "duplicate_servers", is_twins)?;
    cleared(&trace, "idle", is_of(twins.servers[0]))?;
    killed_in_time(&trace, grows.servers[0])?;
    let answered = cleared(&trace, "hung", is_of(hung.servers[0]))?;
    ensure!(answered["cleared_because"] == "recovered", "{answered}");
    cleared(&trace, "memory_growth", is_of(grows.servers[0]))?;
    cleared(&trace, "crashed", |_| true)?;
    cleared(&trace, "oom_killed", is_of(grows.servers[0]))?;
    agent.stop()?;
    group::sweep();
    Ok(())
}

#[test]
fn the_same_with_servers_on_an_sdk() -> Result<()> {
    need_sdks()?;
    let trace = Trace::new("lifecycle_sdk")?.flags(SCALED)?;
    let agent = trace.attach(&[])?;
    let mut lingering = server("py-faults")?;
    lingering.push("--linger".to_owned());
    let mut orphan = Holder::with(&[], &lingering)?;
    let twins = Holder::with(&["--servers", "2"], &server("py-faults")?)?;
    let hung = Holder::with(&["--call", "hold", "--ms", "25000"], &server("py-faults")?)?;
    orphan.kill_client()?;
    let is_twins = |event: &Value| event["subject"]["client_pid"] == twins.client.id();
    raised(&trace, "orphaned", is_of(orphan.servers[0]))?;
    raised(&trace, "duplicate_servers", is_twins)?;
    raised(&trace, "hung", is_of(hung.servers[0]))?;
    orphan.kill_servers();
    twins.kill_servers();
    cleared(&trace, "orphaned", is_of(orphan.servers[0]))?;
    cleared(&trace, "duplicate_servers", is_twins)?;
    cleared(&trace, "hung", is_of(hung.servers[0]))?;
    agent.stop()?;
    Ok(())
}
