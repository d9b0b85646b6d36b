//! Nothing is said of a system that is well, and the agent stays as it is.
//!
//! A short look by default; `MCPSONAR_IDLE_SECONDS` makes it a long one (`cargo xtask soak`).

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mcpsonar_tests::harness::usage::{cpu_seconds, memory_kib};
use mcpsonar_tests::harness::{Holder, Trace};
use serde_json::Value;

/// After this the agent has what it needs.
const SETTLED: Duration = Duration::from_secs(10);
/// Memory by which it may differ, in KiB: what an allocator gives back late.
const MEMORY_KIB: u64 = 2048;

fn length() -> Result<Duration> {
    let seconds = match std::env::var("MCPSONAR_IDLE_SECONDS") {
        Ok(word) => word.parse()?,
        Err(_) => 15,
    };
    Ok(Duration::from_secs(seconds))
}

/// Resident memory in KiB, open descriptors, and CPU time in seconds.
fn used(pid: u32) -> Result<(u64, usize, f64)> {
    Ok((
        memory_kib(pid, "VmRSS")?,
        fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        cpu_seconds(pid)?,
    ))
}

/// Whether a flag is about somebody who takes part, and not about a machine that others use too.
fn is_about_us(event: &Value) -> bool {
    !["host", "device", "cgroup"]
        .iter()
        .any(|kind| event["subject"]["kind"] == *kind)
}

#[test]
fn no_flag_and_no_growth() -> Result<()> {
    let mut holders = (0..3).map(|_| Holder::start(&[], &[])).collect::<Result<Vec<_>>>()?;
    let trace = Trace::new("healthy")?.flags("{}")?;
    let pids: Vec<String> = holders.iter().map(|holder| holder.client.id().to_string()).collect();
    let scope: Vec<&str> = pids.iter().flat_map(|pid| ["-p", pid]).collect();
    let agent = trace.attach(&scope)?;
    for holder in &mut holders {
        holder.say_hello()?;
    }
    let pid = agent.agent.id();
    std::thread::sleep(SETTLED);
    let (memory, files, cpu) = used(pid)?;
    let began = Instant::now();
    let length = length()?;
    while began.elapsed() < length {
        std::thread::sleep(Duration::from_secs(5).min(length));
        for holder in &mut holders {
            holder.say_hello()?;
        }
    }
    let (memory_after, files_after, cpu_after) = used(pid)?;
    let share = (cpu_after - cpu) / began.elapsed().as_secs_f64();
    println!(
        "{} s: {memory} to {memory_after} KiB, {files} to {files_after} descriptors, {share:.4} of a core",
        began.elapsed().as_secs()
    );
    let run = agent.stop()?;
    ensure!(!run.calls.is_empty(), "no call was seen");
    let events = trace.events()?;
    for event in events.iter().filter(|event| !is_about_us(event)) {
        println!("the machine: {} {} {}", event["event"], event["flag"], event["value"]);
    }
    let ours = events.iter().find(|event| is_about_us(event));
    ensure!(ours.is_none(), "a flag without a reason: {ours:?}");
    ensure!(
        memory_after <= memory + MEMORY_KIB,
        "grew from {memory} to {memory_after} KiB"
    );
    // One more may stay open of each process that is looked at.
    ensure!(
        files_after <= files + 2 * holders.len() + 1,
        "had {files} descriptors and has {files_after}"
    );
    Ok(())
}
