//! Clients and servers over TLS: OpenSSL of Python, the one inside Node, rustls.

use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::harness::pair::With;
use mcpsonar_tests::harness::{Certificates, Trace};

/// One authority for all tests of this file.
fn certificates() -> Result<&'static Certificates> {
    static ONCE: OnceLock<Result<Certificates, String>> = OnceLock::new();
    let make = || {
        let folder = Trace::new("https_certificates")?;
        Certificates::make(folder.file("").as_path())
    };
    ONCE.get_or_init(|| make().map_err(|e: anyhow::Error| format!("{e:#}")))
        .as_ref()
        .map_err(anyhow::Error::msg)
}

fn pair(name: &str, asks: &str, answers: &str, server: &[&str], client: &[&str]) -> Result<()> {
    let files = certificates()?;
    let with = With {
        server,
        client,
        sse: false,
        tls: Some([&files.ca, &files.certificate, &files.key]),
    };
    let run = with.run(&Trace::new(&format!("https_{name}"))?, asks, answers)?;
    let Some(run) = run else { return Ok(()) };
    ensure!(run.calls.len() > 5, "only {} calls", run.calls.len());
    Ok(())
}

macro_rules! pairs {
    ($($name:ident: $client:literal $server:literal $options:expr;)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            pair(stringify!($name), $client, $server, $options, &[])
        }
    )*};
}

pairs! {
    node_with_node: "node" "node" &[];
    node_with_node_json: "node" "node" &["--json"];
    node_with_python: "node" "py" &[];
    node_modern_with_python: "node-modern" "py" &[];
    node_with_rust_json: "node" "rust" &["--json"];
    python_with_node: "py" "node" &[];
    python_with_python: "py" "py" &[];
    python_with_rust: "py" "rust" &["--json"];
    python_handshake_with_fixture: "py-legacy" "fixture" &[];
    fixture_with_node: "fixture" "node" &[];
    fixture_with_python_json: "fixture" "py" &["--json"];
}

#[test]
fn rustls_at_both_ends() -> Result<()> {
    pair("rustls", "fixture", "fixture", &[], &["--script", "all"])?;
    pair("rustls_h2", "fixture", "fixture", &["--answers", "json"], &["--script", "all", "--h2", "--era", "modern"])
}

#[test]
fn load() -> Result<()> {
    let files = certificates()?;
    let trace = Trace::new("https_load")?;
    let with = With {
        tls: Some([&files.ca, &files.certificate, &files.key]),
        server: &["--json"],
        ..With::default()
    };
    let mut line = with.line(&trace, "fixture", "py")?;
    let client = line.iter().position(|word| word == "http-client").context("no client")?;
    line.truncate(client);
    let truth = trace.truth();
    let load = ["load", "--http", "https://localhost:{port}/mcp", "--ca", &files.ca, "--truth", &truth];
    line.extend(load.iter().chain(&["-n", "300", "-c", "4", "-k", "2"]).map(|word| (*word).to_owned()));
    let run = trace.run(&line)?;
    ensure!(run.status.success(), "{}", run.stderr);
    let score = mcpsonar_tests::harness::check_perfect(&run)?;
    ensure!(score.truth == 604, "{score:?}");
    Ok(())
}
