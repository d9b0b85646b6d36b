//! What calls are slow from: one way of spending time at a time, and the right name for it.

use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::fixture::group;
use mcpsonar_tests::fixture::work::FETCHED;
use mcpsonar_tests::harness::causes::{caused, enough, full_or, parts_fill_the_window, took};
use mcpsonar_tests::harness::{Run, Trace, check_lines, pick};
use serde_json::{Value, json};

/// The tools, and for how many milliseconds each works. Those that never leave their control group come last.
const WORK: &str =
    "burn:20,pool:20,hold:50,lock:20,fsync:20,starve:10,shell:30,fetch:30,lookup:30,reclaim:30,throttle:5";

/// Calls of each tool.
fn calls() -> usize {
    full_or(40)
}

/// Calls of all tools, traced once for all tests.
fn worked() -> Result<&'static Run> {
    static RUN: OnceLock<Result<Run, String>> = OnceLock::new();
    let trace = || {
        let calls = calls().to_string();
        let script = ["--script", "work", "--tool", WORK, "--due", "--calls", &calls];
        let run = Trace::new("causes")?.client(&script, &[]);
        group::sweep();
        let run = run?;
        check_lines(&run.calls)?;
        Ok(run)
    };
    let run = RUN.get_or_init(|| trace().map_err(|error: anyhow::Error| format!("{error:#}")));
    run.as_ref().map_err(anyhow::Error::msg)
}

/// The calls of a tool: each is accounted for in full, and they are due to this.
fn work(tool: &str, cause: &str) -> Result<Vec<&'static Value>> {
    let run = worked()?;
    let of_tool = pick(&run.calls, "tool", tool);
    for call in &of_tool {
        parts_fill_the_window(call).with_context(|| format!("in {call}"))?;
    }
    caused(run, tool, cause, calls())?;
    Ok(of_tool)
}

#[test]
fn computing() -> Result<()> {
    let calls = work("burn", "on_cpu")?;
    let took = took(worked()?)?;
    enough(&calls, "CPU time right within 3 %", |call| {
        let Some(took) = took.get(&call["request_id"].to_string()) else {
            return false;
        };
        let nanos = |cause: &str| call["causes_us"][cause].as_f64().map_or(f64::NAN, |us| us * 1000.0);
        let within = |seen: f64, least: f64, most: f64| {
            let tolerance = took.cpu * 0.03;
            seen >= least - tolerance && seen <= most + tolerance
        };
        // What a hypervisor took is on no clock but the wall's: the kernel leaves it out of the thread's time
        // although no other thread ran.
        let stolen = (took.wall - took.cpu - took.waited).max(0.0);
        within(nanos("on_cpu"), took.cpu, took.cpu + stolen)
            && within(nanos("run_queue"), took.waited, took.waited + stolen)
            && within(nanos("on_cpu") + nanos("run_queue"), took.wall, took.wall)
    })
}

#[test]
fn another_thread_computes() -> Result<()> {
    work("pool", "on_cpu").map(drop)
}

#[test]
fn sleeping() -> Result<()> {
    work("hold", "lock_or_timer").map(drop)
}

#[test]
fn waiting_for_a_lock() -> Result<()> {
    work("lock", "lock_or_timer").map(drop)
}

#[test]
fn waiting_for_the_disk() -> Result<()> {
    work("fsync", "disk").map(drop)
}

#[test]
fn starving() -> Result<()> {
    work("starve", "run_queue").map(drop)
}

#[test]
fn waiting_for_a_child() -> Result<()> {
    for call in work("shell", "upstream")? {
        ensure!(
            call["upstreams"][0]["peer"] == "sleep",
            "waited for {}",
            call["upstreams"]
        );
    }
    Ok(())
}

/// Calls wait for this one upstream, for at least so many milliseconds.
fn waited_for(call: &Value, kind: &str, peer: Option<&str>, ms: f64) -> Result<()> {
    let upstream = &call["upstreams"][0];
    ensure!(upstream["kind"] == kind, "waited for {upstream}");
    ensure!(
        peer.is_none_or(|peer| upstream["peer"] == peer),
        "waited for {upstream}"
    );
    let first_byte = upstream["first_byte_us"].as_f64();
    ensure!(
        first_byte.is_some_and(|us| us >= ms * 1000.0),
        "the first byte came after {first_byte:?} us"
    );
    Ok(())
}

#[test]
fn waiting_for_another_host() -> Result<()> {
    for call in work("fetch", "upstream")? {
        waited_for(call, "connection", None, 30.0)?;
        let upstream = &call["upstreams"][0];
        ensure!(upstream["bytes"] == FETCHED, "moved {}", upstream["bytes"]);
        ensure!(upstream["connect_us"].as_f64() > Some(0.0), "no connection");
    }
    Ok(())
}

#[test]
fn waiting_for_a_name_server() -> Result<()> {
    for call in work("lookup", "upstream")? {
        waited_for(call, "lookup", Some("slow.test"), 30.0)?;
    }
    Ok(())
}

#[test]
fn waiting_for_memory() -> Result<()> {
    work("reclaim", "memory").map(drop)
}

#[test]
fn being_throttled() -> Result<()> {
    work("throttle", "throttled").map(drop)
}

/// How much of the latency these parts hold.
fn share(call: &Value, parts: &[&str]) -> f64 {
    let part = |part: &&str| call["parts_us"][*part].as_f64().unwrap_or(0.0);
    parts.iter().map(part).sum::<f64>() / call["latency_us"].as_f64().unwrap_or(f64::INFINITY)
}

#[test]
fn being_overloaded() -> Result<()> {
    let count = calls().to_string();
    let script = ["--script", "overload", "--calls", &count, "--ms", "5"];
    let run = Trace::new("causes_overload")?.client(&script, &["--read-size", "4096"])?;
    let of_tool = pick(&run.calls, "tool", "hold");
    ensure!(of_tool.len() == calls(), "{} calls", of_tool.len());
    // The server's buffer may have the beginning of a request long before its end.
    enough(&of_tool, "waited to be read", |call| {
        share(call, &["request_queue", "transfer"]) > 0.5
    })
}

#[test]
fn a_client_that_does_not_read() -> Result<()> {
    let count = calls().to_string();
    let script = ["--script", "unread", "--calls", &count, "--ms", "30"];
    let run = Trace::new("causes_unread")?.client(&script, &[])?;
    let of_tool = pick(&run.calls, "tool", "big");
    ensure!(of_tool.len() == calls(), "{} calls", of_tool.len());
    enough(&of_tool, "answer lay unread", |call| {
        share(call, &["response_queue", "transfer"]) > 0.5
    })
}

#[test]
fn a_client_that_does_not_read_several_answers() -> Result<()> {
    let run = Trace::new("causes_slowread")?.client(&["--script", "slowread"], &[])?;
    let calls = pick(&run.calls, "tool", "big");
    // The first answer may be read by a read that was under way. The others are written to a pipe that
    // is full, and their server cannot begin before.
    let unread = |call: &&&Value| share(call, &["response_queue", "transfer"]) > 0.5;
    let blocked = |call: &&&Value| call["dominant_cause"] == "blocked_write";
    let (unread, blocked) = (
        calls.iter().filter(unread).count(),
        calls.iter().filter(blocked).count(),
    );
    ensure!(
        calls.len() == 4 && unread >= 1 && blocked >= 1 && unread + blocked >= 3,
        "of {} answers {unread} lay unread, and {blocked} calls waited for the pipe",
        calls.len()
    );
    Ok(())
}

#[test]
fn a_client_that_gives_up() -> Result<()> {
    let count = calls().to_string();
    let thresholds = json!({ "flags": { "client_timed_out": { "warn": calls() - 1, "min_wait_ms": 30 } } });
    let trace = Trace::new("causes_impatient")?.flags(&thresholds.to_string())?;
    let run = trace.client(&["--script", "impatient", "--calls", &count, "--ms", "40"], &[])?;
    let of_tool = pick(&run.calls, "tool", "sleep");
    ensure!(of_tool.len() == calls(), "{} calls", of_tool.len());
    enough(&of_tool, "given up by the client", |call| {
        call["outcome"] == "cancelled" && call["latency_us"].as_f64() >= Some(40_000.0)
    })?;
    for flag in ["client_timed_out", "response_after_cancel"] {
        let raised = |event: &Value| event["event"] == "raised" && event["flag"] == flag;
        ensure!(trace.events()?.iter().any(raised), "{flag} was not raised");
    }
    Ok(())
}
