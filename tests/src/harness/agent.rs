//! The agent under test.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::guard::{Guard, output_within, wait_within};
use crate::fixture::{sys, truth};

/// How long one traced run may take.
const LIMIT: Duration = Duration::from_secs(180);
/// How long attaching may take.
const ATTACH: Duration = Duration::from_secs(15);
/// Covers a process in /proc, then becomes the command that follows.
const HIDE: &str = r#"mount --bind "$0" "/proc/$1" && shift && exec "$@""#;
/// As long as this no further hook may have come for all to be there.
const SETTLED: Duration = Duration::from_millis(1000);

/// The folder of the build: `target/release` for a test in `target/release/deps`.
pub(super) fn build_folder() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.parent().unwrap_or(Path::new("."));
    if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder).to_owned()
    } else {
        folder.to_owned()
    }
}

/// The agent: `MCPSONAR_BIN`, else the one beside the tests.
#[must_use]
pub fn agent() -> PathBuf {
    std::env::var_os("MCPSONAR_BIN").map_or_else(|| build_folder().join("mcpsonar"), PathBuf::from)
}

/// The fixture beside the tests, as a word of a command line.
#[must_use]
pub fn fixture() -> String {
    text(&build_folder().join("mcp-fixture"))
}

/// A path as a word of a command line.
#[must_use]
pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// An error that says what is missing when this machine cannot run the agent. Tests do not skip: a run that
/// proves nothing must not look like one that does.
pub fn need_agent() -> Result<()> {
    static ONCE: OnceLock<Result<(), String>> = OnceLock::new();
    ONCE.get_or_init(|| try_agent().map_err(|e| format!("{e:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

fn try_agent() -> Result<()> {
    ensure!(
        sys::is_root(),
        "the end-to-end tests load eBPF programs and need root: run them as root or leave out the feature e2e"
    );
    let agent = agent();
    let missing = || {
        format!(
            "{} is missing: build the agent first, or name it in MCPSONAR_BIN",
            agent.display()
        )
    };
    ensure!(agent.is_file(), missing());
    ensure!(
        Path::new(&fixture()).is_file(),
        "{} is missing: build with --bins",
        fixture()
    );
    let mut command = Command::new(&agent);
    let output = output_within(
        command.args(["trace", "--no-tls", "--json", "-o", "/dev/null", "--", "true"]),
        Duration::from_secs(60),
    )?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "the agent cannot trace on this machine ({}); `mcpsonar doctor` says why:\n{stderr}",
        output.status
    );
    Ok(())
}

/// One use of the agent, with files of its own.
#[derive(Debug)]
pub struct Trace {
    folder: PathBuf,
    options: Vec<String>,
}

/// What came of a traced run.
#[derive(Debug)]
pub struct Run {
    /// The agent's exit status.
    pub status: ExitStatus,
    /// What the command, or the agent, printed.
    pub stdout: String,
    /// The same for its errors.
    pub stderr: String,
    /// The agent's lines.
    pub calls: Vec<Value>,
    /// What really happened.
    pub truth: Vec<truth::Line>,
    /// The agent's own figures; null when it left none.
    pub stats: Value,
}

impl Trace {
    /// Prepares a run that leaves TLS alone: taking its hooks off keeps the kernel busy for seconds, in
    /// which no other agent gets to its own. The name is the test's.
    pub fn new(name: &str) -> Result<Self> {
        Ok(Self::with_tls(name)?.options(&["--no-tls"]))
    }

    /// Prepares a run that looks into TLS. The name is the test's.
    pub fn with_tls(name: &str) -> Result<Self> {
        need_agent()?;
        let folder = build_folder().join("e2e").join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let options = match std::env::var("MCPSONAR_TIER") {
            Ok(tier) => vec!["--tier".to_owned(), tier],
            Err(_) => Vec::new(),
        };
        Ok(Self { folder, options })
    }

    /// More options of `mcpsonar trace`.
    #[must_use]
    pub fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|o| (*o).to_owned()));
        self
    }

    /// Has flags raised, by these thresholds that differ from the defaults.
    pub fn flags(self, thresholds: &str) -> Result<Self> {
        let (events, levels) = (text(&self.file("events")), self.file("thresholds"));
        std::fs::write(&levels, thresholds)?;
        Ok(self.options(&["--events", &events, "--thresholds", &text(&levels)]))
    }

    /// A file of this run.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The file for the truth, as a word of a command line.
    #[must_use]
    pub fn truth(&self) -> String {
        text(&self.file("truth.jsonl"))
    }

    /// `mcpsonar trace` with its output and figures going to this run's files.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(agent());
        command.args(["trace", "--json", "-o"]).arg(self.file("calls.jsonl"));
        command
            .arg("--stats")
            .arg(self.file("stats.json"))
            .args(&self.options)
            .stdin(Stdio::null());
        command
    }

    /// Traces a command from its start to its end.
    pub fn run<S: AsRef<OsStr>>(&self, traced: &[S]) -> Result<Run> {
        let output = output_within(self.command().arg("--").args(traced), LIMIT)?;
        self.collect(output.status, &output.stdout, &output.stderr)
    }

    /// The command line of a fixture client with a fixture server.
    #[must_use]
    pub fn client_line(&self, client: &[&str], server: &[&str]) -> Vec<String> {
        let (fixture, truth) = (fixture(), self.truth());
        let head = [&fixture, "client", "--truth", &truth];
        let tail = ["--", &fixture, "server"];
        head.iter()
            .chain(client)
            .chain(&tail)
            .chain(server)
            .map(|s| (*s).to_owned())
            .collect()
    }

    /// Traces a fixture client with a fixture server, which must end well.
    pub fn client(&self, client: &[&str], server: &[&str]) -> Result<Run> {
        let run = self.run(&self.client_line(client, server))?;
        ensure!(
            run.status.success(),
            "the traced client ended with {}:\n{}",
            run.status,
            run.stderr
        );
        Ok(run)
    }

    /// Starts the agent with a scope of its own (`-p PID`, or nothing for the host) and waits until it is attached.
    pub fn attach(&self, scope: &[&str]) -> Result<Attached<'_>> {
        self.start(self.command(), scope)
    }

    /// As [`Trace::attach`], where one process is not to be found: as if it ran on another host.
    pub fn attach_without(&self, hidden: u32, scope: &[&str]) -> Result<Attached<'_>> {
        let nothing = self.file("nothing");
        std::fs::create_dir_all(&nothing)?;
        let own = self.command();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", HIDE])
            .arg(nothing)
            .arg(hidden.to_string())
            .arg(own.get_program())
            .args(own.get_args())
            .stdin(Stdio::null());
        self.start(command, scope)
    }

    /// As [`Trace::attach`], recording to this run's file `recording`.
    pub fn record(&self, scope: &[&str]) -> Result<Attached<'_>> {
        let mut command = Command::new(agent());
        command.args(["record", "-o"]).arg(self.file("recording"));
        command.args(&self.options).stdin(Stdio::null());
        self.start(command, scope)
    }

    fn start(&self, mut command: Command, scope: &[&str]) -> Result<Attached<'_>> {
        let log = std::fs::File::create(self.file("stderr"))?;
        command.args(scope).stdout(Stdio::null()).stderr(log);
        let mut attached = Attached {
            agent: Guard::spawn(&mut command)?,
            trace: self,
        };
        attached
            .wait_ready()
            .with_context(|| std::fs::read_to_string(self.file("stderr")).unwrap_or_default())?;
        Ok(attached)
    }

    fn collect(&self, status: ExitStatus, stdout: &[u8], stderr: &[u8]) -> Result<Run> {
        let stderr = String::from_utf8_lossy(stderr).into_owned();
        let lines = |name: &str| -> Result<Vec<Value>> {
            let path = self.file(name);
            if path.exists() {
                truth::load(&path)
            } else {
                Ok(Vec::new())
            }
        };
        let truth = lines("truth.jsonl")?
            .into_iter()
            .map(|line| serde_json::from_value(line).map_err(Into::into));
        Ok(Run {
            status,
            stdout: String::from_utf8_lossy(stdout).into_owned(),
            calls: lines("calls.jsonl").with_context(|| format!("the agent ended with {status}:\n{stderr}"))?,
            stderr,
            truth: truth.collect::<Result<_>>()?,
            stats: std::fs::read(self.file("stats.json"))
                .ok()
                .and_then(|s| serde_json::from_slice(&s).ok())
                .unwrap_or_default(),
        })
    }
}

/// A running agent.
#[derive(Debug)]
pub struct Attached<'a> {
    /// The process.
    pub agent: Guard,
    trace: &'a Trace,
}

impl Attached<'_> {
    /// Waits until the agent holds hooks and no more of them come.
    fn wait_ready(&mut self) -> Result<()> {
        let end = Instant::now() + ATTACH;
        let (mut before, mut since) = (0, Instant::now());
        while Instant::now() < end {
            if let Some(status) = self.agent.try_wait()? {
                bail!("the agent ended ({status}) before it was attached");
            }
            let hooks = hooks(self.agent.id());
            if hooks != before {
                (before, since) = (hooks, Instant::now());
            } else if hooks > 0 && since.elapsed() > SETTLED {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the agent attached nothing within {} s", ATTACH.as_secs())
    }

    /// Lets the last records arrive, interrupts the agent and collects.
    pub fn stop(mut self) -> Result<Run> {
        std::thread::sleep(Duration::from_millis(500));
        sys::kill(self.agent.id(), libc::SIGINT)?;
        let status = wait_within(&mut self.agent, Duration::from_secs(30))?;
        let stderr = std::fs::read(self.trace.file("stderr")).unwrap_or_default();
        let run = self.trace.collect(status, &[], &stderr)?;
        let told = matches!(status.code(), Some(0 | 130));
        ensure!(told, "an interrupted agent ended with {status}:\n{}", run.stderr);
        Ok(run)
    }
}

/// How many attachments of eBPF programs a process holds, by descriptors or in a BPF file system of its own.
fn hooks(pid: u32) -> usize {
    let paths = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path())
    };
    let process = PathBuf::from(format!("/proc/{pid}"));
    let infos = paths(process.join("fdinfo")).filter_map(|file| std::fs::read_to_string(file).ok());
    let held = infos.filter(|info| info.contains("link_id:")).count();
    let file_systems = paths(process.join("fd")).filter(|file| file.join("maps.debug").exists());
    let pins = file_systems.flat_map(paths).filter(|pin| pin.extension().is_none());
    held + pins.count()
}
