//! What goes out by OTLP, as a decoder that is not ours has it, held against the MCP semantic conventions:
//! `tests/otlp` has the table, and where it was taken from.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::harness::sdk::otlp;
use mcpsonar_tests::harness::{Trace, agent, fixture, output_within, text};
use serde_json::Value;

/// How long the programs of one scenario may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Every way in which a call can end, over every transport, in every revision, in both directions.
const SCENARIO: &str = r#"
    fixture=$1 python=$2 conformance=$3
    for revision in 2024-11-05 2025-03-26 2025-06-18 2025-11-25; do
        "$python" "$conformance" speak $revision "$fixture" server
    done
    "$fixture" client --script all --era modern -- "$fixture" server
    "$fixture" client --script all -- "$fixture" server
    "$fixture" client --script exit -- "$fixture" server
    "$fixture" client --script abandon -- "$fixture" server --linger
    "$fixture" client --script die -- "$fixture" server
    "$fixture" client --script work --calls 1 --tool shell --ms 20 -- "$fixture" server
    "$python" "$conformance" websocket
    mkfifo "$4"
    exec 3<> "$4"
    "$fixture" http-server > "$4" &
    server=$!
    read -r _ _ address <&3
    "$fixture" http-client --script all "http://${address#http://}/mcp"
    "$fixture" http-client --script basic --era modern --h2 "http://${address#http://}/mcp"
    "$fixture" http-client --script refused "http://${address#http://}/mcp"
    "$fixture" http-client --script basic --sse "http://${address#http://}/sse"
    kill $server
    exit 0
"#;

/// A collector in Python; it ends with the test.
struct Collector {
    process: Child,
    port: u16,
}

impl Collector {
    fn start(trace: &Trace, folder: &str) -> Result<Self> {
        let mut process = Command::new(otlp::python())
            .arg(otlp::program())
            .arg("collect")
            .arg(trace.file(folder))
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("no output")?).read_line(&mut line)?;
        let port = line.trim().parse().context("the collector tells no port")?;
        Ok(Self { process, port })
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Checks what a collector got against the agent's lines. Returns how many spans there were of each kind.
fn check(trace: &Trace, folder: &str, calls: &str) -> Result<Value> {
    let mut command = Command::new(otlp::python());
    command.arg(otlp::program()).arg("check");
    command.arg(trace.file(folder)).arg(trace.file(calls));
    let output = output_within(&mut command, LIMIT)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The check has seen every kind of call, or it proves nothing.
fn is_complete(told: &Value) -> Result<()> {
    let outcomes = [
        "ok",
        "tool_error",
        "rpc_error",
        "http_error",
        "cancelled",
        "abandoned",
        "server_exit",
        "client_exit",
    ];
    let both = |outcome: &str| ["client", "server"].map(|end| format!("mcp.{end} {outcome}"));
    let revisions = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"];
    let others = [
        "transport stdio",
        "transport http",
        "transport sse",
        "transport websocket",
        "direction server_to_client",
    ];
    let wanted = outcomes.iter().flat_map(|outcome| both(outcome));
    let wanted = wanted.chain(revisions.iter().map(|revision| format!("revision {revision}")));
    let wanted = wanted.chain(others.iter().map(|other| (*other).to_owned()));
    let wanted = wanted.chain(["events", "upstream", "parent True"].map(str::to_owned));
    for kind in wanted {
        ensure!(told[&kind].as_u64() > Some(0), "no span of {kind}: {told:#}");
    }
    Ok(())
}

fn scenario(trace: &Trace) -> Vec<String> {
    let words = ["sh", "-c", SCENARIO, "sh"].map(str::to_owned);
    let arguments = [fixture(), text(&otlp::python()), text(&otlp::program())];
    let fifo = text(&trace.file("address"));
    words.into_iter().chain(arguments).chain([fifo]).collect()
}

#[test]
fn live() -> Result<()> {
    otlp::install()?;
    let trace = Trace::new("conformance_live")?;
    let collector = Collector::start(&trace, "got")?;
    let trace = trace.options(&["--otlp", &collector.url(), "--otlp-protocol", "http", "--otlp-metrics"]);
    let run = trace.run(&scenario(&trace))?;
    ensure!(run.status.success(), "{}\n{}", run.status, run.stderr);
    is_complete(&check(&trace, "got", "calls.jsonl")?)
}

#[test]
fn recorded() -> Result<()> {
    otlp::install()?;
    let trace = Trace::new("conformance_recorded")?;
    let mut record = Command::new(agent());
    record.args(["record", "--no-tls", "-o"]).arg(trace.file("recording"));
    let recorded = output_within(record.arg("--").args(scenario(&trace)), LIMIT)?;
    let stderr = String::from_utf8_lossy(&recorded.stderr);
    ensure!(recorded.status.success(), "{}\n{stderr}", recorded.status);
    let collector = Collector::start(&trace, "got")?;
    let mut replay = Command::new(agent());
    replay.arg("replay").arg(trace.file("recording")).args(["--json", "-o"]);
    replay.arg(trace.file("calls.jsonl"));
    replay.args(["--otlp", &collector.url(), "--otlp-protocol", "http"]);
    replay.env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
    let replayed = output_within(&mut replay, LIMIT)?;
    let stderr = String::from_utf8_lossy(&replayed.stderr);
    ensure!(replayed.status.success(), "{}\n{stderr}", replayed.status);
    is_complete(&check(&trace, "got", "calls.jsonl")?)
}

/// Agents that send a share of what they see send the same, and a smaller share is part of a greater one.
#[test]
fn agents_sample_alike() -> Result<()> {
    let trace = Trace::new("sampled")?;
    let mut record = Command::new(agent());
    record.args(["record", "--no-tls", "-o"]).arg(trace.file("recording"));
    let line = trace.client_line(&["--script", "calls", "--calls", "200"], &[]);
    let recorded = output_within(record.arg("--").args(line), LIMIT)?;
    ensure!(
        recorded.status.success(),
        "{}",
        String::from_utf8_lossy(&recorded.stderr)
    );
    otlp::install()?;
    let mut traces = Vec::new();
    for (name, share) in [("one", "0.3"), ("other", "0.3"), ("less", "0.1")] {
        let collector = Collector::start(&trace, name)?;
        let mut replay = Command::new(agent());
        replay
            .arg("replay")
            .arg(trace.file("recording"))
            .args(["--json", "-o", "/dev/null"]);
        replay.args(["--otlp", &collector.url(), "--otlp-protocol", "http"]);
        replay
            .env("OTEL_TRACES_SAMPLER", "traceidratio")
            .env("OTEL_TRACES_SAMPLER_ARG", share);
        let output = output_within(&mut replay, LIMIT)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut list = Command::new(otlp::python());
        let listed = output_within(list.arg(otlp::program()).arg("traces").arg(trace.file(name)), LIMIT)?;
        let listed: Vec<String> = serde_json::from_slice(&listed.stdout)?;
        traces.push(listed);
    }
    let [one, other, less] = &traces[..] else {
        anyhow::bail!("three lists")
    };
    ensure!(one == other, "the same share, other traces");
    ensure!((30..100).contains(&one.len()), "{} of 200 traces at 0.3", one.len());
    ensure!(
        less.iter().all(|id| one.contains(id)) && less.len() < one.len(),
        "a smaller share is no part"
    );
    Ok(())
}
