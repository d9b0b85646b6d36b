//! The agent with all its sinks under load: history, scrape endpoint, socket, spans and metrics to a collector.
//!
//! A short and gentle one by default; `MCPSONAR_LOAD_RATE` and `MCPSONAR_LOAD_SECONDS` make it another
//! (`cargo xtask bench --only load`), which is told, not judged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mcpsonar_tests::harness::usage::{cpu_seconds, memory_kib};
use mcpsonar_tests::harness::{Collector, Door, Load, Service};
use serde_json::{Value, json};

/// Clients, each with a server of its own.
const PAIRS: u64 = 4;
/// How often the agent's memory is looked at, and its socket asked.
const LOOK: Duration = Duration::from_secs(1);
/// How often its metrics are fetched, as by Prometheus.
const SCRAPE: u32 = 5;
/// Until what was on its way must have come.
const PATIENCE: Duration = Duration::from_secs(30);

fn number(variable: &str) -> Result<Option<u64>> {
    std::env::var(variable).ok().map(|word| Ok(word.parse()?)).transpose()
}

/// Asks as operators do until it is over; the agent's resident memory in KiB at each look.
fn look(service: &Service, agent: u32, over: &AtomicBool) -> Result<Vec<u64>> {
    let mut memory = vec![memory_kib(agent, "VmRSS")?];
    for turn in 1.. {
        if over.load(Ordering::Acquire) {
            break;
        }
        std::thread::sleep(LOOK);
        service.status()?;
        if turn % SCRAPE == 0 {
            ensure!(service.metrics()?.contains("mcp_requests_total"), "no metrics");
        }
        memory.push(memory_kib(agent, "VmRSS")?);
    }
    Ok(memory)
}

/// Waits until it is so, or for too long.
fn settle(mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !is_so()? && Instant::now() < end {
        std::thread::sleep(LOOK / 4);
    }
    Ok(())
}

/// What the agent says it has lost.
fn losses(service: &Service) -> Result<Value> {
    Ok(service.status()?["losses"].clone())
}

/// Spans among it.
fn spans(losses: &Value) -> u64 {
    let lost = |name: &str| losses[name].as_u64().unwrap_or(0);
    lost("otlp_spans_dropped") + lost("otlp_spans_refused")
}

#[test]
fn all_sinks_at_once() -> Result<()> {
    let (rate, seconds) = (number("MCPSONAR_LOAD_RATE")?, number("MCPSONAR_LOAD_SECONDS")?);
    let is_told = rate.is_some() || seconds.is_some();
    let load = Load::of(PAIRS, rate.unwrap_or(500), seconds.unwrap_or(3));
    let service = Service::new("load")?;
    let collector = Collector::that_counts_only();
    let door = Door::open(0, &collector, None)?;
    service.configure(&format!(
        "otlp.endpoint = \"http://127.0.0.1:{}\"\notlp.protocol = \"http/protobuf\"\n\
         otlp.metrics = \"cumulative\"\notlp.interval = \"5s\"",
        door.port()
    ))?;
    let running = service.start()?;
    let pid = running.agent.id();
    let (began, cpu) = (Instant::now(), cpu_seconds(pid)?);
    let over = AtomicBool::new(false);
    let (loaded, used, memory) = std::thread::scope(|scope| -> Result<_> {
        let looks = scope.spawn(|| look(&service, pid, &over));
        let loaded = load.run(&service);
        let used = cpu_seconds(pid).map(|now| (now - cpu) / began.elapsed().as_secs_f64());
        over.store(true, Ordering::Release);
        let looks = looks
            .join()
            .map_err(|_panic| anyhow::anyhow!("the look has panicked"))?;
        Ok((loaded?, used?, looks?))
    })?;
    settle(|| Ok(service.reported()? == loaded.requests))?;
    let seen = service.reported()?;
    // Each call has two ends.
    settle(|| {
        let accepted = collector.accepted();
        Ok(accepted.points > 0 && accepted.spans + spans(&losses(&service)?) >= 2 * seen)
    })?;
    let (accepted, losses) = (collector.accepted(), losses(&service)?);
    let mib = |kib: u64| kib as f64 / 1024.0;
    let told = json!({
        "rate": loaded.rate, "p50_us": loaded.p50_us, "p99_us": loaded.p99_us,
        "made": loaded.requests, "seen": seen, "cpu_percent": 100.0 * used,
        "rss_start_mib": mib(memory[0]), "rss_half_mib": mib(memory[memory.len() / 2]),
        "rss_end_mib": mib(memory_kib(pid, "VmRSS")?), "rss_peak_mib": mib(memory_kib(pid, "VmHWM")?),
        "spans": accepted.spans, "points": accepted.points, "losses": losses,
    });
    println!("\n{told}");
    ensure!(accepted.points > 0, "no metrics have arrived\n{}", service.log());
    ensure!(
        seen == loaded.requests || (is_told && losses["ring_dropped"].as_u64() > Some(0)),
        "of {} calls {seen} were seen: {told}",
        loaded.requests
    );
    ensure!(
        accepted.spans + spans(&losses) >= 2 * seen,
        "spans are missing that nothing counts: {told}"
    );
    drop(door);
    running.end()?;
    Ok(())
}
