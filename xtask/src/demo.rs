//! `cargo xtask demo`: a real MCP client and server under the agent, their calls live on the screen.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{build, python, repo, setup, sh};

/// The newest of the 1.x line, which most clients and servers in the field are built on.
const NODE_SDK: &str = "@modelcontextprotocol/sdk@1.32.2";
/// The reference server that offers one of everything.
const NODE_SERVER: &str = "@modelcontextprotocol/server-everything@2026.8.31";
const PYTHON_SDK: &str = "mcp==2.3.0";
/// The oldest Node that the SDK takes.
const NODE_MAJOR: u32 = 18;
/// For what a package client fetches.
const INSTALL_LIMIT: Duration = Duration::from_secs(240);

const NODE_CLIENT: &str = include_str!("../assets/demo-client.mjs");
const PYTHON_CLIENT: &str = include_str!("../assets/demo-client.py");
const PYTHON_SERVER: &str = include_str!("../assets/demo-server.py");

/// Shows the agent at work on a real MCP client and server
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which pair to run, in place of the first that can be had
    #[arg(long, value_enum)]
    with: Option<Pair>,
    /// More options for `mcpsonar trace`
    #[arg(last = true)]
    trace: Vec<String>,
}

/// A client with its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Pair {
    /// The TypeScript SDK and the reference server
    Node,
    /// The Python SDK
    Python,
    /// The project's own test programs
    Fixture,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    setup::for_build()?;
    build::ebpf()?;
    build::agent(true)?;
    let wanted = match &args.with {
        Some(pair) => std::slice::from_ref(pair),
        None => &[Pair::Node, Pair::Python, Pair::Fixture],
    };
    for pair in wanted {
        match pair.prepare() {
            Ok(command) => return trace(&args.trace, &command),
            Err(error) => eprintln!("    the {pair:?} pair is not to be had: {error:#}"),
        }
    }
    bail!("none of the demonstration's pairs can be run here; the lines above say why")
}

/// Runs `command` under the agent.
fn trace(options: &[String], command: &[String]) -> Result<()> {
    let agent = repo::release("mcpsonar");
    let mut trace = if sh::is_root() {
        sh::cmd(&agent)
    } else if sh::which("sudo").is_some() {
        sh::say("the agent loads eBPF programs, which takes root: asking sudo");
        let mut sudo = sh::cmd("sudo");
        sudo.arg(&agent);
        sudo
    } else {
        bail!(
            "the agent loads eBPF programs, which takes root, and there is no sudo: as root, run\n  {} trace -- {}",
            agent.display(),
            command.join(" ")
        );
    };
    sh::say("every line below is one MCP call, printed as it ends; nothing in the client or the server was changed");
    sh::run(trace.arg("trace").args(options).arg("--").args(command)).with_context(|| {
        format!(
            "the demonstration failed; `{} doctor` says what this machine allows",
            agent.display()
        )
    })
}

impl Pair {
    /// Installs what the pair needs and gives the client's command line, with the server's in it.
    fn prepare(self) -> Result<Vec<String>> {
        match self {
            Self::Node => node(),
            Self::Python => python(),
            Self::Fixture => {
                build::fixtures()?;
                let fixture = text(&repo::release("mcp-fixture"));
                let words = ["client", "--script", "basic", "--", &fixture, "server"];
                Ok([&*fixture].into_iter().chain(words).map(str::to_owned).collect())
            }
        }
    }
}

fn node() -> Result<Vec<String>> {
    let node = sh::which("node").context("there is no node")?;
    let npm = sh::which("npm").context("there is no npm")?;
    let version = sh::read(sh::cmd(&node).arg("--version"))?;
    let major = version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|n| n.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE_MAJOR) {
        bail!("node is {}, and the SDK takes {NODE_MAJOR} or newer", version.trim());
    }
    let folder = repo::target().join("demo/node");
    let wanted = format!("{NODE_SDK}\n{NODE_SERVER}\n");
    once(&folder, &wanted, || {
        fs::write(folder.join("package.json"), "{ \"private\": true }\n")?;
        sh::say(format!(
            "installing {NODE_SDK} and {NODE_SERVER} into {}",
            folder.display()
        ));
        let mut install = sh::cmd(&npm);
        install
            .current_dir(&folder)
            .args(["install", "--no-audit", "--no-fund", "--loglevel=error"]);
        sh::run_within(install.args([NODE_SDK, NODE_SERVER]), INSTALL_LIMIT)
    })?;
    let client = folder.join("demo-client.mjs");
    fs::write(&client, NODE_CLIENT).with_context(|| format!("cannot write {}", client.display()))?;
    let server = folder.join("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let node = text(&node);
    Ok(vec![
        node.clone(),
        text(&client),
        node,
        text(&server),
        "stdio".to_owned(),
    ])
}

fn python() -> Result<Vec<String>> {
    let folder = repo::target().join("demo/python");
    let venv = folder.join("venv");
    once(&folder, PYTHON_SDK, || {
        sh::say(format!("installing {PYTHON_SDK} into {}", folder.display()));
        let mut pip = sh::cmd(python::environment(&venv)?);
        sh::run_within(pip.args(["-m", "pip", "install", "--quiet", PYTHON_SDK]), INSTALL_LIMIT)
    })?;
    let (client, server) = (folder.join("demo-client.py"), folder.join("demo-server.py"));
    fs::write(&client, PYTHON_CLIENT).with_context(|| format!("cannot write {}", client.display()))?;
    fs::write(&server, PYTHON_SERVER).with_context(|| format!("cannot write {}", server.display()))?;
    let python = text(&venv.join("bin/python"));
    Ok(vec![python.clone(), text(&client), python, text(&server)])
}

/// Does `work` in `folder` unless it was done there before for the same `wanted`.
fn once(folder: &Path, wanted: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let mark = folder.join("installed");
    if fs::read_to_string(&mark).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    work()?;
    fs::write(&mark, wanted).with_context(|| format!("cannot write {}", mark.display()))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
