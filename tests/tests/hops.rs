//! Proxies between stdio and HTTP: a call a hop, and the second names the first.

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::harness::sdk::{folder, need_sdks};
use mcpsonar_tests::harness::{Run, Trace, check_lines, fixture, text};
use serde_json::Value;

/// So many times the tool is called.
const CALLS: &str = "6";

/// Holds the hops of the calls of one tool against each other.
fn check(run: &Run, asked: &str) -> Result<()> {
    ensure!(
        run.status.success(),
        "the client ended with {}: {}",
        run.status,
        run.stderr
    );
    check_lines(&run.calls)?;
    let answered = if asked == "stdio" { "http" } else { "stdio" };
    let hops = |transport: &str| -> Vec<&Value> {
        let echoes = run.calls.iter().filter(|call| call["tool"] == "echo");
        echoes.filter(|call| call["transport"] == transport).collect()
    };
    let (first, second) = (hops(asked), hops(answered));
    let made = CALLS.parse::<usize>()?;
    ensure!(
        (first.len(), second.len()) == (made, made),
        "{} first hops and {} second",
        first.len(),
        second.len()
    );
    for child in second {
        let parent = first
            .iter()
            .find(|parent| parent["call"] == child["parent_call"])
            .with_context(|| format!("the hop has no parent: {child}"))?;
        ensure!(parent["parent_call"].is_null(), "the first hop has a parent: {parent}");
        ensure!(
            parent["server"]["pid"] == child["client"]["pid"],
            "not through one process: {parent} and {child}"
        );
        ensure!(parent["outcome"] == child["outcome"], "{parent} and {child}");
        for call in [parent, &child] {
            ensure!(
                call["seen_by"].as_array().is_some_and(|ends| ends.len() == 2),
                "one end only: {call}"
            );
        }
        let inside = child["start_mono_ns"].as_u64() >= parent["start_mono_ns"].as_u64()
            && child["latency_us"].as_f64() <= parent["latency_us"].as_f64();
        ensure!(inside, "the hop is not inside its parent: {parent} and {child}");
    }
    Ok(())
}

/// A client over stdio, a proxy, a server over HTTP.
fn to_http(name: &str, proxy: &[&str]) -> Result<()> {
    let trace = Trace::new(&format!("hops_{name}"))?;
    let (fixture, truth) = (fixture(), trace.truth());
    let server = [
        &*fixture,
        "pair",
        "--",
        &fixture,
        "http-server",
        "--listen",
        "127.0.0.1:{port}",
        "---",
    ];
    let client = [
        &*fixture, "client", "--script", "calls", "--calls", CALLS, "--truth", &truth, "--",
    ];
    let line: Vec<&str> = server.iter().chain(&client).chain(proxy).copied().collect();
    check(&trace.run(&line)?, "stdio")
}

/// A client over HTTP, a proxy, a server over stdio.
fn to_stdio(name: &str, proxy: &[&str]) -> Result<()> {
    let trace = Trace::new(&format!("hops_{name}"))?;
    let (fixture, truth) = (fixture(), trace.truth());
    let head = [&*fixture, "pair", "--"];
    let client = [
        "---",
        &*fixture,
        "http-client",
        "--script",
        "calls",
        "--calls",
        CALLS,
        "--truth",
        &truth,
        "http://127.0.0.1:{port}/mcp",
    ];
    let line: Vec<&str> = head.iter().chain(proxy).chain(&client).copied().collect();
    check(&trace.run(&line)?, "http")
}

#[test]
fn mcp_remote() -> Result<()> {
    need_sdks()?;
    let proxy = text(&folder().join("node/node_modules/.bin/mcp-remote"));
    to_http(
        "mcp_remote",
        &[
            "node",
            &proxy,
            "http://127.0.0.1:{port}/mcp",
            "--transport",
            "http-only",
        ],
    )
}

#[test]
fn supergateway() -> Result<()> {
    need_sdks()?;
    let (preload, proxy) = (
        text(&folder().join("node/loopback.mjs")),
        text(&folder().join("node/node_modules/.bin/supergateway")),
    );
    let server = format!("{} server", fixture());
    let how = [
        "--outputTransport",
        "streamableHttp",
        "--stateful",
        "--logLevel",
        "none",
        "--port",
        "{port}",
    ];
    let words = ["node", "--import", &preload, &proxy, "--stdio", &server];
    to_stdio("supergateway", &words.iter().chain(&how).copied().collect::<Vec<_>>())
}

#[test]
fn mcp_proxy_to_http() -> Result<()> {
    need_sdks()?;
    let proxy = text(&folder().join("python/proxy/bin/mcp-proxy"));
    to_http(
        "mcp_proxy_http",
        &[&proxy, "--transport", "streamablehttp", "http://127.0.0.1:{port}/mcp"],
    )
}

#[test]
fn mcp_proxy_to_stdio() -> Result<()> {
    need_sdks()?;
    let proxy = text(&folder().join("python/proxy/bin/mcp-proxy"));
    to_stdio(
        "mcp_proxy_stdio",
        &[&proxy, "--port", "{port}", "--", &fixture(), "server"],
    )
}
