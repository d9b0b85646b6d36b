//! What runs while the pictures are taken: the agent, the workload, and VictoriaMetrics, which scrapes it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{apt, repo, setup, sh};

const WORKLOAD: &str = "xtask/assets/workload.py";
/// Takes what the agent sends, when it feels like it.
const COLLECTOR: &str = "xtask/assets/collector.py";
/// How often the agent is scraped: pictures of minutes need more points than operations do.
const SCRAPE: &str = "2s";
/// How long a program may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Programs that run until this is dropped.
#[derive(Debug)]
pub(super) struct Stage {
    /// What they write; removed at the end.
    pub(super) folder: PathBuf,
    agent: PathBuf,
    database: String,
    programs: Vec<(Child, &'static str)>,
}

impl Stage {
    /// Starts the agent and the database, and waits until there are samples.
    pub(super) fn begin(agent: &Path) -> Result<Self> {
        let folder = repo::target().join("pictures");
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}", folder.display()))?;
        }
        setup::for_stage()?;
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let (metrics, database) = (free_address()?, free_address()?);
        let mut stage = Self {
            folder,
            agent: agent.to_owned(),
            database: format!("http://{database}"),
            programs: Vec::new(),
        };
        let collector = stage.start_collector()?;
        stage.start(
            sh::cmd(agent)
                .arg("agent")
                // Sent often, with a queue that is soon full: the collector's faults are to be seen within a minute.
                .env("MCPSONAR_OTLP_ENDPOINT", collector)
                .env("MCPSONAR_OTLP_PROTOCOL", "http/protobuf")
                .env("MCPSONAR_OTLP_METRICS", "cumulative")
                .env("MCPSONAR_OTLP_INTERVAL", SCRAPE)
                .env("MCPSONAR_OTLP_DELAY", "200ms")
                .env("MCPSONAR_OTLP_QUEUE", "256")
                .env("MCPSONAR_PROMETHEUS_ADDRESS", &metrics)
                .env("MCPSONAR_SOCKET_PATH", stage.socket())
                .env("MCPSONAR_HISTORY_PATH", stage.folder.join("history.db")),
            "agent",
        )?;
        let scrape = stage.folder.join("scrape.yml");
        let config = format!(
            "global: {{scrape_interval: {SCRAPE}}}\nscrape_configs:\n  - job_name: mcpsonar\n    static_configs:\n      - targets: [\"{metrics}\"]\n        labels: {{instance: this-host}}\n"
        );
        fs::write(&scrape, config).with_context(|| format!("cannot write {}", scrape.display()))?;
        stage.start(
            sh::cmd(apt::victoria_metrics()?)
                .arg(format!("-httpListenAddr={database}"))
                .arg(format!("-storageDataPath={}", stage.folder.join("database").display()))
                .arg(format!("-promscrape.config={}", scrape.display()))
                // Answers are asked for at once, and not a minute later.
                .args([
                    "-search.latencyOffset=1s",
                    "-search.disableCache",
                    "-retentionPeriod=1d",
                ]),
            "victoria-metrics",
        )?;
        stage.wait_for_samples()?;
        Ok(stage)
    }

    /// Runs the workload beside what comes next, for so long at most.
    pub(super) fn play_on(&mut self, time: Duration) -> Result<()> {
        let mut workload = sh::cmd("python3");
        workload
            .arg(repo::root().join(WORKLOAD))
            .arg(time.as_secs().to_string());
        self.start(&mut workload, "workload")
    }

    /// The report of the last minutes, as HTML.
    pub(super) fn report(&self) -> Result<String> {
        let page = self.folder.join("report-of-agent.html");
        let mut report = sh::cmd(&self.agent);
        report.args(["report", "--since", "10m", "--html"]).arg(&page);
        sh::run(report.arg("--socket").arg(self.socket()))?;
        fs::read_to_string(&page).with_context(|| format!("no {}", page.display()))
    }

    /// The agent's socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    /// Asks the database's API for `path` with `fields`, and gives the answer's `data`.
    pub(super) fn ask(&self, path: &str, fields: &[(&str, &str)]) -> Result<Value> {
        let mut curl = sh::cmd("curl");
        curl.args(["--silent", "--show-error", "--max-time", "30", "--get"]);
        for (name, value) in fields {
            curl.arg("--data-urlencode").arg(format!("{name}={value}"));
        }
        let text = sh::read(curl.arg(format!("{}/api/v1/{path}", self.database)))?;
        let mut answer: Value = serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
        if answer["status"] != "success" {
            bail!("{}", answer["error"].as_str().unwrap_or(&text));
        }
        Ok(answer["data"].take())
    }

    /// Starts the collector. Returns its URL.
    fn start_collector(&mut self) -> Result<String> {
        let mut child = sh::cmd("python3")
            .arg(repo::root().join(COLLECTOR))
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the collector")?;
        let mut port = String::new();
        let output = child.stdout.take().context("the collector has no output")?;
        self.programs.push((child, "collector"));
        BufReader::new(output).read_line(&mut port)?;
        Ok(format!("http://127.0.0.1:{}", port.trim()))
    }

    fn start(&mut self, command: &mut std::process::Command, name: &'static str) -> Result<()> {
        let log = fs::File::create(self.folder.join(format!("{name}.log")))?;
        let child = command
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        self.programs.push((child, name));
        Ok(())
    }

    fn wait_for_samples(&mut self) -> Result<()> {
        let end = Instant::now() + START_LIMIT;
        let mut last = None;
        while Instant::now() < end {
            for (program, name) in &mut self.programs {
                if let Some(status) = program.try_wait()? {
                    let log = fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default();
                    bail!("{name} ended ({status}):\n{log}");
                }
            }
            let series = self.ask("query", &[("query", "mcpsonar_agent_series")]);
            match series {
                Ok(data) if data["result"].as_array().is_some_and(|list| !list.is_empty()) => return Ok(()),
                Ok(_) => last = None,
                Err(error) => last = Some(error),
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        let said = format!(
            "no metrics of the agent after {} s: see the logs in {}",
            START_LIMIT.as_secs(),
            self.folder.display()
        );
        Err(last
            .unwrap_or_else(|| anyhow::anyhow!("nothing is scraped"))
            .context(said))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for (program, _) in &mut self.programs {
            // The agent ends with its parent's last words; the database is thrown away.
            drop(program.kill());
            drop(program.wait());
        }
        for bulky in ["database", "history.db"] {
            drop(fs::remove_dir_all(self.folder.join(bulky)));
        }
    }
}

/// An address of this machine that nobody listens on.
fn free_address() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.to_string())
}
