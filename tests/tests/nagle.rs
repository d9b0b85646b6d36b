//! A server that leaves Nagle's algorithm on: its client waits 40 ms for an acknowledgement that the kernel delays, and
//! that is not the server's time.

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::harness::pair::{self, Pair};
use mcpsonar_tests::harness::{Trace, pick};

#[test]
fn what_the_kernel_keeps_back_is_not_the_servers_time() -> Result<()> {
    let pair = Pair::new("nagle", "fixture", "rust").client("--script calls --calls 20");
    let run = pair::run_one(&Trace::new("nagle")?, &pair)?;
    let calls = pick(&run.calls, "tool", "echo");
    let (mut held, mut servers) = (0, Vec::new());
    for call in &calls {
        let part = |name: &str| {
            call["parts_us"][name]
                .as_f64()
                .with_context(|| format!("{name} in {call}"))
        };
        servers.push(part("server")?);
        let response = part("response_queue")? + part("transfer")?;
        held += usize::from(response > 30_000.0 && call["latency_us"].as_f64() > Some(30_000.0));
    }
    servers.sort_by(f64::total_cmp);
    let median = servers[servers.len() / 2];
    ensure!(median < 2000.0, "the server's time is {median} us");
    // The kernel acknowledges the first answers of a connection at once.
    ensure!(
        held * 2 > calls.len(),
        "{held} of {} answers were held back",
        calls.len()
    );
    Ok(())
}
