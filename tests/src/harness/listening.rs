//! A fixture's server that listens by itself.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::guard::Guard;

/// A server that lives as long as this.
#[derive(Debug)]
pub struct Listening {
    /// The process.
    pub process: Guard,
    /// Its MCP endpoint.
    pub url: String,
}

impl Listening {
    /// Starts `mcp-fixture http-server`, however it is wrapped, and waits until it listens.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut process = Guard::spawn(command.stdout(Stdio::piped()))?;
        let mut output = BufReader::new(process.stdout.take().context("no output")?);
        let mut first = String::new();
        output.read_line(&mut first)?;
        let address = first.trim().strip_prefix("listening on ");
        let address = address.with_context(|| format!("instead of where it listens, the server says {first:?}"))?;
        // One of its tools prints, and a closed pipe would end it.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Ok(Self {
            process,
            url: format!("http://{address}/mcp"),
        })
    }
}
