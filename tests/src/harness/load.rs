//! The load generator against fixture servers, under a service that watches.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Service, fixture, output_within, text};

/// How much longer than planned it may take: a machine that cannot keep the rate is told so, not failed.
const PATIENCE: u32 = 3;
/// And how much longer than that: servers start and end.
const GRACE: Duration = Duration::from_secs(60);
/// Calls on their way at once in each session.
const CONCURRENCY: &str = "8";
/// Requests of each session beside its calls: `initialize` and `tools/list`.
const HELLO: u64 = 2;

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Clients at once, each with a server of its own, over stdio.
    pub pairs: u64,
    /// Calls a second, of all of them.
    pub rate: u64,
    /// For how long.
    pub seconds: u64,
    /// Small echoes, or the generator's other kinds of calls.
    pub mix: &'a str,
    /// Where what really happened is written.
    pub truth: Option<&'a Path>,
}

/// What it came to.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// Requests that were made and answered, those that begin a session included.
    pub requests: u64,
    /// Calls a second that were reached.
    pub rate: f64,
    /// Microseconds that half of the calls did not exceed.
    pub p50_us: f64,
    /// The same of 99 in 100.
    pub p99_us: f64,
}

impl Load<'_> {
    /// As many small calls as this.
    #[must_use]
    pub fn of(pairs: u64, rate: u64, seconds: u64) -> Self {
        Self {
            pairs,
            rate,
            seconds,
            mix: "echo",
            truth: None,
        }
    }

    /// Runs it to its end.
    pub fn run(&self, service: &Service) -> Result<Loaded> {
        let fixture = fixture();
        let mut command = Command::new(&fixture);
        command.env("MCP_FIXTURE_NAME", service.server());
        command.args(["load", "--mix", self.mix, "-c", CONCURRENCY]);
        let each = (self.rate * self.seconds).div_ceil(self.pairs);
        for (option, value) in [("-k", self.pairs), ("-r", self.rate), ("-n", each)] {
            command.args([option, &value.to_string()]);
        }
        if let Some(truth) = self.truth {
            command.args(["--truth", &text(truth)]);
        }
        command.args(["--", &fixture, "server"]);
        let limit = Duration::from_secs(self.seconds) * PATIENCE + GRACE;
        let output = output_within(&mut command, limit)?;
        ensure!(
            output.status.success(),
            "the load ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let told: Value = serde_json::from_slice(&output.stdout)?;
        let number = |name: &str| told[name].as_f64().with_context(|| format!("no {name} in {told}"));
        let calls = told["calls"].as_u64().context("no calls")?;
        Ok(Loaded {
            requests: calls + HELLO * self.pairs,
            rate: number("calls_per_s")?,
            p50_us: number("p50_us")?,
            p99_us: number("p99_us")?,
        })
    }
}
