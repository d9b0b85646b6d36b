//! The real SDKs, installed with pinned versions: clients that write the truth, and servers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::agent::{build_folder, text};
use super::guard::output_within;

const PACKAGE_LOCK: &str = include_str!("../../sdk/package-lock.json");
const REQUIREMENTS: &str = include_str!("../../sdk/requirements.txt");
const PROXY_REQUIREMENTS: &str = include_str!("../../sdk/requirements-proxy.txt");
/// What each runtime finds in its folder.
const NODE: &[(&str, &str)] = &[
    ("package.json", include_str!("../../sdk/package.json")),
    ("package-lock.json", PACKAGE_LOCK),
    ("client.mjs", include_str!("../../sdk/client.mjs")),
    ("server.mjs", include_str!("../../sdk/server.mjs")),
    ("loopback.mjs", include_str!("../../sdk/loopback.mjs")),
];
const PYTHON: &[(&str, &str)] = &[
    ("requirements.txt", REQUIREMENTS),
    ("requirements-proxy.txt", PROXY_REQUIREMENTS),
    ("client.py", include_str!("../../sdk/client.py")),
    ("server.py", include_str!("../../sdk/server.py")),
    ("faults.py", include_str!("../../sdk/faults.py")),
];
/// The reference server, from where the packages for Node are.
pub const EVERYTHING: &str = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";
const INSTALL: Duration = Duration::from_secs(600);

/// `target/sdk`, beside the build.
pub fn folder() -> PathBuf {
    let build = build_folder();
    build.parent().unwrap_or(&build).join("sdk")
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

fn lay_out(runtime: &str, files: &[(&str, &str)]) -> Result<PathBuf> {
    let place = folder().join(runtime);
    std::fs::create_dir_all(&place)?;
    for (name, text) in files {
        std::fs::write(place.join(name), text)?;
    }
    Ok(place)
}

fn install_node() -> Result<()> {
    let place = lay_out("node", NODE)?;
    once(&place, PACKAGE_LOCK, || {
        ran(Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&place))
    })
}

fn install_python() -> Result<()> {
    let place = lay_out("python", PYTHON)?;
    // mcp-proxy is built on another generation of the SDK.
    once(&place, &format!("{REQUIREMENTS}{PROXY_REQUIREMENTS}"), || {
        for (venv, requirements) in [("venv", "requirements.txt"), ("proxy", "requirements-proxy.txt")] {
            ran(Command::new("python3").args(["-m", "venv", venv]).current_dir(&place))?;
            ran(Command::new(place.join(venv).join("bin/pip"))
                .args(["install", "-q", "-r", requirements])
                .current_dir(&place))?;
        }
        Ok(())
    })
}

/// A collector that decodes OTLP by Python's library, and checks it.
pub mod otlp {
    use super::{Command, OnceLock, Path, PathBuf, Result, folder, lay_out, once, ran};

    const REQUIREMENTS: &str = include_str!("../../otlp/requirements.txt");
    const FILES: &[(&str, &str)] = &[
        ("requirements.txt", REQUIREMENTS),
        ("conformance.py", include_str!("../../otlp/conformance.py")),
        ("conventions.json", include_str!("../../otlp/conventions.json")),
        // What of our own is sent must be in them.
        ("otlp.md", include_str!("../../../docs/otlp.md")),
        ("metrics.md", include_str!("../../../docs/metrics.md")),
    ];

    fn place(name: impl AsRef<Path>) -> PathBuf {
        folder().join("otlp").join(name)
    }

    /// The interpreter that has the library.
    #[must_use]
    pub fn python() -> PathBuf {
        place("venv/bin/python")
    }

    /// What it runs.
    #[must_use]
    pub fn program() -> PathBuf {
        place("conformance.py")
    }

    /// Installs both, once.
    ///
    /// # Errors
    /// When python3 or the registry is not to be had.
    pub fn install() -> Result<()> {
        static ONCE: OnceLock<Result<(), String>> = OnceLock::new();
        let install = || {
            let place = lay_out("otlp", FILES)?;
            once(&place, REQUIREMENTS, || {
                ran(Command::new("python3").args(["-m", "venv", "venv"]).current_dir(&place))?;
                ran(Command::new(place.join("venv/bin/pip"))
                    .args(["install", "-q", "-r", "requirements.txt"])
                    .current_dir(&place))
            })
        };
        ONCE.get_or_init(|| install().map_err(|e| format!("{e:#}")))
            .clone()
            .map_err(anyhow::Error::msg)
    }
}

/// What both kinds of programs need is there; false, said aloud, where a runtime is missing, except in CI.
pub fn ready() -> Result<bool> {
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

/// An error where a runtime is missing: what proves nothing must not look like what does.
pub fn need_sdks() -> Result<()> {
    ensure!(ready()?, "node or python3 is not installed, and this test needs both");
    Ok(())
}

/// The command line of a client of this kind up to the server's.
pub fn client(kind: &str, truth: &str, more: &[&str]) -> Result<Vec<String>> {
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

/// The command line of a stdio server of this kind.
pub fn server(kind: &str) -> Result<Vec<String>> {
    Ok(match kind {
        "node" => vec!["node".to_owned(), text(&folder().join("node").join(EVERYTHING))],
        "py" => vec![
            text(&folder().join("python/venv/bin/python")),
            text(&folder().join("python/server.py")),
        ],
        "py-faults" => vec![
            text(&folder().join("python/venv/bin/python")),
            text(&folder().join("python/faults.py")),
        ],
        "rust" => vec![text(&build_folder().join("mcp-rmcp-server"))],
        _ => bail!("no server {kind}"),
    })
}
