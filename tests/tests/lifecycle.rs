//! Servers that crash, hang, grow or are left behind: flagged within half a minute, and no longer than it lasts.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use mcpsonar_tests::fixture::{group, sys, truth};
use mcpsonar_tests::harness::causes::is_full;
use mcpsonar_tests::harness::sdk::{need_sdks, server};
use mcpsonar_tests::harness::{Holder, Trace, fixture};
use serde_json::Value;

/// How long it may take until a condition is told of, or its end.
const LIMIT: Duration = Duration::from_secs(30);
/// Memory that a server which grows may have: about forty seconds of growth.
const ROOM_MIB: &str = "400";
/// Memory of one that is killed for want of it soon.
const LITTLE_MIB: &str = "48";
/// Bytes of memory in one of those.
const MIB: f64 = 1024.0 * 1024.0;
/// What would take minutes or hours takes seconds.
const SCALED: &str = r#"{"flags": {
    "hung": {"warn": 5},
    "idle": {"warn": 8},
    "spinning": {"warn": 0.3, "clear": 0.1},
    "crashed": {"quiet_s": 5},
    "oom_killed": {"quiet_s": 5}
}}"#;

/// Has servers be as they should not, and waits until that is told of, and then its end.
type Fault = fn(&Trace) -> Result<()>;

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

/// Resident memory in bytes.
fn resident(pid: u32) -> Result<f64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = statm.split(' ').nth(1).context("no resident pages")?;
    Ok(pages.parse::<f64>()? * sys::page_size() as f64)
}

/// A server that grows under a limit: the time to its end is told, right within a fifth.
fn grows(trace: &Trace) -> Result<()> {
    let holder = Holder::start(&["--call", "grow", "--ms", "600000"], &["--limit-memory", ROOM_MIB])?;
    let (pid, began) = (holder.servers[0], Instant::now());
    let first = resident(pid)?;
    let grows = raised(trace, "memory_growth", is_of(pid))?;
    let told = grows["evidence"]["seconds_to_oom"].as_f64().context("no estimate")?;
    let after = began.elapsed().as_secs_f64();
    let now = resident(pid)?;
    let rate = (now - first) / after;
    let left = (ROOM_MIB.parse::<f64>()? * MIB - now) / rate;
    println!("{told:.1} s were said to be left, and {left:.1} s were");
    if is_full() {
        let limit = Duration::from_secs(60);
        let killed = trace.wait_event("raised", "oom_killed", limit, is_of(pid))?;
        let at = |event: &Value| event["at_mono_ns"].as_f64().context("no time").map(|ns| ns / 1e9);
        let took = at(&killed)? - at(&grows)?;
        println!("killed after {took:.1} s");
        ensure!(
            (told - took).abs() <= took * 0.2,
            "killed after {took} s and not after {told} s: {grows}"
        );
        raised(trace, "crashed", |event| event["evidence"]["pid"] == pid)?;
    } else {
        // The event is a moment old, and the process has memory that the group does not count.
        ensure!(
            (told - left).abs() <= left * 0.2 + 1.0,
            "{told} s and not {left} s: {grows}"
        );
        holder.kill_servers();
    }
    cleared(trace, "memory_growth", is_of(pid)).map(drop)
}

/// A server that is killed for want of memory, with a call in flight.
fn runs_out_of_memory(trace: &Trace) -> Result<()> {
    let holder = Holder::start(&["--call", "grow", "--ms", "600000"], &["--limit-memory", LITTLE_MIB])?;
    let pid = holder.servers[0];
    let killed = raised(trace, "oom_killed", is_of(pid))?;
    ensure!(killed["evidence"]["pending"] == 1, "calls in flight in {killed}");
    cleared(trace, "oom_killed", is_of(pid)).map(drop)
}

/// Servers of the fixture that are left behind or do nothing.
fn fixtures(trace: &Trace) -> Result<()> {
    let mut orphan = Holder::start(&[], &["--linger", "--spin"])?;
    let abandoned = Holder::start(&["--close"], &["--linger"])?;
    let twins = Holder::start(&["--servers", "3"], &[])?;
    let hung = Holder::start(&["--call", "hold", "--ms", "22000"], &[])?;
    crash(trace)?;
    orphan.kill_client()?;

    let is_twins = |event: &Value| event["subject"]["client_pid"] == twins.client.id();
    raised(trace, "crashed", |_| true)?;
    raised(trace, "orphaned", is_of(orphan.servers[0]))?;
    raised(trace, "abandoned", is_of(abandoned.servers[0]))?;
    let alike = raised(trace, "duplicate_servers", is_twins)?;
    ensure!(alike["evidence"]["count"] == 3, "{alike}");
    raised(trace, "hung", is_of(hung.servers[0]))?;
    raised(trace, "spinning", is_of(orphan.servers[0]))?;
    raised(trace, "idle", is_of(twins.servers[0]))?;

    orphan.kill_servers();
    abandoned.kill_servers();
    twins.kill_servers();
    cleared(trace, "spinning", is_of(orphan.servers[0]))?;
    cleared(trace, "orphaned", is_of(orphan.servers[0]))?;
    cleared(trace, "abandoned", is_of(abandoned.servers[0]))?;
    cleared(trace, "duplicate_servers", is_twins)?;
    cleared(trace, "idle", is_of(twins.servers[0]))?;
    let answered = cleared(trace, "hung", is_of(hung.servers[0]))?;
    ensure!(answered["cleared_because"] == "recovered", "{answered}");
    cleared(trace, "crashed", |_| true).map(drop)
}

/// The same with servers on a real SDK.
fn servers_on_an_sdk(trace: &Trace) -> Result<()> {
    let plain = server("py-faults")?;
    let lingering = [plain.as_slice(), &["--linger".to_owned()]].concat();
    // At once: an interpreter takes seconds to start.
    let [orphan, twins, hung] = thread::scope(|scope| {
        [
            scope.spawn(|| Holder::with(&[], &lingering)),
            scope.spawn(|| Holder::with(&["--servers", "2"], &plain)),
            scope.spawn(|| Holder::with(&["--call", "hold", "--ms", "18000"], &plain)),
        ]
        .map(|started| started.join().unwrap_or_else(|_panic| bail!("panicked")))
    });
    let (mut orphan, twins, hung) = (orphan?, twins?, hung?);
    orphan.kill_client()?;
    let is_twins = |event: &Value| event["subject"]["client_pid"] == twins.client.id();
    raised(trace, "orphaned", is_of(orphan.servers[0]))?;
    raised(trace, "duplicate_servers", is_twins)?;
    raised(trace, "hung", is_of(hung.servers[0]))?;
    orphan.kill_servers();
    twins.kill_servers();
    cleared(trace, "orphaned", is_of(orphan.servers[0]))?;
    cleared(trace, "duplicate_servers", is_twins)?;
    cleared(trace, "hung", is_of(hung.servers[0])).map(drop)
}

/// All at once, for most of it is waiting.
#[test]
fn servers_that_are_left_behind_or_do_not_work() -> Result<()> {
    need_sdks()?;
    group::sweep();
    let trace = Trace::new("lifecycle")?.flags(SCALED)?;
    let agent = trace.attach(&[])?;
    let faults: [(&str, Fault); 4] = [
        ("a server that grows", grows),
        ("a server that runs out of memory", runs_out_of_memory),
        ("servers of the fixture", fixtures),
        ("servers on an SDK", servers_on_an_sdk),
    ];
    let trace = &trace;
    let results = thread::scope(|scope| {
        let running = faults.map(|(what, fault)| (what, scope.spawn(move || fault(trace))));
        running.map(|(what, running)| {
            let result = running.join().unwrap_or_else(|_panic| bail!("panicked"));
            result.context(what)
        })
    });
    group::sweep();
    agent.stop()?;
    // All of them, should several be wrong.
    for result in results.iter().filter_map(|result| result.as_ref().err()) {
        println!("{result:#}");
    }
    results.into_iter().collect()
}
