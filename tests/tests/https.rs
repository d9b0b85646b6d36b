//! Clients and servers over TLS: OpenSSL of Python, the one inside Node, rustls.

use std::sync::OnceLock;

use anyhow::{Result, ensure};
use mcpsonar_tests::harness::pair::{self, Pair, Runs};
use mcpsonar_tests::harness::{Certificates, Trace, check_score};

fn pairs(files: &Certificates) -> Vec<Pair> {
    let pair = |name, asks, answers| Pair::new(name, asks, answers).tls(files.words());
    // Connections of rustls move about in memory: one that is not known from its first byte on is told of by its other
    // end, where that is known.
    let rustls = |name, asks, answers| pair(name, asks, answers).calls_only();
    vec![
        pair("node_with_node", "node", "node"),
        pair("node_with_node_json", "node", "node").server("--json"),
        pair("node_with_python", "node", "py"),
        pair("node_modern_with_python", "node-modern", "py"),
        pair("python_with_node", "py", "node"),
        pair("python_with_python", "py", "py"),
        pair("python_with_node_json", "py", "node").server("--json"),
        pair("python_with_python_json", "py", "py").server("--json"),
        pair("python_handshake_with_python_json", "py-legacy", "py").server("--json"),
        rustls("node_with_rust_json", "node", "rust").server("--json"),
        rustls("python_with_rust_json", "py", "rust").server("--json"),
        rustls("python_handshake_with_fixture_json", "py-legacy", "fixture").server("--answers json"),
        rustls("fixture_with_node", "fixture", "node"),
        rustls("fixture_with_python_json", "fixture", "py").server("--json"),
        rustls("rustls", "fixture", "fixture").client("--script all"),
        rustls("rustls_h2", "fixture", "fixture")
            .client("--script all --h2 --era modern")
            .server("--answers json"),
    ]
}

/// One agent traces all pairs; each test looks at its own.
fn check(name: &str) -> Result<()> {
    static RUNS: OnceLock<Result<Runs, String>> = OnceLock::new();
    let traced = || {
        let trace = Trace::with_tls("https")?;
        let files = Certificates::make(&trace.file(""))?;
        pair::run(&trace, &pairs(&files))
    };
    let runs = RUNS.get_or_init(|| traced().map_err(|e: anyhow::Error| format!("{e:#}")));
    let run = &runs.as_ref().map_err(anyhow::Error::msg)?[name];
    let run = run.as_ref().map_err(anyhow::Error::msg)?;
    ensure!(run.calls.len() > 5, "only {} calls", run.calls.len());
    Ok(())
}

macro_rules! each_as_it_was {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            check(stringify!($name))
        }
    )*};
}

each_as_it_was! {
    node_with_node
    node_with_node_json
    node_with_python
    node_modern_with_python
    python_with_node
    python_with_python
    python_with_node_json
    python_with_python_json
    python_handshake_with_python_json
    node_with_rust_json
    python_with_rust_json
    python_handshake_with_fixture_json
    fixture_with_node
    fixture_with_python_json
    rustls
    rustls_h2
}

#[test]
fn load() -> Result<()> {
    let trace = Trace::with_tls("https_load")?;
    let files = Certificates::make(&trace.file(""))?;
    let pair = Pair::new("load", "fixture", "py").tls(files.words()).server("--json");
    let more = ["--ca", &files.ca, "-n", "300", "-c", "4", "-k", "2"];
    let run = pair::load(&trace, &pair, &more)?;
    let score = check_score(&run)?;
    ensure!(score.truth == 604, "{score:?}");
    Ok(())
}
