//! Clients that have servers and do nothing with them (`mcp-fixture hold`), and what becomes of those.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::agent::fixture;
use super::guard::Guard;
use crate::fixture::sys;

/// A client with its servers. All end with this.
#[derive(Debug)]
pub struct Holder {
    /// The client.
    pub client: Guard,
    /// The servers' ids.
    pub servers: Vec<u32>,
    output: BufReader<ChildStdout>,
}

impl Holder {
    /// Starts `mcp-fixture hold` with these words, and a server with those.
    pub fn start(words: &[&str], server: &[&str]) -> Result<Self> {
        let program = fixture();
        let mut line: Vec<String> = vec![program.clone(), "server".to_owned()];
        line.extend(server.iter().map(|word| (*word).to_owned()));
        Self::with(words, &line)
    }

    /// The same with any server.
    pub fn with(words: &[&str], server: &[String]) -> Result<Self> {
        let mut command = Command::new(fixture());
        command.arg("hold").args(words).arg("--").args(server);
        let mut client = Guard::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let output = BufReader::new(client.stdout.take().context("no output")?);
        let mut this = Self {
            client,
            servers: Vec::new(),
            output,
        };
        this.servers = this.wait_ready()?;
        ensure!(!this.servers.is_empty(), "a client without servers");
        Ok(this)
    }

    /// Has the client make a call to each server.
    pub fn say_hello(&mut self) -> Result<()> {
        let input = self.client.stdin.as_mut().context("no input")?;
        writeln!(input, "hello")?;
        self.wait_ready().map(drop)
    }

    fn wait_ready(&mut self) -> Result<Vec<u32>> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        if words.next() != Some("READY") {
            bail!("the client said {line:?} in place of READY");
        }
        Ok(words.map(str::parse).collect::<Result<_, _>>()?)
    }

    /// Kills the client; the servers live on.
    pub fn kill_client(&mut self) -> Result<()> {
        self.client.kill()?;
        self.client.wait()?;
        Ok(())
    }

    /// Kills the servers.
    pub fn kill_servers(&self) {
        for &server in &self.servers {
            // Gone already is as good.
            sys::kill(server, libc::SIGKILL).unwrap_or_default();
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.kill_servers();
    }
}
