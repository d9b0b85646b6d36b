//! Clients and servers that meet over HTTP, traced together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::agent::{Run, Trace, build_folder, fixture, text};
use super::calls::{check_perfect, check_score};
use super::sdk::{EVERYTHING, client, folder, need_sdks};
use crate::fixture::truth;

/// So many pairs of a run meet at the same time: they mostly wait.
const AT_ONCE: &str = "4";
/// What the kernel programs capture of one system call on a connection that nobody has judged yet, less room for the
/// heads of HTTP: a longer message may have a hole.
const CAPTURED: u64 = 15 * 1024;

/// A client with a server, and how they speak.
#[derive(Clone, Debug)]
pub struct Pair {
    name: String,
    asks: &'static str,
    answers: &'static str,
    client: Vec<String>,
    server: Vec<String>,
    legacy: bool,
    /// The certificate authority, the certificate and the key of TLS.
    tls: Option<[String; 3]>,
    /// All that is asked is that every call is told once, as it was.
    calls_only: bool,
}

fn words(line: &str) -> impl Iterator<Item = String> + '_ {
    line.split_whitespace().map(str::to_owned)
}

impl Pair {
    /// A client of one kind with a server of one kind.
    #[must_use]
    pub fn new(name: &str, asks: &'static str, answers: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            asks,
            answers,
            client: Vec::new(),
            server: Vec::new(),
            legacy: false,
            tls: None,
            calls_only: false,
        }
    }

    /// The fixture with itself: the truth has lengths and statuses.
    #[must_use]
    pub fn fixtures(name: &str, client: &str) -> Self {
        Self::new(name, "fixture", "fixture").client(client)
    }

    /// What its run is found by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// More words for the fixture's client.
    #[must_use]
    pub fn client(mut self, line: &str) -> Self {
        self.client.extend(words(line));
        self
    }

    /// More words for the server.
    #[must_use]
    pub fn server(mut self, line: &str) -> Self {
        self.server.extend(words(line));
        self
    }

    /// HTTP with SSE, as of 2024-11-05.
    #[must_use]
    pub fn before_streamable(mut self) -> Self {
        self.legacy = true;
        self
    }

    /// TLS with the certificate authority, the certificate and the key in these files.
    #[must_use]
    pub fn tls(mut self, files: [&str; 3]) -> Self {
        self.tls = Some(files.map(str::to_owned));
        self
    }

    /// Asks that every call is told once, as it was, but not from which end and in which parts.
    #[must_use]
    pub fn calls_only(mut self) -> Self {
        self.calls_only = true;
        self
    }

    /// The server's address; its port is for the pair to find.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let path = if self.legacy { "sse" } else { "mcp" };
        format!("{scheme}://localhost:{{port}}/{path}")
    }

    /// The command line of the server.
    pub fn server_line(&self) -> Result<Vec<String>> {
        let (node, python) = (folder().join("node"), folder().join("python"));
        let how = if self.legacy { "sse" } else { "http" };
        let mut line = match self.answers {
            "everything" => {
                let how = if self.legacy { "sse" } else { "streamableHttp" };
                let (preload, server) = (text(&node.join("loopback.mjs")), text(&node.join(EVERYTHING)));
                let line = ["env", "PORT={port}", "node", "--import", &preload, &server, how];
                return Ok(line.map(str::to_owned).to_vec());
            }
            "node" => vec!["node".to_owned(), text(&node.join("server.mjs")), "{port}".to_owned()],
            "py" => vec![
                text(&python.join("venv/bin/python")),
                text(&python.join("server.py")),
                how.to_owned(),
                "{port}".to_owned(),
            ],
            "rust" => vec![
                text(&build_folder().join("mcp-rmcp-server")),
                "http".to_owned(),
                "{port}".to_owned(),
            ],
            "fixture" => [&*fixture(), "http-server", "--listen", "127.0.0.1:{port}"]
                .map(str::to_owned)
                .to_vec(),
            other => bail!("no server {other}"),
        };
        if let Some([_, certificate, key]) = &self.tls {
            line.extend(["--tls", certificate, key].map(str::to_owned));
        }
        line.extend(self.server.iter().cloned());
        Ok(line)
    }

    fn client_line(&self, truth: &str) -> Result<Vec<String>> {
        let mut line = match &self.tls {
            Some([ca, ..]) => vec![
                "env".to_owned(),
                format!("SSL_CERT_FILE={ca}"),
                format!("NODE_EXTRA_CA_CERTS={ca}"),
            ],
            None => Vec::new(),
        };
        if self.asks != "fixture" {
            line.extend(client(self.asks, truth, &[])?);
            line.push(self.url());
            return Ok(line);
        }
        line.extend([&*fixture(), "http-client", "--truth", truth, &self.url()].map(str::to_owned));
        line.extend(self.legacy.then(|| "--sse".to_owned()));
        if let Some([ca, ..]) = &self.tls {
            line.extend(["--ca", ca].map(str::to_owned));
        }
        line.extend(self.client.iter().cloned());
        Ok(line)
    }

    fn truth(&self, trace: &Trace) -> String {
        text(&trace.file(&format!("truth.{}.jsonl", self.name)))
    }

    fn is_of_sdk(&self) -> bool {
        let ours = |kind| kind == "fixture" || kind == "rust";
        !(ours(self.asks) && ours(self.answers))
    }

    /// Every call once, as it was, with both ends.
    fn check(&self, run: &Run) -> Result<()> {
        ensure!(run.status.success(), "the client did not end well:\n{}", run.stderr);
        if self.calls_only {
            return check_score(run).map(drop);
        }
        check_perfect(run)?;
        run.calls.iter().try_for_each(|call| self.check_call(call))
    }

    /// What is the same in every call of a pair.
    fn check_call(&self, call: &Value) -> Result<()> {
        let transport = if self.legacy { "sse" } else { "http" };
        let wanted = json!([transport, "tcp", self.tls.is_some(), ["client", "server"]]);
        let is = json!([
            call["transport"],
            call["network_transport"],
            call["tls"],
            call["seen_by"]
        ]);
        ensure!(is == wanted, "{is} and not {wanted} in {call}");
        for address in ["client_address", "server_address"] {
            let told = call[address]
                .as_str()
                .and_then(|told| told.parse::<std::net::SocketAddr>().ok());
            ensure!(told.is_some_and(|told| told.ip().is_loopback()), "{address} in {call}");
        }
        ensure!(
            call["client_address"] != call["server_address"],
            "one address for both ends in {call}"
        );
        ensure!(
            call["client"]["pid"] != call["server"]["pid"],
            "one process at both ends in {call}"
        );
        for loss in call["loss"].as_array().context("no losses")? {
            let bytes = match loss.as_str() {
                Some("request_truncated") => &call["request_bytes"],
                Some("response_truncated") => &call["response_bytes"],
                _ => bail!("a loss in {call}"),
            };
            ensure!(bytes.as_u64() > Some(CAPTURED), "a hole in a short message: {call}");
        }
        if call["outcome"] == "ok" && call["direction"] == "client_to_server" {
            let status = if self.legacy { 202 } else { 200 };
            ensure!(call["http_status"] == status, "the status in {call}");
        }
        Ok(())
    }
}

/// The command line that runs all pairs.
pub fn line(trace: &Trace, pairs: &[Pair]) -> Result<Vec<String>> {
    let mut line = [&*fixture(), "pair", "--at-once", AT_ONCE, "--"]
        .map(str::to_owned)
        .to_vec();
    for (number, pair) in pairs.iter().enumerate() {
        line.extend((number > 0).then(|| "+++".to_owned()));
        line.extend(pair.server_line()?);
        line.push("---".to_owned());
        line.extend(pair.client_line(&pair.truth(trace))?);
    }
    Ok(line)
}

/// What each pair of one traced command came to, by name.
pub type Runs = BTreeMap<String, Result<Run, String>>;

/// Traces all pairs with one agent. A pair whose calls are not as they were has an error.
pub fn run(trace: &Trace, pairs: &[Pair]) -> Result<Runs> {
    if pairs.iter().any(Pair::is_of_sdk) {
        need_sdks()?;
    }
    let all = trace.run(&line(trace, pairs)?)?;
    let mut runs = Runs::new();
    let mut owned = BTreeSet::new();
    for (number, pair) in pairs.iter().enumerate() {
        // A client that failed early has none, and its error is told below.
        let truth: Vec<truth::Line> = truth::load(Path::new(&pair.truth(trace))).unwrap_or_default();
        let pids: BTreeSet<_> = truth.iter().filter_map(|line| line.client_pid).collect();
        let is_own = |call: &&Value| {
            let pid = call["client"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            pid.is_some_and(|pid| pids.contains(&pid))
        };
        let calls: Vec<_> = all.calls.iter().filter(is_own).cloned().collect();
        owned.extend(calls.iter().map(|call| call["call"].to_string()));
        let failed = all.stderr.contains(&format!("mcp-fixture: pair {number} failed"));
        let run = Run {
            status: if failed {
                all.status
            } else {
                std::process::ExitStatus::default()
            },
            stdout: String::new(),
            stderr: all.stderr.clone(),
            calls,
            truth,
            stats: all.stats.clone(),
        };
        let checked = pair.check(&run).map(|()| run).map_err(|e| format!("{e:#}"));
        runs.insert(pair.name.clone(), checked);
    }
    let stray = all.calls.iter().find(|call| !owned.contains(&call["call"].to_string()));
    ensure!(stray.is_none(), "a call of no pair's client: {stray:?}");
    Ok(runs)
}

/// Traces one pair.
pub fn run_one(trace: &Trace, pair: &Pair) -> Result<Run> {
    let runs = run(trace, std::slice::from_ref(pair))?;
    let run = runs.into_values().next().context("no pair")?;
    run.map_err(anyhow::Error::msg)
}

/// Traces `mcp-fixture load` with these words against the server of a pair.
pub fn load(trace: &Trace, pair: &Pair, more: &[&str]) -> Result<Run> {
    if pair.is_of_sdk() {
        need_sdks()?;
    }
    let (fixture, truth, url) = (fixture(), trace.truth(), pair.url());
    let mut line = [&*fixture, "pair", "--"].map(str::to_owned).to_vec();
    line.extend(pair.server_line()?);
    let client = ["---", &fixture, "load", "--http", &url, "--truth", &truth];
    line.extend(client.iter().chain(more).map(|word| (*word).to_owned()));
    let run = trace.run(&line)?;
    ensure!(run.status.success(), "{}", run.stderr);
    Ok(run)
}
