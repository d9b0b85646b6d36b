//! What calls are slow from: one way of spending time at a time, and the right name for it.

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::fixture::work::{META_CPU, META_WALL};
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

/// Enough calls have this dominant cause, or where the machine had no CPU for the tool, that one.
fn caused(run: &Run, tool: &str, cause: &str) -> Result<()> {
    let calls = pick(&run.calls, "tool", tool);
    ensure!(calls.len() == CALLS, "{} calls", calls.len());
    let named = |name: &str| calls.iter().filter(|call| call["dominant_cause"] == name).count();
    let right = named(cause);
    let wrong = calls.iter().find(|call| call["dominant_cause"] != cause);
    ensure!(
        right >= RIGHT,
        "{right} of {CALLS} calls were due to {cause}; one that was not: {wrong:?}"
    );
    Ok(())
}

#[test]
fn computing() -> Result<()> {
    let run = work("burn", 20)?;
    let told: Vec<Value> = run.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut starved = 0;
    for took in &told {
        let call = run.calls.iter().find(|call| call["request_id"] == took["id"]);
        let call = call.with_context(|| format!("no call {}", took["id"]))?;
        let (cpu, wall) = (took["cpu_ns"].as_f64(), took["wall_ns"].as_f64());
        let (cpu, wall) = cpu
            .zip(wall)
            .with_context(|| format!("neither {META_CPU} nor {META_WALL}"))?;
        let seen = call["causes_us"]["on_cpu"].as_f64().context("no on_cpu")? * 1000.0;
        ensure!(
            (seen - cpu).abs() <= cpu * 0.03,
            "{seen} ns on a CPU, by the thread's clock {cpu}: {call}"
        );
        starved += usize::from(cpu < wall / 2.0);
    }
    ensure!(told.len() == CALLS, "{} calls", told.len());
    let calls = pick(&run.calls, "dominant_cause", "on_cpu").len();
    ensure!(
        calls + starved >= RIGHT,
        "{calls} of {CALLS} calls were due to computing, {starved} starved"
    );
    Ok(())
}

#[test]
fn another_thread_computes() -> Result<()> {
    caused(&work("pool", 20)?, "pool", "on_cpu")
}

#[test]
fn sleeping() -> Result<()> {
    caused(&work("hold", 20)?, "hold", "lock_or_timer")
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
