//! Clients and servers over plain HTTP: the real SDKs and the fixtures, in both eras and over the transport before.

use std::sync::OnceLock;

use anyhow::{Result, ensure};
use mcpsonar_tests::harness::pair::{self, Pair, Runs};
use mcpsonar_tests::harness::{Run, Trace, check_perfect, pick};
use serde_json::json;

/// Every SDK's client and server that there is, with several others each.
fn sdks() -> Vec<Pair> {
    let pair = |name, asks, answers| Pair::new(name, asks, answers);
    vec![
        pair("node_with_everything", "node", "everything"),
        pair("node_with_everything_before_streamable", "node", "everything").before_streamable(),
        pair("node_with_fixture", "node", "fixture"),
        pair("node_with_node_json", "node", "node").server("--json"),
        pair("node_with_node_stateless", "node", "node").server("--stateless"),
        pair("node_with_python", "node", "py"),
        pair("node_with_rust_json", "node", "rust").server("--json"),
        pair("node_modern_with_python_json", "node-modern", "py").server("--json"),
        pair("node_modern_with_rust", "node-modern", "rust"),
        pair("python_with_everything", "py", "everything"),
        pair("python_with_fixture", "py", "fixture"),
        pair("python_with_node_json", "py", "node").server("--json"),
        pair("python_with_python", "py", "py"),
        pair("python_with_python_stateless", "py", "py").server("--stateless"),
        pair("python_with_rust", "py", "rust"),
        pair("python_handshake_with_node", "py-legacy", "node"),
        pair("python_handshake_with_python_json", "py-legacy", "py").server("--json"),
        pair("python_handshake_with_python_before_streamable", "py-legacy", "py").before_streamable(),
        pair("python_handshake_with_rust_json", "py-legacy", "rust").server("--json"),
        pair("fixture_with_everything", "fixture", "everything"),
        pair("fixture_with_node", "fixture", "node"),
        pair("fixture_with_python", "fixture", "py"),
        pair("fixture_with_rust_stateless", "fixture", "rust").server("--stateless"),
    ]
}

const ERAS: [&str; 2] = ["legacy", "modern"];
const ANSWERS: [&str; 3] = ["json", "sse", "mixed"];
const STYLES: [&str; 5] = ["node", "python", "rust", "cr", "odd"];

/// The fixture with itself: truth down to lengths and statuses.
fn fixtures() -> Vec<Pair> {
    let pair = Pair::fixtures;
    let mut all = vec![
        pair("ask_apart", "--script all").server("--ask-apart"),
        pair("cut", "--script all").server("--cut"),
        pair("h2", "--script all --h2"),
        pair("h2_json", "--script all --h2 --era modern").server("--answers json"),
        pair("before_streamable", "--script all").before_streamable(),
        pair("shared", "--script concurrent --sessions 4 --share"),
        pair("shared_h2", "--script concurrent --sessions 4 --share --h2"),
        pair("without_sessions", "--script basic --sessions 2").server("--stateless"),
        pair("refused", "--script refused"),
        pair("refused_modern", "--script refused --era modern"),
        pair("kill", "--script kill"),
        pair("exit", "--script exit"),
        pair("abandon", "--script abandon"),
        pair("abandon_modern", "--script abandon --era modern"),
    ];
    for style in STYLES {
        let server = format!("--style {style} --prime");
        all.push(pair(&format!("style_{style}"), "--script all").server(&server));
        // Pieces of 7 bytes cut events, their lines and the heads of chunks.
        all.push(pair(&format!("style_{style}_cut"), "--script basic").server(&format!("{server} --piece 7")));
    }
    for era in ERAS {
        for answers in ANSWERS {
            let client = format!("--script all --era {era} --key-order ts");
            all.push(pair(&format!("{answers}_{era}"), &client).server(&format!("--answers {answers}")));
        }
    }
    all
}

/// Where several meet at the same time, the ring has no room for all of so much, and captures less.
fn large() -> Vec<Pair> {
    vec![Pair::fixtures("big", "--script big --max-bytes 3000000").server("--answers json")]
}

/// The same in events.
fn large_events() -> Vec<Pair> {
    vec![Pair::fixtures("big_events", "--script big --max-bytes 1100000")]
}

/// One agent traces all pairs of a kind; each test looks at its own.
fn run(name: &str) -> Result<&'static Run> {
    static SDKS: OnceLock<Result<Runs, String>> = OnceLock::new();
    static FIXTURES: OnceLock<Result<Runs, String>> = OnceLock::new();
    static LARGE: OnceLock<Result<Runs, String>> = OnceLock::new();
    static LARGE_EVENTS: OnceLock<Result<Runs, String>> = OnceLock::new();
    for (once, trace, pairs) in [
        (&FIXTURES, "http_fixtures", fixtures()),
        (&SDKS, "http_sdks", sdks()),
        (&LARGE, "http_large", large()),
        (&LARGE_EVENTS, "http_large_events", large_events()),
    ] {
        if pairs.iter().any(|pair| pair.name() == name) {
            let traced = || pair::run(&Trace::new(trace)?, &pairs);
            let runs = once.get_or_init(|| traced().map_err(|e| format!("{e:#}")));
            let run = &runs.as_ref().map_err(anyhow::Error::msg)?[name];
            return run.as_ref().map_err(anyhow::Error::msg);
        }
    }
    anyhow::bail!("no pair {name}")
}

macro_rules! each_as_it_was {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            let run = run(stringify!($name))?;
            ensure!(run.calls.len() > 5, "only {} calls", run.calls.len());
            Ok(())
        }
    )*};
}

each_as_it_was! {
    node_with_everything
    node_with_everything_before_streamable
    node_with_fixture
    node_with_node_json
    node_with_node_stateless
    node_with_python
    node_with_rust_json
    node_modern_with_python_json
    node_modern_with_rust
    python_with_everything
    python_with_fixture
    python_with_node_json
    python_with_python
    python_with_python_stateless
    python_with_rust
    python_handshake_with_node
    python_handshake_with_python_json
    python_handshake_with_python_before_streamable
    python_handshake_with_rust_json
    fixture_with_everything
    fixture_with_node
    fixture_with_python
    fixture_with_rust_stateless
    h2
    h2_json
    before_streamable
    shared
    shared_h2
    without_sessions
    big
    big_events
    refused_modern
}

#[test]
fn every_style_of_events() -> Result<()> {
    for style in STYLES {
        run(&format!("style_{style}"))?;
        run(&format!("style_{style}_cut"))?;
    }
    Ok(())
}

#[test]
fn every_kind_of_answer_in_both_eras() -> Result<()> {
    for (era, version) in ERAS.into_iter().zip(["2025-11-25", "2026-07-28"]) {
        for answers in ANSWERS {
            let run = run(&format!("{answers}_{era}"))?;
            let sessions = run.calls.iter().filter(|call| !call["session"].is_null()).count();
            ensure!(
                (sessions == 0) == (era == "modern"),
                "{sessions} calls with a session in the {era} era"
            );
            let other = run.calls.iter().find(|call| call["protocol_version"] != version);
            ensure!(other.is_none(), "another revision in {other:?}");
        }
    }
    Ok(())
}

#[test]
fn the_server_asks_on_the_stream_that_the_client_opened() -> Result<()> {
    let asked = pick(&run("ask_apart")?.calls, "direction", "server_to_client").len();
    ensure!(asked == 3, "{asked} were asked");
    Ok(())
}

#[test]
fn answers_on_a_resumed_stream() -> Result<()> {
    ensure!(!pick(&run("cut")?.calls, "tool", "sleep").is_empty(), "nothing was cut");
    Ok(())
}

#[test]
fn refused() -> Result<()> {
    let refused = run("refused")?.calls.iter().filter(|call| call["outcome"] != "ok");
    let told: Vec<_> = refused
        .map(|call| json!([call["outcome"], call["error_code"], call["http_status"]]))
        .collect();
    let wanted = json!([
        ["rpc_error", -32000, 400],
        ["rpc_error", -32000, 406],
        ["http_error", null, 404],
        ["rpc_error", -32001, 404]
    ]);
    ensure!(json!(told) == wanted, "{told:?}");
    Ok(())
}

#[test]
fn one_side_dies_or_leaves() -> Result<()> {
    let ends = [
        ("kill", "server_exit"),
        ("exit", "server_exit"),
        ("abandon", "abandoned"),
        ("abandon_modern", "cancelled"),
    ];
    for (script, outcome) in ends {
        let ended = pick(&run(script)?.calls, "outcome", outcome).len();
        ensure!(ended == 3, "{ended} calls of {script} ended as {outcome}");
    }
    Ok(())
}

#[test]
fn load() -> Result<()> {
    let pair = Pair::fixtures("load", "").server("--answers json");
    let much = ["-n", "1000", "-c", "8", "-k", "3", "--mix", "mixed"];
    let run = pair::load(&Trace::new("http_load")?, &pair, &much)?;
    let score = check_perfect(&run)?;
    ensure!(score.truth == 3006 && score.bytes_accuracy >= 1.0, "{score:?}");
    Ok(())
}
