//! Why calls were slow, and whether that is what the agent says.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Run, pick};
use crate::fixture::took::Took;

/// Whether there is time for all of it.
#[must_use]
pub fn is_full() -> bool {
    std::env::var_os("MCPSONAR_LONG").is_some()
}

/// How many calls are made of each kind: a hundred, or fewer when there is no time.
#[must_use]
pub fn full_or(fewer: usize) -> usize {
    if is_full() { 100 } else { fewer }
}

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

/// What the calls of a run took by their own account, by id of the request.
pub fn took(run: &Run) -> Result<HashMap<String, Took>> {
    let line = |line: &str| -> Result<(String, Took)> {
        let told: Value = serde_json::from_str(line)?;
        let took = Took::from_meta(&told["took"]).with_context(|| format!("{line} says nothing"))?;
        Ok((told["id"].to_string(), took))
    };
    run.stdout.lines().map(line).collect()
}

/// Of the calls of a tool that by the tool's own clocks were due to what it is for, of which there are
/// `wanted`, at least 95 of 100 have this dominant cause.
pub fn caused(run: &Run, tool: &str, cause: &str, wanted: usize) -> Result<()> {
    let took = took(run)?;
    let is_due = |call: &&Value| {
        let took = took.get(&call["request_id"].to_string());
        took.is_some_and(|took| took.is_due(tool))
    };
    let calls: Vec<&Value> = pick(&run.calls, "tool", tool).into_iter().filter(is_due).collect();
    ensure!(
        calls.len() == wanted,
        "{} calls of {tool} were due to what it is for, and {wanted} were to be: is this machine too busy?",
        calls.len()
    );
    enough(&calls, cause, |call| call["dominant_cause"] == cause)
}

/// At least 95 of 100 of these calls are as they should be.
pub fn enough(calls: &[&Value], what: &str, is_right: impl Fn(&Value) -> bool) -> Result<()> {
    let right = calls.iter().filter(|call| is_right(call)).count();
    let wrong = calls.iter().find(|call| !is_right(call));
    // For whoever runs `cargo xtask soak`.
    println!("{what}: {right} of {} calls", calls.len());
    ensure!(
        !calls.is_empty() && right * 100 >= calls.len() * 95,
        "{right} of {} calls were as they should be: {what}; one that was not: {wrong:?}",
        calls.len()
    );
    Ok(())
}
