//! The real SDKs, installed with pinned versions: each client with each server, and servers that npx and uvx start.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use mcpsonar_tests::harness::{Run, Trace, agent, check_perfect, output_within, text};

const CLIENT_PY: &str = include_str!("../sdk/client.py");
const SERVER_PY: &str = include_str!("../sdk/server.py");
const CLIENT_JS: &str = include_str!("../sdk/client.mjs");
const PACKAGE: &str = include_str!("../sdk/package.json");
const PACKAGE_LOCK: &str = include_str!("../sdk/package-lock.json");
const REQUIREMENTS: &str = include_str!("../sdk/requirements.txt");
const EVERYTHING: &str = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";
const INSTALL: Duration = Duration::from_secs(600);

/// `target/sdk`, beside the build.
fn folder() -> PathBuf {
    let build = Path::new(env!("CARGO_TARGET_TMPDIR"));
    build.parent().unwrap_or(build).join("sdk")
}

fn ran(command: &mut Command) -> Result<()> {
    let output = output_within(command, INSTALL)?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Installs once: until what is wanted differs from what the mark says.
fn once(place: &Path, wanted: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let mark = place.join("installed");
    if std::fs::read_to_string(&mark).is_ok_and(|is| is == wanted) {
        return Ok(());
    }
    install()?;
    Ok(std::fs::write(mark, wanted)?)
}

fn install_node() -> Result<()> {
    let place = folder().join("node");
    std::fs::create_dir_all(&place)?;
    std::fs::write(place.join("package.json"), PACKAGE)?;
    std::fs::write(place.join("package-lock.json"), PACKAGE_LOCK)?;
    std::fs::write(place.join("client.mjs"), CLIENT_JS)?;
    once(&place, PACKAGE_LOCK, || {
        ran(Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&place))
    })
}

fn install_python() -> Result<()> {
    let place = folder().join("python");
    std::fs::create_dir_all(&place)?;
    for (name, text) in [
        ("requirements.txt", REQUIREMENTS),
        ("client.py", CLIENT_PY),
        ("server.py", SERVER_PY),
    ] {
        std::fs::write(place.join(name), text)?;
    }
    once(&place, REQUIREMENTS, || {
        ran(Command::new("python3").args(["-m", "venv", "venv"]).current_dir(&place))?;
        ran(Command::new("venv/bin/pip")
            .args(["install", "-q", "-r", "requirements.txt"])
            .current_dir(&place))
    })
}

/// What both kinds of programs need is there; false, said aloud, where a runtime is missing, except in CI.
fn ready() -> Result<bool> {
    static NODE: OnceLock<Result<(), String>> = OnceLock::new();
    static PYTHON: OnceLock<Result<(), String>> = OnceLock::new();
    for (runtime, once, install) in [
        ("node", &NODE, install_node as fn() -> _),
        ("python3", &PYTHON, install_python),
    ] {
        if Command::new(runtime).arg("--version").output().is_err() {
            ensure!(
                std::env::var("CI").is_err(),
                "{runtime} is not installed, and CI tests the real SDKs"
            );
            eprintln!("NOT TESTED: {runtime} is not installed, so this test of real SDKs proves nothing");
            return Ok(false);
        }
        once.get_or_init(|| install().map_err(|e| format!("{e:#}")))
            .clone()
            .map_err(anyhow::Error::msg)?;
    }
    Ok(true)
}

fn client(kind: &str, truth: &str, more: &[&str]) -> Result<Vec<String>> {
    let (node, python) = (
        text(&folder().join("node/client.mjs")),
        text(&folder().join("python/client.py")),
    );
    let venv = text(&folder().join("python/venv/bin/python"));
    let head: [&str; 4] = match kind {
        "py" => [&venv, &python, truth, "auto"],
        "py-legacy" => [&venv, &python, truth, "legacy"],
        "node" => ["node", &node, truth, "v1"],
        "node-modern" => ["node", &node, truth, "v2"],
        _ => bail!("no client {kind}"),
    };
    Ok(head
        .iter()
        .chain(more)
        .chain(&["--"])
        .map(|s| (*s).to_owned())
        .collect())
}

fn server(kind: &str) -> Result<Vec<String>> {
    Ok(match kind {
        "node" => vec!["node".to_owned(), text(&folder().join("node").join(EVERYTHING))],
        "py" => vec![
            text(&folder().join("python/venv/bin/python")),
            text(&folder().join("python/server.py")),
        ],
        "rust" => vec![env!("CARGO_BIN_EXE_mcp-rmcp-server").to_owned()],
        _ => bail!("no server {kind}"),
    })
}

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
