//! Why calls were slow, and whether that is what the agent says.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Run, pick};
use crate::fixture::work::{META_CPU, META_WAITED, META_WALL};

/// The causes of a call sum to its window, and the dominant one holds more than half.
pub fn parts_fill_the_window(call: &Value) -> Result<()> {
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

/// What a tool said that it took, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// On a CPU.
    pub cpu: f64,
    /// Waiting for one.
    pub waited: f64,
    /// In all.
    pub wall: f64,
}

/// What the calls of a run took by their own account, by id of the request.
pub fn took(run: &Run) -> Result<HashMap<String, Took>> {
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

/// At least 95 of 100 calls have this dominant cause. On a machine that others use too, it may hold most
/// of the rest of the time only, where the scheduler itself says that the tool's threads waited for a CPU.
pub fn caused(run: &Run, tool: &str, cause: &str) -> Result<()> {
    let calls = pick(&run.calls, "tool", tool);
    let took = took(run)?;
    let waited = |call: &Value| {
        let took = took.get(&call["request_id"].to_string())?;
        Some(took.waited / took.wall)
    };
    let is_right = |call: &Value| {
        if call["dominant_cause"] == cause {
            return true;
        }
        let micros = |cause: &str| call["causes_us"][cause].as_f64().unwrap_or(0.0);
        let sum = |causes: &Value| -> f64 {
            causes
                .as_object()
                .map_or(0.0, |all| all.values().filter_map(Value::as_f64).sum())
        };
        let rest = sum(&call["causes_us"]) - micros("run_queue");
        waited(call) > Some(0.1) && micros(cause) > rest / 2.0
    };
    enough(&calls, cause, is_right)
}

/// At least 95 of 100 of these calls are as they should be.
pub fn enough(calls: &[&Value], what: &str, is_right: impl Fn(&Value) -> bool) -> Result<()> {
    let right = calls.iter().filter(|call| is_right(call)).count();
    let wrong = calls.iter().find(|call| !is_right(call));
    // For whoever runs the long form.
    println!("{what}: {right} of {} calls", calls.len());
    ensure!(
        !calls.is_empty() && right * 100 >= calls.len() * 95,
        "{right} of {} calls were as they should be: {what}; one that was not: {wrong:?}",
        calls.len()
    );
    Ok(())
}
