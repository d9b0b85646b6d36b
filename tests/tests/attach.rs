//! The agent comes when the conversation is long under way.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::harness::{Guard, Run, Trace, check_perfect, fixture, wait_within};

/// A client that has made 1000 calls and waits.
struct Gated {
    client: Guard,
    servers: Vec<String>,
}

impl Gated {
    fn start(trace: &Trace, options: &[&str], server: &[&str], sessions: usize) -> Result<Self> {
        let client = ["--script", "gated", "--calls", "1000"]
            .iter()
            .chain(options)
            .copied()
            .collect::<Vec<_>>();
        let line = trace.client_line(&client, server);
        let mut client = Guard::spawn(
            Command::new(&line[0])
                .args(&line[1..])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        )?;
        let stdout = client.stdout.take().context("no output")?;
        let mut servers = Vec::new();
        for line in BufReader::new(stdout).lines().take(sessions) {
            servers.push(
                line?
                    .strip_prefix("READY ")
                    .context("the client is not ready")?
                    .to_owned(),
            );
        }
        Ok(Self { client, servers })
    }

    fn go_on(mut self) -> Result<()> {
        let mut stdin = self.client.stdin.take().context("no input")?;
        // A line for each session.
        stdin.write_all("go\n".repeat(self.servers.len()).as_bytes())?;
        let status = wait_within(&mut self.client, Duration::from_secs(60))?;
        ensure!(status.success(), "the client ended with {status}");
        Ok(())
    }
}

fn attached(name: &str, options: &[&str], server: &[&str], scope: impl Fn(&Gated) -> Vec<String>) -> Result<Run> {
    let trace = Trace::new(name)?;
    let sessions = if options.contains(&"--sessions") { 2 } else { 1 };
    let gated = Gated::start(&trace, options, server, sessions)?;
    let scope = scope(&gated);
    let scope: Vec<&str> = scope.iter().map(String::as_str).collect();
    let agent = trace.attach(&scope)?;
    gated.go_on()?;
    let run = agent.stop()?;
    check_perfect(&run)?;
    Ok(run)
}

fn of_servers(gated: &Gated) -> Vec<String> {
    gated
        .servers
        .iter()
        .flat_map(|pid| ["-p".to_owned(), pid.clone()])
        .collect()
}

fn of_client(gated: &Gated) -> Vec<String> {
    vec!["-p".to_owned(), gated.client.id().to_string()]
}

fn of_host(_: &Gated) -> Vec<String> {
    Vec::new()
}

#[test]
fn to_the_server() -> Result<()> {
    attached("attach_server", &[], &[], of_servers).map(drop)
}

#[test]
fn to_the_client() -> Result<()> {
    attached("attach_client", &[], &[], of_client).map(drop)
}

#[test]
fn to_the_server_on_socketpairs() -> Result<()> {
    attached(
        "attach_server_pair",
        &["--socketpair", "--key-order", "ts"],
        &["--key-order", "ts"],
        of_servers,
    )
    .map(drop)
}

#[test]
fn to_the_server_with_private_descriptors() -> Result<()> {
    attached("attach_private", &[], &["--dup-fds"], of_servers).map(drop)
}

#[test]
fn to_a_modern_server() -> Result<()> {
    attached("attach_modern", &["--era", "modern"], &[], of_servers).map(drop)
}

#[test]
fn to_two_servers_with_the_same_ids() -> Result<()> {
    attached("attach_two", &["--sessions", "2"], &[], of_servers).map(drop)
}

#[test]
fn to_the_host() -> Result<()> {
    attached("attach_host", &[], &[], of_host).map(drop)
}

#[test]
fn before_a_session_of_the_host() -> Result<()> {
    let trace = Trace::new("host_session")?;
    let agent = trace.attach(&[])?;
    let line = trace.client_line(&["--script", "all", "--sessions", "2"], &[]);
    let status = Command::new(&line[0]).args(&line[1..]).status()?;
    ensure!(status.success(), "the client ended with {status}");
    let run = agent.stop()?;
    let score = check_perfect(&run)?;
    ensure!(score.bytes_accuracy >= 1.0, "lengths differ: {:?}", score.examples);
    Ok(())
}

#[test]
fn only_to_what_is_named() -> Result<()> {
    let trace = Trace::new("only_named")?;
    let gated = Gated::start(&trace, &[], &[], 1)?;
    let scope = of_servers(&gated);
    let agent = trace.attach(&scope.iter().map(String::as_str).collect::<Vec<_>>())?;
    // Another session on the same host, which nobody asked about.
    let other = Command::new(fixture())
        .args(["client", "--", &fixture(), "server"])
        .status()?;
    ensure!(other.success(), "the other client ended with {other}");
    let server = gated.servers[0].parse::<u64>().ok();
    gated.go_on()?;
    let run = agent.stop()?;
    check_perfect(&run)?;
    let strangers = run
        .calls
        .iter()
        .filter(|call| call["server"]["pid"].as_u64() != server)
        .count();
    ensure!(strangers == 0, "{strangers} calls of processes that nobody asked about");
    Ok(())
}
