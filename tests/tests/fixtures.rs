//! The fixtures alone, without an agent and without root: what they say of themselves is so.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use mcpsonar_tests::fixture::score::{Score, score};
use mcpsonar_tests::fixture::truth::{Line, load};
use mcpsonar_tests::harness::output_within;
use serde_json::{Value, json};

const FIXTURE: &str = env!("CARGO_BIN_EXE_mcp-fixture");

fn truth(name: &str, client: &[&str], server: &[&str]) -> Result<Vec<Line>> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("{name}.jsonl"));
    if file.exists() {
        std::fs::remove_file(&file)?;
    }
    let mut command = Command::new(FIXTURE);
    command
        .arg("client")
        .arg("--truth")
        .arg(&file)
        .args(client)
        .args(["--", FIXTURE, "server"])
        .args(server);
    let output = output_within(&mut command, Duration::from_secs(60))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}\n{told}", output.status);
    load(&file)
}

/// What a perfect agent would say of these calls.
fn observed(truth: &[Line]) -> Vec<Value> {
    let one = |line: &Line| {
        json!({
            "method": line.method, "tool": line.tool, "request_id": line.id, "direction": line.direction,
            "outcome": line.outcome, "error_code": line.code, "latency_us": line.latency_us,
            "request_bytes": line.req_bytes, "response_bytes": line.resp_bytes.unwrap_or(0),
            "server": { "pid": line.server_pid }, "client": { "pid": line.client_pid },
        })
    };
    truth.iter().map(one).collect()
}

fn of(truth: &[Line], change: impl FnOnce(&mut Vec<Value>)) -> Score {
    let mut seen = observed(truth);
    change(&mut seen);
    score(truth, &seen)
}

#[test]
fn every_script_ends_well() -> Result<()> {
    let scripts = [
        "basic",
        "concurrent",
        "cancel",
        "burst",
        "slowread",
        "calls",
        "kill",
        "exit",
    ];
    for script in scripts {
        for era in ["legacy", "modern"] {
            ensure!(
                !truth(&format!("{script}_{era}"), &["--script", script, "--era", era], &[])?.is_empty(),
                "{script}"
            );
        }
    }
    let lost = truth("abandon", &["--script", "abandon"], &["--linger"])?;
    ensure!(
        lost.iter().filter(|line| line.outcome == "abandoned").count() == 3,
        "{lost:?}"
    );
    Ok(())
}

#[test]
fn every_way_to_read_and_write() -> Result<()> {
    for carrier in ["pipe", "pair", "one"] {
        for read in ["read", "readv", "preadv2", "recv", "recvmsg", "threads"] {
            if carrier != "pipe" || !read.starts_with("recv") {
                let client = ["--script", "all", "--carrier", carrier, "--read", read];
                truth(&format!("read_{carrier}_{read}"), &client, &["--read", read])?;
            }
        }
        for write in ["write", "writev", "pwritev2", "send", "sendmsg", "threads"] {
            if carrier != "pipe" || !write.starts_with("send") {
                let client = ["--script", "all", "--carrier", carrier, "--write", write];
                truth(
                    &format!("write_{carrier}_{write}"),
                    &client,
                    &["--write", write, "--dup-fds"],
                )?;
            }
        }
    }
    Ok(())
}

#[test]
fn the_score_knows_right_from_wrong() -> Result<()> {
    let truth = truth("score", &["--script", "all", "--sessions", "2"], &["--fork-writer"])?;
    ensure!(of(&truth, |_| ()).perfect(), "the truth itself is not perfect");
    let strangers = |seen: &mut Vec<Value>| seen.push(json!({ "method": "ping", "server": { "pid": 1 } }));
    ensure!(of(&truth, strangers).perfect(), "another process's call was counted");
    let missing = of(&truth, |seen| drop(seen.pop()));
    ensure!(
        !missing.perfect() && missing.recall < 1.0 && missing.precision >= 1.0,
        "{missing:?}"
    );
    let twice = of(&truth, |seen| seen.push(seen[0].clone()));
    ensure!(!twice.perfect() && twice.extra == 1 && twice.recall >= 1.0, "{twice:?}");
    for (key, wrong) in [("outcome", json!("pending")), ("error_code", json!(-1))] {
        let score = of(&truth, |seen| seen[3][key] = wrong);
        ensure!(
            !score.perfect() && score.recall >= 1.0 && score.outcome_accuracy < 1.0,
            "{key}: {score:?}"
        );
    }
    for (key, wrong) in [
        ("direction", json!("server_to_client")),
        ("request_id", json!("1")),
        ("tool", json!("x")),
    ] {
        let score = of(&truth, |seen| seen[3][key] = wrong);
        ensure!(
            !score.perfect() && score.extra == 1 && score.recall < 1.0,
            "{key}: {score:?}"
        );
    }
    let bytes = of(&truth, |seen| seen[0]["request_bytes"] = json!(1));
    ensure!(bytes.bytes_accuracy < 1.0, "{bytes:?}");
    Ok(())
}

#[test]
fn noise_comes_back() -> Result<()> {
    for kind in ["lsp", "pipeline", "binary", "jsonlines", "jsonrpc"] {
        for carrier in [&[][..], &["--socketpair"]] {
            let mut command = Command::new(FIXTURE);
            let output = output_within(
                command.args(["noise", kind, "--bytes", "100000"]).args(carrier),
                Duration::from_secs(30),
            )?;
            ensure!(output.status.success(), "{kind}: {}", output.status);
        }
    }
    Ok(())
}
