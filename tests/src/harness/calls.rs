//! What every line of the agent must be, and what the lines of a run must be together.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::agent::Run;
use crate::fixture::score::{Score, score};

/// The keys of a call. Further ones may come, none of these may go.
const CALL: &[&str] = &[
    "call",
    "trace_id",
    "client_span_id",
    "server_span_id",
    "seen_by",
    "transport",
    "network_transport",
    "tls",
    "protocol_version",
    "session",
    "direction",
    "method",
    "tool",
    "prompt",
    "resource",
    "request_id",
    "client",
    "server",
    "client_address",
    "server_address",
    "start_unix_ns",
    "start_mono_ns",
    "latency_us",
    "parts_us",
    "outcome",
    "error_code",
    "request_bytes",
    "response_bytes",
    "notifications",
    "causes_us",
    "dominant_cause",
    "upstreams",
    "syscalls",
    "shared_window",
    "resources",
    "loss",
    "result_type",
    "task",
    "continues",
    "http_status",
    "tcp",
    "parent_call",
];
const TCP: &[&str] = &[
    "connect_us",
    "time_to_first_byte_us",
    "srtt_us",
    "retransmits",
    "in_flight_bytes",
];
const END: &[&str] = &[
    "pid",
    "name",
    "version",
    "comm",
    "exe",
    "cmdline",
    "cgroup",
    "container",
];
const PARTS: &[&str] = &["request_queue", "server", "response_queue", "transfer"];
const CAUSES: &[&str] = &[
    "on_cpu",
    "run_queue",
    "disk",
    "upstream",
    "lock_or_timer",
    "memory",
    "throttled",
    "blocked_write",
    "unknown",
];
const OUTCOMES: &[&str] = &[
    "ok",
    "tool_error",
    "rpc_error",
    "http_error",
    "cancelled",
    "abandoned",
    "client_exit",
    "server_exit",
    "pending",
];

fn keys(of: &Value, wanted: &[&str]) -> Result<()> {
    let object = of.as_object().with_context(|| format!("not an object: {of}"))?;
    let missing: Vec<_> = wanted.iter().filter(|key| !object.contains_key(**key)).collect();
    ensure!(missing.is_empty(), "{missing:?} missing in {of}");
    Ok(())
}

fn hex(of: &Value, digits: usize) -> bool {
    of.as_str()
        .is_some_and(|s| s.len() == digits && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
}

/// The form of one line.
fn check_line(call: &Value) -> Result<()> {
    keys(call, CALL)?;
    keys(&call["parts_us"], PARTS)?;
    keys(&call["causes_us"], CAUSES)?;
    for end in ["client", "server"] {
        if !call[end].is_null() {
            keys(&call[end], END)?;
        }
    }
    ensure!(
        call["tcp"].is_null() == (call["client_address"].is_null() && call["server_address"].is_null()),
        "facts of a connection without its addresses, or the other way round"
    );
    if !call["tcp"].is_null() {
        keys(&call["tcp"], TCP)?;
    }
    ensure!(hex(&call["trace_id"], 32), "trace_id is not 32 hex digits");
    for span in ["client_span_id", "server_span_id"] {
        ensure!(
            call[span].is_null() || hex(&call[span], 16),
            "{span} is not 16 hex digits"
        );
    }
    let outcome = call["outcome"].as_str().unwrap_or_default();
    ensure!(OUTCOMES.contains(&outcome), "outcome {outcome:?} is none of the known");
    ensure!(
        ["client_to_server", "server_to_client"].contains(&call["direction"].as_str().unwrap_or_default()),
        "direction"
    );
    ensure!(
        call["latency_us"].as_f64().is_none_or(|l| l >= 0.0),
        "a negative latency"
    );
    check_parts(call, outcome)
}

/// The parts sum to the latency, and all are known when both ends were seen and an answer came.
fn check_parts(call: &Value, outcome: &str) -> Result<()> {
    let parts = &call["parts_us"];
    let known: Vec<f64> = PARTS.iter().filter_map(|part| parts[part].as_f64()).collect();
    ensure!(known.iter().all(|part| *part >= 0.0), "a negative part: {parts}");
    let both = call["seen_by"].as_array().is_some_and(|by| by.len() == 2);
    let answered = ["ok", "tool_error", "rpc_error"].contains(&outcome);
    let whole = call["loss"].as_array().is_some_and(Vec::is_empty);
    if both && answered && whole {
        ensure!(
            known.len() == PARTS.len(),
            "both ends were seen, but a part is not known: {parts}"
        );
    }
    if known.len() == PARTS.len() {
        let (sum, latency) = (known.iter().sum::<f64>(), call["latency_us"].as_f64());
        let latency = latency.context("all parts are known, but not the latency")?;
        ensure!(
            (sum - latency).abs() <= 1.0,
            "the parts sum to {sum}, the latency is {latency}"
        );
    }
    Ok(())
}

/// Checks the form of all lines, and that no call has the id of another.
pub fn check_lines(calls: &[Value]) -> Result<()> {
    let mut ids = std::collections::HashSet::new();
    for call in calls {
        check_line(call).with_context(|| format!("in {call}"))?;
        ensure!(
            ids.insert(call["call"].to_string()),
            "two calls have the id {}",
            call["call"]
        );
    }
    Ok(())
}

/// Checks that the agent saw every call of the truth once with the right outcome, and no others of its processes.
pub fn check_perfect(run: &Run) -> Result<Score> {
    check_lines(&run.calls)?;
    check_score(run)
}

/// The same, whatever else the lines hold.
pub fn check_score(run: &Run) -> Result<Score> {
    ensure!(!run.truth.is_empty(), "nothing happened: the truth is empty");
    let score = score(&run.truth, &run.calls);
    let told = serde_json::to_string_pretty(&score)?;
    ensure!(
        score.perfect(),
        "not every call was seen as it was: {told}\nthe agent said:\n{}",
        run.stderr
    );
    Ok(score)
}

/// The calls with this value at this key.
#[must_use]
pub fn pick<'a>(calls: &'a [Value], key: &str, value: &str) -> Vec<&'a Value> {
    calls.iter().filter(|call| call[key] == value).collect()
}
