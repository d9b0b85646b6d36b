//! What calls are slow from: one way of spending time at a time, and the right name for it.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::fixture::work::{FETCHED, META_CPU, META_WAITED, META_WALL};
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
    for call in pick(&run.calls, "tool", tool) {
        parts_fill_the_window(call).with_context(|| format!("in {call}"))?;
    }
    Ok(run)
}

fn parts_fill_the_window(call: &Value) -> Result<()> {
    let window = call["parts_us"]["server"].as_f64().context("no server window")?;
    let causes = call["causes_us"].as_object().context("no causes")?;
    let parts: Option<Vec<f64>> = causes.values().map(Value::as_f64).collect();
    let parts = parts.context("a cause is not known")?;
    ensure!(parts.iter().all(|part| *part >= 0.0), "a negative cause");
    let sum: f64 = parts.iter().sum();
    ensure!(
        (sum - window).abs() <= window / 100.0,
        "the causes sum to {sum}, the window is {window}"
    );
    ensure!(
        call["shared_window"] == false,
        "calls one after another share their window"
    );
    let dominant = call["dominant_cause"].as_str();
    let most = causes.iter().find(|(_, part)| part.as_f64() > Some(sum / 2.0));
    ensure!(dominant == most.map(|(name, _)| &**name), "the dominant cause");
    Ok(())
}

/// What a tool said that it took: nanoseconds on a CPU, waiting for one, and in all.
struct Took {
    cpu: f64,
    waited: f64,
    wall: f64,
}

fn took(run: &Run) -> Result<HashMap<String, Took>> {
    let line = |line: &str| -> Result<(String, Took)> {
        let told: Value = serde_json::from_str(line)?;
        let number = |key| {
            told["took"][key]
                .as_f64()
                .with_context(|| format!("{line} has no {key}"))
        };
        let took = Took {
            cpu: number(META_CPU)?,
            waited: number(META_WAITED)?,
            wall: number(META_WALL)?,
        };
        Ok((told["id"].to_string(), took))
    };
    run.stdout.lines().map(line).collect()
}

/// Enough calls have this dominant cause. Where the scheduler itself says that the tool's threads
/// waited for a CPU most of the time, that is the right one.
fn caused(run: &Run, tool: &str, cause: &str) -> Result<()> {
    let calls = pick(&run.calls, "tool", tool);
    ensure!(calls.len() == CALLS, "{} calls", calls.len());
    let took = took(run)?;
    let starved = |call: &Value| {
        let took = took.get(&call["request_id"].to_string());
        took.is_some_and(|took| took.waited > took.wall * 0.45)
    };
    let is_right = |call: &Value| {
        call["dominant_cause"] == cause
            || starved(call) && (call["dominant_cause"] == "run_queue" || call["dominant_cause"].is_null())
    };
    let right = calls.iter().filter(|call| is_right(call)).count();
    let wrong = calls.iter().find(|call| !is_right(call));
    ensure!(
        right >= RIGHT,
        "{right} of {CALLS} calls were due to {cause}; one that was not: {wrong:?}"
    );
    Ok(())
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
    // The server's buffer may have the beginning of a request long before its end.
    let queued = |call: &&&Value| share(call, &["request_queue", "transfer"]) > 0.5;
    let right = calls.iter().filter(queued).count();
    ensure!(
        calls.len() == CALLS && right >= RIGHT,
        "{right} of {} calls waited to be read",
        calls.len()
    );
    Ok(())
}

#[test]
fn a_client_that_does_not_read() -> Result<()> {
    let run = Trace::new("causes_slowread")?.client(&["--script", "slowread"], &[])?;
    let calls = pick(&run.calls, "tool", "big");
    // The first answer may be read by a read that was under way. The second fills the pipe; the others
    // are written to one that is full, and their server cannot begin before.
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
