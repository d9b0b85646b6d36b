//! Two thousand servers (fewer when there is no time) whose client was killed: all told of, and no trouble for the agent.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use mcpsonar_tests::harness::causes::is_full;
use mcpsonar_tests::harness::usage::{cpu_seconds, memory_kib};
use mcpsonar_tests::harness::{Holder, Trace};

/// Two thousand take longer to start than to be told of.
fn leaked() -> usize {
    if is_full() { 2000 } else { 700 }
}

/// How long it may take until they are told of, or their end.
const LIMIT: Duration = Duration::from_secs(30);
/// Memory of the agent, ring included, in KiB.
const MEMORY_KIB: u64 = 64 << 10;

/// The servers that such an event was about so far.
fn about(trace: &Trace, event: &str, servers: &BTreeSet<u64>) -> Result<usize> {
    let events = trace.events()?;
    let orphaned = events
        .iter()
        .filter(|line| line["event"] == event && line["flag"] == "orphaned");
    let pids: BTreeSet<u64> = orphaned.filter_map(|line| line["subject"]["pid"].as_u64()).collect();
    Ok(pids.intersection(servers).count())
}

/// Waits until all servers were told of; gives how long it took.
fn all(trace: &Trace, event: &str, servers: &BTreeSet<u64>) -> Result<Duration> {
    let since = Instant::now();
    loop {
        let told = about(trace, event, servers)?;
        if told == leaked() {
            return Ok(since.elapsed());
        }
        if since.elapsed() > LIMIT {
            bail!("{told} of {} were {event} within {LIMIT:?}", leaked());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn leaked_servers() -> Result<()> {
    let trace = Trace::new("leaked")?.flags("{}")?;
    let agent = trace.attach(&[])?;
    let pid = agent.agent.id();
    let mut holder = Holder::start(&["--servers", &leaked().to_string()], &["--linger"])?;
    let servers: BTreeSet<u64> = holder.servers.iter().map(|&pid| pid.into()).collect();
    let (before, began) = (cpu_seconds(pid)?, Instant::now());
    holder.kill_client()?;
    let raised = all(&trace, "raised", &servers)?;
    std::thread::sleep(Duration::from_secs(10).saturating_sub(raised));
    let share = (cpu_seconds(pid)? - before) / began.elapsed().as_secs_f64();
    let rss = memory_kib(pid, "VmRSS")?;
    holder.kill_servers();
    let cleared = all(&trace, "cleared", &servers)?;
    println!("raised after {raised:?}, cleared after {cleared:?}; {share:.3} of a core, {rss} KiB");
    ensure!(share < 0.25, "the agent used {share} of a core");
    ensure!(rss < MEMORY_KIB, "the agent has {rss} KiB");
    let run = agent.stop()?;
    ensure!(
        run.stats["counters"]["dropped"].as_u64().unwrap_or(0) == 0,
        "records were dropped: {}",
        run.stats
    );
    Ok(())
}
