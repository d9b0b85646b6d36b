//! A client and a server in network namespaces of their own, joined by a cable: one agent joins both ends, and two
//! agents that see one end each tell of the same trace.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::harness::{Guard, Listening, Run, Trace, check_perfect, fixture, output_within, wait_within};
use serde_json::{Value, json};

fn ip(words: &str) -> Result<()> {
    let mut command = Command::new("ip");
    let output = output_within(command.args(words.split_whitespace()), Duration::from_secs(10))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`ip {words}` (of the package iproute2): {told}"
    );
    Ok(())
}

/// Two namespaces and the cable between them; gone when this is.
struct Cable {
    ends: [String; 2],
}

impl Cable {
    fn lay(name: &str) -> Result<Self> {
        let own = std::process::id();
        let cable = Self {
            ends: [format!("sonar-{own}-{name}-c"), format!("sonar-{own}-{name}-s")],
        };
        for end in &cable.ends {
            ip(&format!("netns add {end}"))?;
        }
        let [client, server] = &cable.ends;
        ip(&format!(
            "-n {client} link add cable type veth peer name cable netns {server}"
        ))?;
        for (end, address) in [(client, "10.77.0.1/24"), (server, "10.77.0.2/24")] {
            ip(&format!("-n {end} address add {address} dev cable"))?;
            ip(&format!("-n {end} link set cable up"))?;
            ip(&format!("-n {end} link set lo up"))?;
        }
        Ok(cable)
    }

    /// A fixture's command inside one of the two.
    fn command(&self, end: usize) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.ends[end]]).arg(fixture());
        command
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for end in &self.ends {
            // The cable goes with its ends.
            drop(ip(&format!("netns delete {end}")));
        }
    }
}

/// A server in one namespace.
fn serve(cable: &Cable) -> Result<Listening> {
    Listening::start(cable.command(1).args(["http-server", "--listen", "10.77.0.2:0"]))
}

#[test]
fn one_agent_sees_both_ends() -> Result<()> {
    let cable = Cable::lay("one")?;
    let trace = Trace::new("netns_one")?;
    let agent = trace.attach(&[])?;
    let server = serve(&cable)?;
    let mut command = cable.command(0);
    let output = output_within(
        command.args(["http-client", "--script", "all", "--truth", &trace.truth(), &server.url]),
        Duration::from_secs(30),
    )?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run = agent.stop()?;
    check_perfect(&run)?;
    let server = run.truth.iter().find_map(|line| line.server_pid);
    let ours = run
        .calls
        .iter()
        .filter(|call| call["server"]["pid"].as_u64() == server.map(u64::from));
    for call in ours {
        ensure!(call["seen_by"] == json!(["client", "server"]), "{call}");
        let (client, server) = (call["client_address"].as_str(), call["server_address"].as_str());
        let right = client.is_some_and(|it| it.starts_with("10.77.0.1:"))
            && server.is_some_and(|it| it.starts_with("10.77.0.2:"));
        ensure!(right, "{client:?} and {server:?}");
    }
    Ok(())
}

/// The calls that are not of the handshake, by id.
fn by_id(run: &Run, end: &str) -> Result<Vec<Value>> {
    let mut calls: Vec<Value> = run.calls.clone();
    calls.retain(|call| call["method"] == "tools/call");
    for call in &calls {
        ensure!(call["seen_by"] == json!([end]), "more than one end in {call}");
    }
    calls.sort_by_key(|call| call["request_id"].as_u64());
    Ok(calls)
}

#[test]
fn two_agents_tell_of_the_same_trace() -> Result<()> {
    let cable = Cable::lay("two")?;
    let (near, far) = (Trace::new("netns_client")?, Trace::new("netns_server")?);
    let server = serve(&cable)?;
    let mut command = cable.command(0);
    command.args([
        "http-client",
        "--script",
        "gated",
        "--calls",
        "5",
        "--truth",
        &near.truth(),
        &server.url,
    ]);
    let mut client = Guard::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let mut output = BufReader::new(client.stdout.take().context("no output")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    ensure!(line.starts_with("READY "), "the client said {line:?}");
    let (client_pid, server_pid) = (client.id(), server.process.id());
    // An agent looks for the other end of its processes' connections, and must not find it.
    let at_client = near.attach_without(server_pid, &["-p", &client_pid.to_string()])?;
    let at_server = far.attach_without(client_pid, &["-p", &server_pid.to_string()])?;
    writeln!(client.stdin.take().context("no input")?)?;
    let status = wait_within(&mut client, Duration::from_secs(30))?;
    ensure!(status.success(), "the client ended with {status}");
    let (near, far) = (
        by_id(&at_client.stop()?, "client")?,
        by_id(&at_server.stop()?, "server")?,
    );
    ensure!(
        near.len() == far.len() && near.len() > 5,
        "{} calls and {}",
        near.len(),
        far.len()
    );
    for (near, far) in near.iter().zip(&far) {
        for key in [
            "request_id",
            "tool",
            "trace_id",
            "outcome",
            "client_address",
            "server_address",
        ] {
            ensure!(near[key] == far[key], "{key} of {near} and of {far}");
        }
        ensure!(
            near["client_span_id"] != far["server_span_id"],
            "one span for both ends"
        );
        let begun = |call: &Value| call["start_mono_ns"].as_f64().context("no start");
        let ended = |call: &Value| {
            Ok::<_, anyhow::Error>(begun(call)? + call["latency_us"].as_f64().context("no latency")? * 1e3)
        };
        ensure!(
            begun(near)? <= begun(far)? && ended(far)? <= ended(near)? + 1e6,
            "{far} is not inside {near}"
        );
    }
    Ok(())
}
