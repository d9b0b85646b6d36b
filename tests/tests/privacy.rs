//! What is not MCP is no call and is not kept, and what MCP carries is in no output: a secret that is planted
//! everywhere is found nowhere.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use mcpsonar_tests::harness::pair::{self, Pair};
use mcpsonar_tests::harness::{Certificates, Run, Trace, agent, fixture, output_within};

const SECRET: &str = "hunter2-8f3b6c1d";
/// Of the arguments, the results, the states and the queries of the fixture's script `all`.
const SAID: &[&str] = &[
    "hello 0",
    "the text of a resource",
    "opaque-7f3a",
    "secret=1",
    "Please greet",
];

/// Is it anywhere in these bytes?
fn check_bytes(place: &str, bytes: &[u8]) -> Result<()> {
    for word in SAID.iter().chain(&[SECRET]) {
        let found = bytes.windows(word.len()).position(|part| part == word.as_bytes());
        ensure!(found.is_none(), "{word:?} is in {place} at {found:?}");
    }
    Ok(())
}

/// Looks through all that a run left.
fn check(trace: &Trace, run: &Run) -> Result<()> {
    for entry in std::fs::read_dir(trace.file(""))? {
        let path = entry?.path();
        if path.is_file() && path.extension().is_none_or(|kind| kind != "pem") {
            check_bytes(&path.display().to_string(), &std::fs::read(&path)?)?;
        }
    }
    check_bytes("the standard error", run.stderr.as_bytes())
}

/// curl speaks with an API and with one that streams, in the shell, so that no command line tells the secret.
fn others(trace: &Trace, scheme: &str, tls: Option<&Certificates>) -> Result<Run> {
    let script = trace.file("requests.sh");
    let trust = tls.map_or(String::new(), |files| format!("--cacert {}", files.ca));
    let url = format!("{scheme}://localhost:$1");
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"one SECRET three"}]}"#;
    let text = format!(
        "set -e\ncd {folder}\nfor i in 1 2 3 4 5; do\n\
         curl -sSf {trust} -K secret.curl -d @secret.json {url}/api/items\n\
         curl -sSf {trust} -K secret.curl {url}/api/items {url}/api/items\n\
         curl -sSNf {trust} -K secret.curl -d @secret.json {url}/v1/chat/completions\ndone > said\n\
         grep -q -f pattern said\nrm said secret.curl secret.json pattern\n",
        folder = trace.file("").display(),
    );
    std::fs::write(&script, text)?;
    std::fs::write(trace.file("secret.curl"), format!("header = \"X-Api-Key: {SECRET}\"\n"))?;
    std::fs::write(trace.file("secret.json"), body.replace("SECRET", SECRET))?;
    std::fs::write(trace.file("pattern"), SECRET)?;
    let mut line = [
        &*fixture(),
        "pair",
        "--",
        &fixture(),
        "http-server",
        "--listen",
        "127.0.0.1:{port}",
    ]
    .map(str::to_owned)
    .to_vec();
    if let Some(files) = tls {
        line.extend(["--tls", &files.certificate, &files.key].map(str::to_owned));
    }
    let client = script.to_string_lossy().into_owned();
    line.extend(["---", "bash", &client, "{port}"].map(str::to_owned));
    let run = trace.run(&line)?;
    ensure!(run.status.success(), "the requests failed: {}", run.stderr);
    Ok(run)
}

#[test]
fn other_http_is_no_call_and_leaves_nothing() -> Result<()> {
    for scheme in ["http", "https"] {
        let trace = Trace::with_tls(&format!("privacy_{scheme}"))?;
        let files = Certificates::make(&trace.file(""))?;
        let run = others(&trace, scheme, (scheme == "https").then_some(&files))?;
        ensure!(
            run.calls.is_empty(),
            "{} calls, the first {}",
            run.calls.len(),
            run.calls[0]
        );
        check(&trace, &run)?;
    }
    Ok(())
}

#[test]
fn arguments_and_results_are_in_no_output() -> Result<()> {
    for era in ["legacy", "modern"] {
        let trace = Trace::with_tls(&format!("privacy_mcp_{era}"))?;
        let files = Certificates::make(&trace.file(""))?;
        let mut pair = Pair::fixtures("privacy", &format!("--script all --era {era}"));
        if era == "modern" {
            pair = pair.tls(files.words());
        }
        let line = pair::line(&trace, &[pair])?;
        let run = trace.run(&line)?;
        ensure!(run.status.success(), "the client did not end well:\n{}", run.stderr);
        ensure!(run.calls.len() > 30, "only {} calls", run.calls.len());
        check(&trace, &run)?;
        let mut human = Command::new(agent());
        human.args(["trace", "--"]).args(line);
        let output = output_within(&mut human, Duration::from_secs(60))?;
        ensure!(output.status.success(), "{}", output.status);
        let said = [output.stdout, output.stderr].concat();
        ensure!(String::from_utf8_lossy(&said).contains("echo"), "no call was shown");
        check_bytes("the lines for people", &said)?;
    }
    Ok(())
}
