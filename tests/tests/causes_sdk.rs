//! As `causes.rs`, by a server on a real SDK: what it does itself is among what is seen.

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::harness::causes::{caused, enough, parts_fill_the_window};
use mcpsonar_tests::harness::sdk::{need_sdks, server};
use mcpsonar_tests::harness::{Run, Trace, check_lines, fixture, pick};
use serde_json::Value;

/// Calls of each tool: a hundred when there is time.
fn calls() -> usize {
    if std::env::var_os("MCPSONAR_LONG").is_some() {
        100
    } else {
        20
    }
}

fn traced(trace: &Trace, script: &[&str]) -> Result<Run> {
    need_sdks()?;
    let (fixture, truth, calls) = (fixture(), trace.truth(), calls().to_string());
    let head = [&fixture, "client", "--truth", &truth, "--calls", &calls];
    let mut line: Vec<String> = head.iter().chain(script).map(|word| (*word).to_owned()).collect();
    line.push("--".to_owned());
    line.extend(server("py-faults")?);
    let run = trace.run(&line)?;
    ensure!(run.status.success(), "ended with {}:\n{}", run.status, run.stderr);
    check_lines(&run.calls)?;
    Ok(run)
}

/// Calls of a tool, which are due to this.
fn work(tool: &str, ms: &str, cause: &str) -> Result<Run> {
    let trace = Trace::new(&format!("causes_sdk_{tool}"))?;
    let run = traced(&trace, &["--script", "work", "--tool", tool, "--ms", ms])?;
    let of_tool = pick(&run.calls, "tool", tool);
    ensure!(of_tool.len() == calls(), "{} calls", of_tool.len());
    for call in of_tool {
        parts_fill_the_window(call).with_context(|| format!("in {call}"))?;
    }
    caused(&run, tool, cause)?;
    Ok(run)
}

#[test]
fn computing() -> Result<()> {
    work("burn", "40", "on_cpu").map(drop)
}

#[test]
fn sleeping() -> Result<()> {
    work("hold", "50", "lock_or_timer").map(drop)
}

#[test]
fn waiting_for_a_lock() -> Result<()> {
    work("lock", "40", "lock_or_timer").map(drop)
}

#[test]
fn waiting_for_the_disk() -> Result<()> {
    work("fsync", "40", "disk").map(drop)
}

#[test]
fn starving() -> Result<()> {
    work("starve", "20", "run_queue").map(drop)
}

#[test]
fn waiting_for_memory() -> Result<()> {
    work("reclaim", "60", "memory").map(drop)
}

#[test]
fn being_throttled() -> Result<()> {
    work("throttle", "10", "throttled").map(drop)
}

/// The first upstream of each call is of this kind.
fn upstream(run: &Run, tool: &str, kind: &str) -> Result<()> {
    let calls = pick(&run.calls, "tool", tool);
    enough(&calls, kind, |call| call["upstreams"][0]["kind"] == kind)
}

#[test]
fn waiting_for_a_child() -> Result<()> {
    upstream(&work("shell", "50", "upstream")?, "shell", "process")
}

#[test]
fn waiting_for_another_host() -> Result<()> {
    upstream(&work("fetch", "50", "upstream")?, "fetch", "connection")
}

#[test]
fn waiting_for_a_name_server() -> Result<()> {
    upstream(&work("lookup", "50", "upstream")?, "lookup", "lookup")
}

#[test]
fn a_client_that_does_not_read() -> Result<()> {
    let trace = Trace::new("causes_sdk_unread")?;
    let run = traced(&trace, &["--script", "unread", "--ms", "60"])?;
    let of_tool = pick(&run.calls, "tool", "big");
    ensure!(of_tool.len() == calls(), "{} calls", of_tool.len());
    let part = |call: &Value, part: &str| call["parts_us"][part].as_f64().unwrap_or(0.0);
    enough(&of_tool, "answer lay unread", |call| {
        let unread = part(call, "response_queue") + part(call, "transfer");
        Some(unread * 2.0) > call["latency_us"].as_f64()
    })
}

#[test]
fn a_client_that_gives_up() -> Result<()> {
    let thresholds = r#"{"flags":{"client_timed_out":{"warn":19,"min_wait_ms":30}}}"#;
    let trace = Trace::new("causes_sdk_impatient")?.flags(thresholds)?;
    let run = traced(&trace, &["--script", "impatient", "--ms", "40"])?;
    let of_tool = pick(&run.calls, "tool", "slow");
    ensure!(of_tool.len() == calls(), "{} calls", of_tool.len());
    enough(&of_tool, "given up by the client", |call| {
        call["outcome"] == "cancelled"
    })?;
    let raised = |event: &Value| event["event"] == "raised" && event["flag"] == "client_timed_out";
    ensure!(trace.events()?.iter().any(raised), "no flag was raised");
    Ok(())
}
