//! As `causes.rs`, by a server on a real SDK: what it does itself is among what is seen.

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::harness::causes::{caused, enough, full_or, parts_fill_the_window};
use mcpsonar_tests::harness::sdk::{need_sdks, server};
use mcpsonar_tests::harness::{Run, Trace, check_lines, fixture, pick};
use serde_json::{Value, json};

/// The tools, and for how many milliseconds each works. Those that never leave their control group come last.
const WORK: &str = "burn:40,hold:50,lock:40,fsync:40,starve:20,shell:50,fetch:50,lookup:50,reclaim:60,throttle:10";

/// Calls of each tool.
fn calls() -> usize {
    full_or(20)
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

#[test]
fn each_tool_spends_its_time_in_its_own_way() -> Result<()> {
    let run = traced(
        &Trace::new("causes_sdk")?,
        &["--script", "work", "--due", "--tool", WORK],
    )?;
    for (tool, cause) in [
        ("burn", "on_cpu"),
        ("hold", "lock_or_timer"),
        ("lock", "lock_or_timer"),
        ("fsync", "disk"),
        ("starve", "run_queue"),
        ("shell", "upstream"),
        ("fetch", "upstream"),
        ("lookup", "upstream"),
        ("throttle", "throttled"),
        ("reclaim", "memory"),
    ] {
        for call in pick(&run.calls, "tool", tool) {
            parts_fill_the_window(call).with_context(|| format!("in {call}"))?;
        }
        caused(&run, tool, cause, calls())?;
    }
    for (tool, kind) in [("shell", "process"), ("fetch", "connection"), ("lookup", "lookup")] {
        let of_tool = pick(&run.calls, "tool", tool);
        enough(&of_tool, kind, |call| call["upstreams"][0]["kind"] == kind)?;
    }
    Ok(())
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
    let thresholds = json!({ "flags": { "client_timed_out": { "warn": calls() - 1, "min_wait_ms": 30 } } });
    let trace = Trace::new("causes_sdk_impatient")?.flags(&thresholds.to_string())?;
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
