//! What calls are slow from: one way of spending time at a time, and the right name for it.

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::fixture::group;
use mcpsonar_tests::fixture::work::FETCHED;
use mcpsonar_tests::harness::causes::{caused, enough, parts_fill_the_window, took};
use mcpsonar_tests::harness::{Run, Trace, check_lines, pick};
use serde_json::Value;

/// Calls of each tool.
const CALLS: usize = 100;
/// Of those the cause is to be right in so many.
const RIGHT: usize = 95;

/// Traces calls of a tool.
fn work(tool: &str, ms: u32) -> Result<Run> {
    let (calls, ms) = (CALLS.to_string(), ms.to_string());
    let script = ["--script", "work", "--tool", tool, "--ms", &ms, "--calls", &calls];
    let run = Trace::new(&format!("causes_{tool}"))?.client(&script, &[])?;
    check_lines(&run.calls)?;
    let of_tool = pick(&run.calls, "tool", tool);
    ensure!(of_tool.len() == CALLS, "{} calls", of_tool.len());
    for call in of_tool {
        parts_fill_the_window(call).with_context(|| format!("in {call}"))?;
    }
    Ok(run)
}

#[test]
fn computing() -> Result<()> {
    let run = work("burn", 20)?;
    caused(&run, "burn", "on_cpu")?;
    let took = took(&run)?;
    let mut exact = 0;
    for call in pick(&run.calls, "tool", "burn") {
        let took = took
            .get(&call["request_id"].to_string())
            .context("a call that nobody made")?;
        let nanos = |cause: &str| call["causes_us"][cause].as_f64().map(|us| us * 1000.0);
        let (on_cpu, run_queue) = nanos("on_cpu").zip(nanos("run_queue")).context("no causes")?;
        let near = |seen: f64, true_: f64| (seen - true_).abs() <= took.cpu * 0.03;
        exact += usize::from(near(on_cpu, took.cpu) && near(run_queue, took.wall - took.cpu));
    }
    // Time that the hypervisor has taken is taken from whom the kernel sees fit.
    ensure!(
        exact >= RIGHT,
        "of {exact} of {CALLS} calls the CPU time was right within 3 %"
    );
    Ok(())
}

#[test]
fn another_thread_computes() -> Result<()> {
    caused(&work("pool", 20)?, "pool", "on_cpu")
}

#[test]
fn sleeping() -> Result<()> {
    // Its tool is older than the clocks.
    let run = work("hold", 50)?;
    let calls = pick(&run.calls, "dominant_cause", "lock_or_timer").len();
    ensure!(calls >= RIGHT, "{calls} of {CALLS} calls were due to sleep");
    Ok(())
}

#[test]
fn waiting_for_a_lock() -> Result<()> {
    caused(&work("lock", 20)?, "lock", "lock_or_timer")
}

#[test]
fn waiting_for_the_disk() -> Result<()> {
    caused(&work("fsync", 20)?, "fsync", "disk")
}

#[test]
fn starving() -> Result<()> {
    caused(&work("starve", 10)?, "starve", "run_queue")
}

#[test]
fn waiting_for_a_child() -> Result<()> {
    let run = work("shell", 30)?;
    caused(&run, "shell", "upstream")?;
    for call in pick(&run.calls, "tool", "shell") {
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
    let run = work("fetch", 30)?;
    caused(&run, "fetch", "upstream")?;
    for call in pick(&run.calls, "tool", "fetch") {
        waited_for(call, "connection", None, 30.0)?;
        let upstream = &call["upstreams"][0];
        ensure!(upstream["bytes"] == FETCHED, "moved {}", upstream["bytes"]);
        ensure!(upstream["connect_us"].as_f64() > Some(0.0), "no connection");
    }
    Ok(())
}

#[test]
fn waiting_for_a_name_server() -> Result<()> {
    let run = work("lookup", 30)?;
    caused(&run, "lookup", "upstream")?;
    for call in pick(&run.calls, "tool", "lookup") {
        waited_for(call, "lookup", Some("slow.test"), 30.0)?;
    }
    Ok(())
}

#[test]
fn waiting_for_memory() -> Result<()> {
    let run = work("reclaim", 30);
    group::sweep();
    caused(&run?, "reclaim", "memory")
}

#[test]
fn being_throttled() -> Result<()> {
    caused(&work("throttle", 5)?, "throttle", "throttled")
}

/// How much of the latency these parts hold.
fn share(call: &Value, parts: &[&str]) -> f64 {
    let part = |part: &&str| call["parts_us"][*part].as_f64().unwrap_or(0.0);
    parts.iter().map(part).sum::<f64>() / call["latency_us"].as_f64().unwrap_or(f64::INFINITY)
}

#[test]
fn being_overloaded() -> Result<()> {
    let script = ["--script", "overload", "--calls", "100", "--ms", "5"];
    let run = Trace::new("causes_overload")?.client(&script, &["--read-size", "4096"])?;
    let calls = pick(&run.calls, "tool", "hold");
    ensure!(calls.len() == CALLS, "{} calls", calls.len());
    // The server's buffer may have the beginning of a request long before its end.
    enough(&calls, "waited to be read", |call| {
        share(call, &["request_queue", "transfer"]) > 0.5
    })
}

#[test]
fn a_client_that_does_not_read() -> Result<()> {
    let script = ["--script", "unread", "--calls", "100", "--ms", "30"];
    let run = Trace::new("causes_unread")?.client(&script, &[])?;
    let calls = pick(&run.calls, "tool", "big");
    ensure!(calls.len() == CALLS, "{} calls", calls.len());
    enough(&calls, "answer lay unread", |call| {
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
    let thresholds = r#"{"flags":{"client_timed_out":{"warn":95,"min_wait_ms":30}}}"#;
    let trace = Trace::new("causes_impatient")?.flags(thresholds)?;
    let run = trace.client(&["--script", "impatient", "--calls", "100", "--ms", "40"], &[])?;
    let calls = pick(&run.calls, "tool", "sleep");
    ensure!(calls.len() == CALLS, "{} calls", calls.len());
    enough(&calls, "given up by the client", |call| {
        call["outcome"] == "cancelled" && call["latency_us"].as_f64() >= Some(40_000.0)
    })?;
    for flag in ["client_timed_out", "response_after_cancel"] {
        let raised = |event: &Value| event["event"] == "raised" && event["flag"] == flag;
        ensure!(trace.events()?.iter().any(raised), "{flag} was not raised");
    }
    Ok(())
}
