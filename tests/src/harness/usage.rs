//! What a process uses, by its files in /proc.

use std::fs;

use anyhow::{Context as _, Result};

/// A line of `/proc/PID/status` that gives KiB, by its name (`VmRSS`, `RssAnon`).
pub fn memory_kib(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.with_context(|| format!("no {name}"))?.parse()?)
}

/// CPU time in seconds, of all threads.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no command")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
    // USER_HZ is 100 on every architecture that the agent runs on.
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}
