//! Clients and servers that meet over HTTP, traced together.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::agent::{Run, Trace, build_folder, fixture, text};
use super::calls::check_perfect;
use super::sdk::{EVERYTHING, client, folder, ready};

/// What a pair speaks, and with which options.
#[derive(Clone, Copy, Debug, Default)]
pub struct With<'a> {
    /// More words for the server.
    pub server: &'a [&'a str],
    /// More words for the fixture's client.
    pub client: &'a [&'a str],
    /// HTTP with SSE, as of 2024-11-05.
    pub sse: bool,
    /// The certificate authority, the certificate and the key of TLS.
    pub tls: Option<[&'a str; 3]>,
}

impl With<'_> {
    /// The server's address; its port is for the pair to find.
    fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let path = if self.sse { "sse" } else { "mcp" };
        format!("{scheme}://localhost:{{port}}/{path}")
    }

    fn server(&self, kind: &str) -> Result<Vec<String>> {
        let (node, python, how) = (folder().join("node"), folder().join("python"), if self.sse { "sse" } else { "http" });
        let mut words = match kind {
            "everything" => {
                let how = if self.sse { "sse" } else { "streamableHttp" };
                let (preload, server) = (text(&node.join("loopback.mjs")), text(&node.join(EVERYTHING)));
                return Ok(["env", "PORT={port}", "node", "--import", &preload, &server, how].map(str::to_owned).to_vec());
            }
            "node" => vec!["node".to_owned(), text(&node.join("server.mjs")), "{port}".to_owned()],
            "py" => vec![
                text(&python.join("venv/bin/python")),
                text(&python.join("server.py")),
                how.to_owned(),
                "{port}".to_owned(),
            ],
            "rust" => vec![text(&build_folder().join("mcp-rmcp-server")), "http".to_owned(), "{port}".to_owned()],
            "fixture" => [&*fixture(), "http-server", "--listen", "127.0.0.1:{port}"].map(str::to_owned).to_vec(),
            _ => bail!("no server {kind}"),
        };
        if let Some([_, certificate, key]) = self.tls {
            words.extend(["--tls", certificate, key].map(str::to_owned));
        }
        words.extend(self.server.iter().map(|word| (*word).to_owned()));
        Ok(words)
    }

    fn client(&self, kind: &str, truth: &str) -> Result<Vec<String>> {
        if kind != "fixture" {
            let mut words = client(kind, truth, &[])?;
            words.push(self.url());
            return Ok(words);
        }
        let mut words = [&*fixture(), "http-client", "--truth", truth, &self.url()].map(str::to_owned).to_vec();
        words.extend(self.sse.then(|| "--sse".to_owned()));
        if let Some([ca, ..]) = self.tls {
            words.extend(["--ca", ca].map(str::to_owned));
        }
        words.extend(self.client.iter().map(|word| (*word).to_owned()));
        Ok(words)
    }

    /// The command line that runs both.
    pub fn line(&self, trace: &Trace, asks: &str, answers: &str) -> Result<Vec<String>> {
        let mut line = vec!["env".to_owned()];
        if let Some([ca, ..]) = self.tls {
            line.extend([format!("SSL_CERT_FILE={ca}"), format!("NODE_EXTRA_CA_CERTS={ca}")]);
        }
        line.extend([fixture(), "pair".to_owned(), "--".to_owned()]);
        line.extend(self.server(answers)?);
        line.push("---".to_owned());
        line.extend(self.client(asks, &trace.truth())?);
        Ok(line)
    }

    /// Traces a client with a server: every call once, as it was, with both ends. None where a runtime is missing.
    pub fn run(&self, trace: &Trace, asks: &str, answers: &str) -> Result<Option<Run>> {
        let ours = |kind| kind == "fixture" || kind == "rust";
        if !(ours(asks) && ours(answers)) && !ready()? {
            return Ok(None);
        }
        let run = trace.run(&self.line(trace, asks, answers)?)?;
        ensure!(run.status.success(), "the client ended with {}: {}", run.status, run.stderr);
        check_perfect(&run)?;
        for call in &run.calls {
            self.check(call)?;
        }
        Ok(Some(run))
    }

    /// What is the same in every call of a pair.
    fn check(&self, call: &Value) -> Result<()> {
        let transport = if self.sse { "sse" } else { "http" };
        let wanted = json!([transport, "tcp", self.tls.is_some(), ["client", "server"]]);
        let is = json!([call["transport"], call["network_transport"], call["tls"], call["seen_by"]]);
        ensure!(is == wanted, "{is} and not {wanted} in {call}");
        for address in ["client_address", "server_address"] {
            let told = call[address].as_str().and_then(|told| told.parse::<std::net::SocketAddr>().ok());
            ensure!(told.is_some_and(|told| told.ip().is_loopback()), "{address} in {call}");
        }
        ensure!(call["client_address"] != call["server_address"], "one address for both ends in {call}");
        ensure!(call["client"]["pid"] != call["server"]["pid"], "one process at both ends in {call}");
        ensure!(call["loss"] == json!([]), "a loss in {call}");
        if call["outcome"] == "ok" && call["direction"] == "client_to_server" {
            let status = if self.sse { 202 } else { 200 };
            ensure!(call["http_status"] == status, "the status in {call}");
        }
        Ok(())
    }
}
