//! What runs in the background while something is measured: the agent, or empty programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{repo, sh};

/// How long attaching may take.
const ATTACH: Duration = Duration::from_secs(15);
/// As long as this no further hook may have come for all to be there.
const SETTLED: Duration = Duration::from_millis(400);
/// How long a flush at the end may take.
const END: Duration = Duration::from_secs(10);

/// What the agent watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every process of the host.
    Host,
    /// One process that does nothing, and its descendants.
    Tree,
}

/// A program with hooks attached, ended when dropped.
#[derive(Debug)]
pub(crate) struct Background {
    child: Child,
    /// The process that is watched in tree scope.
    watched: Option<Child>,
    stats: Option<PathBuf>,
}

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu_s: f64,
    pub(crate) rss_mib: f64,
    pub(crate) peak_mib: f64,
}

/// `mcpsonar trace` with the options that every measurement gives it.
pub(crate) fn trace(tier: u8, stats: &Path) -> Command {
    let mut command = sh::cmd(repo::release("mcpsonar"));
    command
        .args([
            "trace",
            "--json",
            "-o",
            "/dev/null",
            "--tier",
            &tier.to_string(),
            "--stats",
        ])
        .arg(stats);
    command
}

/// A file for the agent's own figures.
pub(crate) fn stats_file() -> Result<PathBuf> {
    let folder = repo::target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.join("stats.json"))
}

/// The figures that the agent leaves when it ends.
#[derive(Debug)]
pub(crate) struct Stats(Value);

impl Stats {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("`mcpsonar trace --stats` left no {}", path.display()))?;
        let value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON: {text}", path.display()))?;
        Ok(Self(value))
    }

    /// Records that found no room in the ring.
    pub(crate) fn dropped(&self) -> Result<u64> {
        self.number("/counters/ring_dropped").map(|n| n as u64)
    }

    /// Records that reached the agent.
    pub(crate) fn records(&self) -> Result<u64> {
        self.number("/counters/records").map(|n| n as u64)
    }

    /// What the agent itself used of the CPU, in milliseconds.
    pub(crate) fn cpu_ms(&self) -> Result<f64> {
        self.number("/usage/cpu_ms")
    }

    fn number(&self, place: &str) -> Result<f64> {
        let found = self.0.pointer(place).and_then(Value::as_f64);
        found.with_context(|| format!("the agent's figures have no number at {place}: {}", self.0))
    }
}

/// How many attachments of eBPF programs all processes hold now.
pub(crate) fn hooks_on_host() -> usize {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.map(|process| hooks_of(&process.path().join("fd"))).sum()
}

/// How many attachments of eBPF programs a process holds, by descriptors or in a BPF file system of its own.
fn hooks_of(files: &Path) -> usize {
    let paths = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let is_hook = |file: &PathBuf| {
        let to = fs::read_link(file).unwrap_or_default();
        let to = to.to_string_lossy();
        to.contains("bpf_link") || to.contains("bpf-link") || to.contains("raw-tracepoint")
    };
    let files = paths(files);
    let file_systems = files.iter().filter(|file| file.join("maps.debug").exists());
    let pins = file_systems
        .flat_map(|root| paths(root))
        .filter(|pin| pin.extension().is_none());
    files.iter().filter(|file| is_hook(file)).count() + pins.count()
}

impl Background {
    /// An empty pair of raw tracepoints: the least that tier 2 can cost.
    pub(crate) fn empty() -> Result<Self> {
        let mut command = sh::cmd(repo::release("mcpsonar"));
        command.arg("bench-empty-tracepoints");
        // It stays until its standard input closes.
        Self::start(command.stdin(Stdio::piped()), None, None)
    }

    /// The agent.
    pub(crate) fn agent(tier: u8, scope: Scope) -> Result<Self> {
        let stats = stats_file()?;
        let mut command = trace(tier, &stats);
        let watched = match scope {
            Scope::Host => None,
            Scope::Tree => {
                let child = sh::cmd("sleep")
                    .arg("3600")
                    .spawn()
                    .context("cannot start a process to watch")?;
                command.args(["-p", &child.id().to_string()]);
                Some(child)
            }
        };
        Self::start(&mut command, Some(stats), watched)
    }

    fn start(command: &mut Command, stats: Option<PathBuf>, watched: Option<Child>) -> Result<Self> {
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start target/release/mcpsonar: run `cargo xtask build --release`")?;
        let mut background = Self { child, watched, stats };
        background
            .wait_attached()
            .with_context(|| format!("`{}`", crate::sh::show(command)))?;
        Ok(background)
    }

    /// Waits until the process holds hooks and no more of them come.
    fn wait_attached(&mut self) -> Result<()> {
        let end = Instant::now() + ATTACH;
        let (mut before, mut since) = (0, Instant::now());
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                bail!("ended ({status}) before its hooks were attached: run it by hand to see why");
            }
            let hooks = self.hooks();
            if hooks != before {
                (before, since) = (hooks, Instant::now());
            } else if hooks > 0 && since.elapsed() > SETTLED {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("attached no hook within {} s", ATTACH.as_secs())
    }

    fn hooks(&self) -> usize {
        hooks_of(&self.proc("fd"))
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        // The clock ticks of /proc/PID/stat are too coarse for an idle agent; these are nanoseconds.
        let threads = fs::read_dir(self.proc("task")).context("the agent ended while it was measured")?;
        let cpu_ns: f64 = threads
            .flatten()
            .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
            .filter_map(|text| text.split(' ').next()?.parse::<f64>().ok())
            .sum();
        let status = fs::read_to_string(self.proc("status"))?;
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok())
                .unwrap_or(f64::NAN)
                / 1024.0
        };
        Ok(Usage {
            cpu_s: cpu_ns / 1e9,
            rss_mib: mib("VmRSS:"),
            peak_mib: mib("VmHWM:"),
        })
    }

    /// Ends it as a user would, and gives its own figures.
    pub(crate) fn finish(mut self) -> Result<Option<Stats>> {
        self.interrupt()?;
        // The kernel takes hooks of TLS libraries off after the agent has ended.
        let end = Instant::now() + END;
        while hooks_on_host() > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.stats.take().map(|path| Stats::read(&path)).transpose()
    }

    fn interrupt(&mut self) -> Result<()> {
        drop(self.child.stdin.take());
        if self.child.try_wait()?.is_none() {
            let id = self.child.id().to_string();
            sh::read(sh::cmd("sh").args(["-c", "kill -INT \"$0\"", &id]))?;
            sh::wait(&mut self.child, END)?.context("did not end within 10 s of an interrupt and was killed")?;
        }
        if let Some(mut watched) = self.watched.take() {
            watched.kill()?;
            watched.wait()?;
        }
        Ok(())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Err(error) = self.interrupt() {
            eprintln!("    ending mcpsonar: {error:#}");
        }
    }
}
