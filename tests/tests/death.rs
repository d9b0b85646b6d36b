//! Ends that nobody announced.

use anyhow::{Result, ensure};
use mcpsonar_tests::harness::{Run, Trace, check_perfect, pick};

fn seen(name: &str, client: &[&str], server: &[&str]) -> Result<Run> {
    let run = Trace::new(name)?.client(client, server)?;
    check_perfect(&run)?;
    Ok(run)
}

fn lost(run: &Run, outcome: &str, count: usize) -> Result<()> {
    let lost = pick(&run.calls, "outcome", outcome);
    ensure!(
        lost.len() == count,
        "{} calls ended with {outcome} instead of {count}",
        lost.len()
    );
    Ok(())
}

#[test]
fn the_server_is_killed() -> Result<()> {
    lost(&seen("server_killed", &["--script", "kill"], &[])?, "server_exit", 3)
}

#[test]
fn the_server_is_killed_on_socketpairs() -> Result<()> {
    lost(
        &seen("server_killed_pair", &["--script", "kill", "--socketpair"], &[])?,
        "server_exit",
        3,
    )
}

#[test]
fn the_server_exits() -> Result<()> {
    lost(&seen("server_exits", &["--script", "exit"], &[])?, "server_exit", 3)
}

#[test]
fn the_client_closes_and_lives_on() -> Result<()> {
    lost(
        &seen("abandon", &["--script", "abandon"], &["--linger"])?,
        "abandoned",
        3,
    )
}

#[test]
fn the_client_dies() -> Result<()> {
    for (name, carrier) in [("client_dies", "pipe"), ("client_dies_pair", "pair")] {
        let trace = Trace::new(name)?;
        let run = trace.run(&trace.client_line(&["--script", "die", "--carrier", carrier], &[]))?;
        ensure!(
            run.status.code() == Some(128 + libc::SIGKILL),
            "the status of a killed client is {}",
            run.status
        );
        check_perfect(&run)?;
        lost(&run, "client_exit", 3)?;
    }
    Ok(())
}

#[test]
fn a_fork_shares_the_stream() -> Result<()> {
    seen("fork_writer", &["--script", "basic"], &["--fork-writer"]).map(drop)
}

#[test]
fn two_hundred_short_lives() -> Result<()> {
    // One after another in one client: descriptors, and soon inodes, are those of the last one.
    let run = seen("short_lives", &["--script", "basic", "--repeat", "200"], &[])?;
    ensure!(run.truth.len() == 200 * 9, "the client made {} calls", run.truth.len());
    Ok(())
}

#[test]
fn short_lives_on_socketpairs_several_at_once() -> Result<()> {
    seen(
        "short_lives_pair",
        &["--script", "basic", "--repeat", "40", "--sessions", "4", "--socketpair"],
        &[],
    )
    .map(drop)
}

#[test]
fn short_lives_that_end_badly() -> Result<()> {
    let run = seen("bad_ends", &["--script", "exit", "--repeat", "20"], &[])?;
    lost(&run, "server_exit", 60)
}
