//! Clients and servers over plain HTTP: the real SDKs and the fixtures, in both eras and over the transport before.

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::harness::pair::With;
use mcpsonar_tests::harness::{Run, Trace, pick};
use serde_json::json;

const PLAIN: With<'_> = With {
    server: &[],
    client: &[],
    sse: false,
    tls: None,
};
const JSON: With<'_> = With {
    server: &["--json"],
    ..PLAIN
};
const STATELESS: With<'_> = With {
    server: &["--stateless"],
    ..PLAIN
};
const SSE: With<'_> = With { sse: true, ..PLAIN };

fn pair(name: &str, asks: &str, answers: &str, with: With<'_>) -> Result<()> {
    with.run(&Trace::new(&format!("http_{name}"))?, asks, answers).map(drop)
}

/// The fixture with itself: truth down to lengths and statuses.
fn fixture(name: &str, client: &[&str], server: &[&str]) -> Result<Run> {
    let with = With {
        client,
        server,
        sse: client.contains(&"--sse"),
        ..PLAIN
    };
    let with = With {
        client: &client.iter().copied().filter(|word| *word != "--sse").collect::<Vec<_>>(),
        ..with
    };
    let run = with.run(&Trace::new(&format!("http_{name}"))?, "fixture", "fixture")?;
    run.context("the fixtures need no runtime")
}

macro_rules! pairs {
    ($($name:ident: $client:literal $server:literal $with:expr;)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            pair(stringify!($name), $client, $server, $with)
        }
    )*};
}

pairs! {
    node_with_everything: "node" "everything" PLAIN;
    node_with_everything_before_streamable: "node" "everything" SSE;
    node_with_node_json: "node" "node" JSON;
    node_with_node_stateless: "node" "node" STATELESS;
    node_with_python: "node" "py" PLAIN;
    node_with_python_json: "node" "py" JSON;
    node_with_rust_json: "node" "rust" JSON;
    node_modern_with_python: "node-modern" "py" PLAIN;
    node_modern_with_rust: "node-modern" "rust" PLAIN;
    python_with_everything: "py" "everything" PLAIN;
    python_with_node_json: "py" "node" JSON;
    python_with_python: "py" "py" PLAIN;
    python_with_python_stateless: "py" "py" STATELESS;
    python_with_rust: "py" "rust" PLAIN;
    python_handshake_with_node: "py-legacy" "node" PLAIN;
    python_handshake_with_python: "py-legacy" "py" PLAIN;
    python_handshake_with_python_before_streamable: "py-legacy" "py" SSE;
    python_handshake_with_rust_json: "py-legacy" "rust" JSON;
    fixture_with_everything: "fixture" "everything" PLAIN;
    fixture_with_node: "fixture" "node" PLAIN;
    fixture_with_python: "fixture" "py" PLAIN;
    fixture_with_rust_stateless: "fixture" "rust" STATELESS;
    node_with_fixture: "node" "fixture" PLAIN;
    python_with_fixture: "py" "fixture" PLAIN;
}

#[test]
fn every_style_of_events() -> Result<()> {
    for style in ["node", "python", "rust", "cr", "odd"] {
        // Pieces of 7 bytes cut events, their lines and the heads of chunks.
        for piece in ["0", "7"] {
            let script = if piece == "0" { "all" } else { "basic" };
            let server = ["--style", style, "--piece", piece, "--prime"];
            fixture(&format!("style_{style}_{piece}"), &["--script", script], &server)?;
        }
    }
    Ok(())
}

#[test]
fn every_kind_of_answer_in_both_eras() -> Result<()> {
    for era in ["legacy", "modern"] {
        for answers in ["json", "sse", "mixed"] {
            let client = ["--script", "all", "--era", era, "--key-order", "ts"];
            let run = fixture(&format!("{answers}_{era}"), &client, &["--answers", answers])?;
            let sessions = run.calls.iter().filter(|call| !call["session"].is_null()).count();
            ensure!((sessions == 0) == (era == "modern"), "{sessions} calls with a session in the {era} era");
            let versions = ["2025-11-25", "2026-07-28"];
            let version = versions[usize::from(era == "modern")];
            let others = run.calls.iter().filter(|call| call["protocol_version"] != version);
            ensure!(
                others.clone().all(|call| call["method"] == "initialize"),
                "another revision in {:?}",
                others.last()
            );
        }
    }
    Ok(())
}

#[test]
fn the_server_asks_on_the_stream_that_the_client_opened() -> Result<()> {
    let run = fixture("ask_apart", &["--script", "all"], &["--ask-apart"])?;
    ensure!(pick(&run.calls, "direction", "server_to_client").len() == 3, "not all was asked");
    Ok(())
}

#[test]
fn answers_on_a_resumed_stream() -> Result<()> {
    let run = fixture("cut", &["--script", "all"], &["--cut"])?;
    ensure!(!pick(&run.calls, "tool", "sleep").is_empty(), "nothing was cut");
    Ok(())
}

#[test]
fn http_2() -> Result<()> {
    fixture("h2", &["--script", "all", "--h2"], &[])?;
    fixture("h2_json", &["--script", "all", "--h2", "--era", "modern"], &["--answers", "json"]).map(drop)
}

#[test]
fn before_streamable() -> Result<()> {
    fixture("sse", &["--script", "all", "--sse"], &[]).map(drop)
}

#[test]
fn sessions_share_connections() -> Result<()> {
    fixture("share", &["--script", "concurrent", "--sessions", "4", "--share"], &[])?;
    fixture("share_h2", &["--script", "concurrent", "--sessions", "4", "--share", "--h2"], &[])?;
    fixture("without", &["--script", "all", "--sessions", "2"], &["--stateless"]).map(drop)
}

#[test]
fn large_messages() -> Result<()> {
    fixture("big", &["--script", "big", "--max-bytes", "3000000"], &["--answers", "json"])?;
    fixture("big_events", &["--script", "big", "--max-bytes", "1100000"], &[]).map(drop)
}

#[test]
fn refused() -> Result<()> {
    let run = fixture("refused", &["--script", "refused"], &[])?;
    let refused = run.calls.iter().filter(|call| call["outcome"] != "ok");
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
    fixture("refused_modern", &["--script", "refused", "--era", "modern"], &[]).map(drop)
}

#[test]
fn one_side_dies() -> Result<()> {
    for (script, outcome) in [("kill", "server_exit"), ("exit", "server_exit"), ("abandon", "abandoned")] {
        let run = fixture(script, &["--script", script], &[])?;
        let ended = pick(&run.calls, "outcome", outcome).len();
        ensure!(ended == 3, "{ended} calls ended as {outcome}");
    }
    let run = fixture("abandon_modern", &["--script", "abandon", "--era", "modern"], &[])?;
    ensure!(pick(&run.calls, "outcome", "cancelled").len() == 3, "leaving did not cancel");
    Ok(())
}

#[test]
fn load() -> Result<()> {
    let trace = Trace::new("http_load")?;
    let with = With {
        server: &["--answers", "json"],
        ..PLAIN
    };
    let mut line = with.line(&trace, "fixture", "fixture")?;
    let client = line.iter().position(|word| word == "http-client").context("no client")?;
    line.truncate(client);
    let truth = trace.truth();
    let load = ["load", "--http", "http://localhost:{port}/mcp", "--truth", &truth];
    let much = ["-n", "1000", "-c", "8", "-k", "3", "--mix", "mixed"];
    line.extend(load.iter().chain(&much).map(|word| (*word).to_owned()));
    let run = trace.run(&line)?;
    ensure!(run.status.success(), "{}", run.stderr);
    let score = mcpsonar_tests::harness::check_perfect(&run)?;
    ensure!(score.truth == 3006 && score.bytes_accuracy >= 1.0, "{score:?}");
    Ok(())
}
