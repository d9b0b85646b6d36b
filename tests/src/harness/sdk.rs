//! The real SDKs, installed once with pinned versions beside the build.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::agent::{build_folder, text};
use super::guard::output_within;

const PACKAGE: &str = include_str!("../../sdk/package.json");
const PACKAGE_LOCK: &str = include_str!("../../sdk/package-lock.json");
const REQUIREMENTS: &str = include_str!("../../sdk/requirements.txt");
const PROXY_REQUIREMENTS: &str = include_str!("../../sdk/requirements-proxy.txt");
const INSTALL: Duration = Duration::from_secs(600);

/// What each runtime needs in its folder.
const NODE: &[(&str, &str)] = &[
    ("package.json", PACKAGE),
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
];

/// The installed SDKs.
#[derive(Clone, Copy, Debug)]
pub struct Sdk(());

impl Sdk {
    /// Installs what is not there; none, said aloud, where a runtime is missing, except in CI.
    pub fn ready() -> Result<Option<Self>> {
        static NODE_READY: OnceLock<Result<(), String>> = OnceLock::new();
        static PYTHON_READY: OnceLock<Result<(), String>> = OnceLock::new();
        for (runtime, once, install) in [
            ("node", &NODE_READY, install_node as fn() -> _),
            ("python3", &PYTHON_READY, install_python),
        ] {
            if Command::new(runtime).arg("--version").output().is_err() {
                ensure!(
                    std::env::var("CI").is_err(),
                    "{runtime} is not installed, and CI tests the real SDKs"
                );
                eprintln!("NOT TESTED: {runtime} is not installed, so this test of real SDKs proves nothing");
                return Ok(None);
            }
            once.get_or_init(|| install().map_err(|e| format!("{e:#}")))
                .clone()
                .map_err(anyhow::Error::msg)?;
        }
        Ok(Some(Self(())))
    }

    /// A file of Node's folder, as a word of a command line.
    #[must_use]
    pub fn node(file: &str) -> String {
        text(&folder("node").join(file))
    }

    /// A file of Python's folder, as a word of a command line.
    #[must_use]
    pub fn python(file: &str) -> String {
        text(&folder("python").join(file))
    }

    /// The command line of a client that writes its truth, up to the server's: the command of one, or a URL.
    pub fn client(self, kind: &str, truth: &str, more: &[&str]) -> Result<Vec<String>> {
        let (node, python, venv) = (
            Self::node("client.mjs"),
            Self::python("client.py"),
            Self::python("venv/bin/python"),
        );
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
}

/// `target/sdk/RUNTIME`, beside the build.
fn folder(runtime: &str) -> PathBuf {
    let build = build_folder();
    build.parent().unwrap_or(&build).join("sdk").join(runtime)
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
    let place = folder(runtime);
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
    // mcp-proxy is built on an SDK of its own.
    once(&place, &format!("{REQUIREMENTS}{PROXY_REQUIREMENTS}"), || {
        for (venv, requirements) in [("venv", "requirements.txt"), ("proxy", "requirements-proxy.txt")] {
            ran(Command::new("python3").args(["-m", "venv", venv]).current_dir(&place))?;
            ran(Command::new(format!("{venv}/bin/pip"))
                .args(["install", "-q", "-r", requirements])
                .current_dir(&place))?;
        }
        Ok(())
    })
}
