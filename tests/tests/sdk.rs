//! The real SDKs, installed with pinned versions: each client with each server, and servers that npx and uvx start.

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::harness::sdk::{client, folder, ready, server};
use mcpsonar_tests::harness::{Run, Trace, agent, check_perfect, text};

fn traced(name: &str, kind: &str, only: &[&str], server: Vec<String>) -> Result<Option<Run>> {
    if !ready()? {
        return Ok(None);
    }
    let trace = Trace::new(&format!("sdk_{name}"))?;
    let mut line = client(kind, &trace.truth(), only)?;
    line.extend(server);
    let run = trace.run(&line)?;
    ensure!(
        run.status.success(),
        "the client ended with {}: {}",
        run.status,
        run.stderr
    );
    let score = check_perfect(&run).with_context(|| format!("agent {}", agent().display()))?;
    // The SDK's own time is in the truth and not in the agent's.
    ensure!(
        score.latency_error_us.p50 < 1000.0,
        "latencies are too long: {:?}",
        score.latency_error_us
    );
    Ok(Some(run))
}

fn pair(client: &str, with: &str) -> Result<()> {
    let Some(run) = traced(&format!("{client}_{with}"), client, &[], server(with)?)? else {
        return Ok(());
    };
    let comm = match with {
        "node" => "node",
        "py" => "python",
        _ => "mcp-rmcp-server",
    };
    for call in &run.calls {
        ensure!(
            call["server"]["comm"].as_str().is_some_and(|c| c.starts_with(comm)),
            "the server is {}",
            call["server"]
        );
        ensure!(
            call["transport"] == "stdio" && call["network_transport"] == "pipe",
            "transport in {call}"
        );
    }
    Ok(())
}

macro_rules! pairs {
    ($($name:ident: $client:literal $server:literal;)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            pair($client, $server)
        }
    )*};
}

pairs! {
    python_with_node: "py" "node";
    python_with_python: "py" "py";
    python_with_rust: "py" "rust";
    python_handshake_with_node: "py-legacy" "node";
    python_handshake_with_python: "py-legacy" "py";
    python_handshake_with_rust: "py-legacy" "rust";
    node_with_node: "node" "node";
    node_with_python: "node" "py";
    node_with_rust: "node" "rust";
    node_modern_with_node: "node-modern" "node";
    node_modern_with_python: "node-modern" "py";
    node_modern_with_rust: "node-modern" "rust";
}

#[test]
fn npx_starts_the_server() -> Result<()> {
    let place = folder().join("node");
    // In the folder that has it installed, npx runs that one and asks no registry.
    let start = format!(
        "cd {} && exec npx -y @modelcontextprotocol/server-filesystem .",
        place.display()
    );
    let server = ["sh", "-c", &start].map(str::to_owned).to_vec();
    let only = ["--call", "list_directory", r#"{"path":"."}"#];
    let Some(run) = traced("npx", "node", &only, server)? else {
        return Ok(());
    };
    for call in &run.calls {
        // npx, its shell and the server hold the same streams.
        let leaf = call["server"]["cmdline"].to_string();
        ensure!(
            leaf.contains("server-filesystem") && call["server"]["comm"] == "node",
            "the server is {}",
            call["server"]
        );
    }
    Ok(())
}

#[test]
fn uvx_starts_the_server() -> Result<()> {
    let place = folder().join("python");
    let cache = format!("UV_CACHE_DIR={}", place.join("uv").display());
    let uvx = text(&place.join("venv/bin/uvx"));
    let server = ["env", &cache, &uvx, "mcp-server-time==2026.10.19"]
        .map(str::to_owned)
        .to_vec();
    let only = ["--call", "get_current_time", r#"{"timezone":"UTC"}"#];
    let Some(run) = traced("uvx", "py", &only, server)? else {
        return Ok(());
    };
    for call in &run.calls {
        ensure!(
            call["server"]["exe"].as_str().is_some_and(|exe| exe.contains("python")),
            "the server is {}",
            call["server"]
        );
    }
    Ok(())
}
