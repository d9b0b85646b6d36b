//! Scripted sessions on every carrier, in both eras: every call once, as it was, with every field.

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::harness::{Run, Trace, check_perfect, pick};
use serde_json::Value;

fn scripted(name: &str, client: &[&str], server: &[&str]) -> Result<Run> {
    let run = Trace::new(name)?.client(client, server)?;
    let score = check_perfect(&run)?;
    ensure!(score.bytes_accuracy >= 1.0, "lengths differ: {:?}", score.examples);
    // A noisy machine delays the client between the system call and its clock.
    ensure!(
        score.latency_error_us.p50.abs() < 1000.0,
        "latencies differ: {:?}",
        score.latency_error_us
    );
    let modern = client.contains(&"modern");
    for call in &run.calls {
        same_everywhere(call, modern).with_context(|| format!("in {call}"))?;
    }
    Ok(run)
}

/// What is the same in every call of these sessions.
fn same_everywhere(call: &Value, modern: bool) -> Result<()> {
    ensure!(
        call["transport"] == "stdio" && call["network_transport"] == "pipe" && call["tls"] == false,
        "transport"
    );
    let both = serde_json::json!(["client", "server"]);
    ensure!(call["seen_by"] == both, "seen by {}", call["seen_by"]);
    // The first request is made before a revision is agreed on.
    if call["method"] != "initialize" && call["method"] != "server/discover" {
        let version = if modern { "2026-07-28" } else { "2025-11-25" };
        ensure!(
            call["protocol_version"] == version,
            "protocol_version {}",
            call["protocol_version"]
        );
        ensure!(
            call["client"]["name"] == "mcp-fixture-client",
            "client's name {}",
            call["client"]["name"]
        );
        ensure!(
            call["server"]["name"] == "mcp-fixture",
            "server's name {}",
            call["server"]["name"]
        );
    }
    for end in ["client", "server"] {
        ensure!(call[end]["comm"] == "mcp-fixture", "comm {}", call[end]["comm"]);
        // A process that has ended when it is looked up has lost its file.
        let exe = call[end]["exe"].as_str();
        ensure!(exe.is_none_or(|exe| exe.ends_with("/mcp-fixture")), "exe {exe:?}");
    }
    ensure!(
        call["start_unix_ns"].as_u64() > Some(1_700_000_000_000_000_000),
        "start_unix_ns"
    );
    ensure!(
        call["client_address"].is_null() && call["server_address"].is_null(),
        "a stdio call has no address"
    );
    Ok(())
}

fn one<'a>(run: &'a Run, method: &str) -> Result<&'a Value> {
    pick(&run.calls, "method", method)
        .into_iter()
        .next()
        .with_context(|| format!("no {method}"))
}

#[test]
fn basic_over_pipes() -> Result<()> {
    let run = scripted("basic_over_pipes", &["--script", "basic"], &[])?;
    ensure!(
        run.calls.iter().all(|call| call["loss"] == serde_json::json!([])),
        "a small call touched by a loss"
    );
    ensure!(
        run.stats["counters"]["ring_dropped"] == 0,
        "the ring dropped: {}",
        run.stats
    );
    let codes: Vec<&Value> = run
        .calls
        .iter()
        .map(|call| &call["error_code"])
        .filter(|code| !code.is_null())
        .collect();
    ensure!(codes == [-32602, -32603], "codes {codes:?}");
    Ok(())
}

#[test]
fn all_over_pipes() -> Result<()> {
    let run = scripted("all_over_pipes", &["--script", "all"], &[])?;
    let back = pick(&run.calls, "direction", "server_to_client");
    let mut methods: Vec<&str> = back.iter().filter_map(|call| call["method"].as_str()).collect();
    methods.sort_unstable();
    ensure!(
        methods == ["elicitation/create", "roots/list", "sampling/createMessage"],
        "server's requests: {methods:?}"
    );
    // The server counts its own ids from 0, as the client's ids are 1, 2, 3.
    ensure!(
        back.iter().any(|call| call["request_id"] == 0),
        "the server's ids are not its own"
    );
    ensure!(one(&run, "prompts/get")?["prompt"] == "greet", "the prompt's name");
    ensure!(
        one(&run, "resources/read")?["resource"] == "test://one",
        "the resource without its query"
    );
    let slow = pick(&run.calls, "tool", "sleep");
    ensure!(
        slow.iter().any(|call| call["notifications"] == 4),
        "progress belongs to its call"
    );
    Ok(())
}

#[test]
fn all_modern_over_pipes() -> Result<()> {
    let run = scripted("all_modern_over_pipes", &["--script", "all", "--era", "modern"], &[])?;
    ensure!(
        pick(&run.calls, "method", "initialize").is_empty(),
        "a modern session has no handshake"
    );
    ensure!(
        run.calls.iter().all(|call| call["session"].is_null()),
        "a modern session has no id"
    );
    ensure!(
        one(&run, "subscriptions/listen")?["outcome"] == "cancelled",
        "a subscription ends by a cancellation"
    );
    Ok(())
}

#[test]
fn all_as_node_does() -> Result<()> {
    let client = ["--script", "all", "--socketpair", "--key-order", "ts"];
    scripted("all_as_node_does", &client, &["--key-order", "ts"]).map(drop)
}

#[test]
fn all_modern_as_node_does() -> Result<()> {
    let client = [
        "--script",
        "all",
        "--socketpair",
        "--key-order",
        "ts",
        "--era",
        "modern",
    ];
    scripted("all_modern_as_node_does", &client, &["--key-order", "ts"]).map(drop)
}

#[test]
fn all_over_one_socketpair_with_string_ids() -> Result<()> {
    let run = scripted(
        "all_one_string",
        &["--script", "all", "--socketpair=one", "--ids", "string"],
        &[],
    )?;
    ensure!(
        one(&run, "tools/list")?["request_id"] == "req-2",
        "string ids stay strings"
    );
    Ok(())
}

#[test]
fn string_ids_over_pipes() -> Result<()> {
    scripted(
        "string_ids_over_pipes",
        &["--script", "basic", "--ids", "string", "--era", "modern"],
        &[],
    )
    .map(drop)
}

#[test]
fn fifty_at_once() -> Result<()> {
    let run = scripted("fifty_at_once", &["--script", "concurrent"], &[])?;
    // Where causes are measured, calls at once share them and say so.
    let causes = run.calls.iter().any(|call| call["causes_us"]["on_cpu"].is_number());
    let shared = run.calls.iter().any(|call| call["shared_window"] == true);
    ensure!(shared || !causes, "no call says that it shares its causes");
    Ok(())
}

#[test]
fn cancelled() -> Result<()> {
    let run = scripted("cancelled", &["--script", "cancel"], &[])?;
    ensure!(
        pick(&run.calls, "outcome", "cancelled").len() == 2,
        "two were cancelled, one of them answered late"
    );
    Ok(())
}

#[test]
fn behind_a_shell() -> Result<()> {
    let trace = Trace::new("behind_a_shell")?;
    let fixture = mcpsonar_tests::harness::fixture();
    let server = format!("{fixture} server; true");
    let line = [
        &fixture,
        "client",
        "--script",
        "basic",
        "--truth",
        &trace.truth(),
        "--",
        "sh",
        "-c",
        &server,
    ];
    let run = trace.run(&line)?;
    ensure!(run.status.success(), "{}", run.stderr);
    // The shell holds the same pipes and is not the server.
    check_perfect(&run).map(drop)
}
