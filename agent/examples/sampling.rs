//! What sampling costs: many sleeping processes are watched for a while, by the sampler's own pace.
//!
//! `cargo run --release -p mcpsonar --example sampling [PROCESSES [SECONDS]]` prints one JSON object.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mcpsonar::host::{EndsScanner, LiveSource, Sampler, Settings, monotonic, thread_cpu};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let processes = arguments.next().map_or(Ok(500), |word| word.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(60), |word| word.parse())?;
    let mut sleepers = Sleepers(Vec::new());
    for _ in 0..processes {
        // Its other ends are open as long as the child is kept.
        let sleeper = Command::new("sleep")
            .arg("100000")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        sleepers.0.push(sleeper);
    }
    let pids: Vec<u32> = sleepers.0.iter().map(Child::id).collect();
    let mut sampler = Sampler::new(LiveSource::default(), Settings::default());
    let began = monotonic();
    for &pid in &pids {
        sampler.watch(pid, began);
    }
    let mut samples = 0;
    let mut steady = None;
    loop {
        let now = monotonic();
        // The first looks, which are closer than later ones, are told apart.
        if now - began > 10_000_000_000 {
            steady.get_or_insert((now, sampler.cost()));
        }
        if now - began >= seconds.max(15) * 1_000_000_000 {
            break;
        }
        samples += sampler.tick(now).processes.len();
        let pause = sampler.poll_timeout().saturating_sub(monotonic());
        std::thread::sleep(Duration::from_nanos(pause.max(10_000_000)));
    }
    let cost = sampler.cost();
    let (from, before) = steady.unwrap_or((began, cost));
    let percent = |cpu: u64, wall: u64| 100.0 * (cpu as f64) / (wall as f64);
    let mut scanner = EndsScanner::default();
    let scan = |scanner: &mut EndsScanner| {
        let before = thread_cpu();
        scanner.scan(&pids);
        thread_cpu() - before
    };
    let (first_scan, next_scan) = (scan(&mut scanner), scan(&mut scanner));
    let report = serde_json::json!({
        "processes": processes,
        "samples": samples,
        "first_10s_cpu_ms": before.cpu_ns / 1_000_000,
        "steady_cpu_percent_of_a_core": percent(cost.cpu_ns - before.cpu_ns, monotonic() - from),
        "ends_first_scan_cpu_ms": first_scan as f64 / 1e6,
        "ends_next_scan_cpu_ms": next_scan as f64 / 1e6,
        "cost": cost,
    });
    println!("{report}");
    Ok(())
}

/// Ended with the example, however it ends.
struct Sleepers(Vec<Child>);

impl Drop for Sleepers {
    fn drop(&mut self) {
        for sleeper in &mut self.0 {
            // It may be gone already.
            sleeper.kill().unwrap_or_default();
            sleeper.wait().map(drop).unwrap_or_default();
        }
    }
}
