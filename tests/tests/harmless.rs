//! Nothing that the agent does, or that is done to the agent, is felt by what it traces.

use std::collections::HashSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mcpsonar::sensor::hooks_of_host;
use mcpsonar_tests::fixture::sys;
use mcpsonar_tests::harness::{Guard, Trace, check_lines, check_perfect, fixture, output_within, wait_within};
use serde_json::Value;

#[test]
fn output_and_status_are_the_commands_own() -> Result<()> {
    let trace = Trace::new("own_output")?;
    let run = trace.run(&["sh", "-c", "echo to stdout; echo to stderr >&2; exit 7"])?;
    ensure!(run.stdout == "to stdout\n", "stdout was {:?}", run.stdout);
    ensure!(run.stderr.contains("to stderr\n"), "stderr was {:?}", run.stderr);
    ensure!(run.status.code() == Some(7), "the status was {}", run.status);
    Ok(())
}

#[test]
fn binary_output_passes_unchanged() -> Result<()> {
    let trace = Trace::new("binary_output")?;
    let script = "i=0; while [ $i -lt 200 ]; do head -c 5000 /dev/zero | tr '\\0' '\\377'; i=$((i+1)); done";
    let output = output_within(
        trace.command().args(["--", "sh", "-c", script]),
        Duration::from_secs(60),
    )?;
    ensure!(output.stdout.len() == 1_000_000, "{} bytes came", output.stdout.len());
    ensure!(output.stdout.iter().all(|byte| *byte == 0xff), "other bytes came");
    Ok(())
}

#[test]
fn input_is_the_commands_own() -> Result<()> {
    let trace = Trace::new("own_input")?;
    let source = trace.file("input");
    std::fs::write(&source, "a line\n")?;
    let mut command = trace.command();
    let output = output_within(
        command.args(["--", "cat"]).stdin(std::fs::File::open(source)?),
        Duration::from_secs(30),
    )?;
    ensure!(
        output.stdout == b"a line\n",
        "cat printed {:?}",
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(())
}

#[test]
fn a_signal_is_told_as_128_and_its_number() -> Result<()> {
    for (signal, number) in [
        ("TERM", libc::SIGTERM),
        ("KILL", libc::SIGKILL),
        ("SEGV", libc::SIGSEGV),
    ] {
        let trace = Trace::new("signalled")?;
        let run = trace.run(&["sh", "-c", &format!("kill -{signal} $$")])?;
        ensure!(
            run.status.code() == Some(128 + number),
            "after {signal} the status was {}",
            run.status
        );
    }
    Ok(())
}

#[test]
fn no_system_call_fails_because_of_us() -> Result<()> {
    // The fixture ends badly at the first error of a read or a write.
    for (name, way) in [("no_eperm", "read"), ("no_eperm_nowait", "preadv2")] {
        let run = Trace::new(name)?.client(&["--script", "all", "--read", way, "--sessions", "3"], &["--read", way])?;
        check_perfect(&run)?;
    }
    Ok(())
}

/// Starts a load that takes about this long, under an agent that watches the host.
fn load(seconds: u32) -> Command {
    let (fixture, calls) = (fixture(), (seconds * 500).to_string());
    let mut command = Command::new(&fixture);
    command
        .args(["load", "-r", "500", "-n", &calls, "--", &fixture, "server"])
        .stdout(Stdio::piped());
    command
}

fn finish(mut load: Guard, seconds: u32) -> Result<Value> {
    let stdout = load.stdout.take().context("no output")?;
    let status = wait_within(&mut load, Duration::from_secs(u64::from(seconds) + 20))?;
    ensure!(status.success(), "the load ended with {status}");
    let told: Value = serde_json::from_str(&std::io::read_to_string(stdout)?)?;
    ensure!(told["calls"] == seconds * 500, "{told}");
    // At a rate that is far below what a stopped or a dead agent may cost.
    ensure!(
        told["calls_per_s"].as_f64() > Some(400.0),
        "the load was held up: {told}"
    );
    Ok(told)
}

#[test]
fn a_stopped_agent_holds_nobody_up() -> Result<()> {
    let stopped = if std::env::var_os("MCPSONAR_LONG").is_some() {
        30
    } else {
        4
    };
    let trace = Trace::new("stopped")?;
    let agent = trace.attach(&[])?;
    let load = Guard::spawn(&mut load(stopped + 2))?;
    std::thread::sleep(Duration::from_secs(1));
    sys::kill(agent.agent.id(), libc::SIGSTOP)?;
    std::thread::sleep(Duration::from_secs(stopped.into()));
    sys::kill(agent.agent.id(), libc::SIGCONT)?;
    finish(load, stopped + 2)?;
    let run = agent.stop()?;
    check_lines(&run.calls)?;
    // What the ring could not hold is counted.
    let (seen, all) = (run.calls.len(), usize::try_from((stopped + 2) * 500)?);
    let dropped = run.stats["counters"]["ring_dropped"]
        .as_u64()
        .context("no ring_dropped")?;
    ensure!(
        seen >= all || dropped > 0,
        "{seen} calls of {all} were seen and nothing was reported as lost"
    );
    Ok(())
}

#[test]
fn a_killed_agent_harms_nobody() -> Result<()> {
    let trace = Trace::new("killed")?;
    let mut agent = trace.attach(&[])?;
    let load = Guard::spawn(&mut load(3))?;
    std::thread::sleep(Duration::from_secs(1));
    agent.agent.kill()?;
    agent.agent.wait()?;
    finish(load, 3).map(drop)
}

#[test]
fn a_killed_agent_is_gone_at_once_and_its_hooks_soon() -> Result<()> {
    let before = hooks_of_host();
    let trace = Trace::new("killed_with_hooks")?;
    let mut agent = trace.attach(&[])?;
    let own: HashSet<u32> = hooks_of_host().difference(&before).copied().collect();
    ensure!(own.len() > 8, "{} hooks are on", own.len());
    let killed = Instant::now();
    agent.agent.kill()?;
    agent.agent.wait()?;
    let took = killed.elapsed();
    // Whoever has to start it anew waits for its end.
    ensure!(took < Duration::from_secs(2), "it took {took:?} to end");
    while !hooks_of_host().is_disjoint(&own) {
        let left = hooks_of_host().intersection(&own).count();
        ensure!(
            killed.elapsed() < Duration::from_secs(60),
            "{left} hooks of {} are still on",
            own.len()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn the_command_outlives_a_killed_agent() -> Result<()> {
    let trace = Trace::new("killed_parent")?;
    let done = trace.file("done");
    let script = format!(
        "{} load -r 500 -n 1500 -- {} server && echo well > {}",
        fixture(),
        fixture(),
        done.display()
    );
    let mut agent = Guard::spawn(
        trace
            .command()
            .args(["--", "sh", "-c", &script])
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )?;
    std::thread::sleep(Duration::from_secs(2));
    agent.kill()?;
    agent.wait()?;
    let end = Instant::now() + Duration::from_secs(20);
    while !done.exists() {
        ensure!(
            Instant::now() < end,
            "the command did not end well after the agent was killed"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn an_interrupt_ends_the_command_and_the_agent() -> Result<()> {
    let trace = Trace::new("interrupted")?;
    let line = trace.client_line(&["--script", "calls", "--calls", "100000000"], &[]);
    let mut agent = Guard::spawn(
        trace
            .command()
            .arg("--")
            .args(&line)
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )?;
    std::thread::sleep(Duration::from_secs(2));
    sys::kill(agent.id(), libc::SIGTERM)?;
    let status = wait_within(&mut agent, Duration::from_secs(20))?;
    ensure!(status.code() == Some(128 + libc::SIGTERM), "the status was {status}");
    let calls: Vec<Value> = mcpsonar_tests::fixture::truth::load(&trace.file("calls.jsonl"))?;
    ensure!(
        calls.len() > 10,
        "what was seen until then is not there: {} calls",
        calls.len()
    );
    check_lines(&calls)
}
