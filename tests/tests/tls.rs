//! TLS under the agent: what it does to those who use it, and whose calls it says they are.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::fixture::sys;
use mcpsonar_tests::harness::{Attached, Guard, Run, Trace, agent, check_lines, output_within, text, wait_within};
use serde_json::Value;

/// How long an agent may take to see into TLS, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// A call by the port of its client and its id.
type Made = BTreeSet<(u64, u64)>;

/// A process of `peer.py`.
struct Peer {
    process: Guard,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    fn start(script: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new("python3");
        command
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Guard::spawn(&mut command)?;
        let lines = BufReader::new(process.stdout.take().context("no output")?);
        Ok(Self { process, lines })
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("a peer printed {line:?}"))
    }

    /// Asks for one more call on the connection that it keeps.
    fn go_on(&mut self) -> Result<(u64, u64)> {
        let stdin = self.process.stdin.as_mut().context("no input")?;
        stdin.write_all(b"\n")?;
        made(&self.line()?)
    }

    /// Ends its input and takes the rest of its lines; it must end well.
    fn finish(mut self) -> Result<Vec<Value>> {
        drop(self.process.stdin.take());
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest)?;
        let status = wait_within(&mut self.process, Duration::from_secs(20))?;
        ensure!(status.success(), "a peer ended with {status}");
        rest.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    fn finish_made(self) -> Result<Made> {
        self.finish()?.iter().map(made).collect()
    }
}

fn made(line: &Value) -> Result<(u64, u64)> {
    let number = |key: &str| line[key].as_u64().with_context(|| format!("{key} in {line}"));
    Ok((number("port")?, number("id")?))
}

/// An HTTPS server and what its clients need.
struct Site {
    script: String,
    port: String,
    server: Peer,
}

impl Site {
    fn new(trace: &Trace) -> Result<Self> {
        let file = |name: &str| -> PathBuf { trace.file(name) };
        let (script, certificate, key) = (file("peer.py"), file("cert.pem"), file("key.pem"));
        std::fs::write(&script, include_str!("tls/peer.py"))?;
        let mut openssl = Command::new("openssl");
        openssl
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args(["-days", "2", "-subj", "/CN=localhost", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        let made = output_within(&mut openssl, Duration::from_secs(20))?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let script = text(&script);
        let mut server = Peer::start(&script, &["server", &text(&certificate), &text(&key)])?;
        let port = server.line()?.to_string();
        Ok(Self { script, port, server })
    }

    fn peer(&self, mode: &str, arguments: &[&str]) -> Result<Peer> {
        Peer::start(&self.script, &[&[mode, self.port.as_str()], arguments].concat())
    }
}

fn tells_of_tls(calls: &Path) -> bool {
    std::fs::read_to_string(calls).is_ok_and(|told| told.contains("\"tls\":true"))
}

/// Waits until an agent has seen a call inside TLS.
fn until_tls(calls: &Path) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !tells_of_tls(calls) {
        ensure!(Instant::now() < end, "{} tells of no call", calls.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// An agent that sees into TLS, and the calls that it took to know: programs are attached to the
/// libraries after the hooks, as they are found.
fn attach<'a>(trace: &'a Trace, site: &Site) -> Result<(Attached<'a>, Made)> {
    let attached = trace.attach(&[])?;
    let end = Instant::now() + PATIENCE;
    let mut tried = Made::new();
    while Instant::now() < end {
        tried.append(&mut site.peer("calls", &["1"])?.finish_made()?);
        std::thread::sleep(Duration::from_millis(200));
        if tells_of_tls(&trace.file("calls.jsonl")) {
            return Ok((attached, tried));
        }
    }
    anyhow::bail!("none of {} calls was seen", tried.len())
}

/// The calls of a run but those that were `tried` before, which must be by TLS, whole, and of this server.
fn seen(run: &Run, site: &Site, tried: &Made) -> Result<Made> {
    check_lines(&run.calls)?;
    let server = format!("127.0.0.1:{}", site.port);
    let of_site = run.calls.iter().filter(|call| call["server_address"] == *server);
    let calls: Vec<_> = of_site
        .map(|call| {
            let whole = call["tls"] == true && call["outcome"] == "ok" && call["tool"] == "echo";
            // A server that was in SSL_read when its library was hooked has read that request unseen, and
            // from then on nobody knows how its reads and the client's writes relate: the call says so.
            let told = [
                serde_json::json!([]),
                serde_json::json!(["gap"]),
                serde_json::json!(["unaligned"]),
            ];
            ensure!(whole && told.contains(&call["loss"]), "{call}");
            ensure!(call["server"]["pid"] == site.server.process.id(), "{call}");
            let client = call["client_address"].as_str().context("no client_address")?;
            let port = client.rsplit(':').next().context("no port")?.parse()?;
            Ok((port, call["request_id"].as_u64().context("no id")?))
        })
        .collect::<Result<_>>()?;
    let once: Made = calls.iter().copied().collect();
    ensure!(
        once.len() == calls.len(),
        "some of {} calls were told twice",
        calls.len()
    );
    Ok(once.difference(tried).copied().collect())
}

#[test]
fn every_call_is_of_its_own_connection() -> Result<()> {
    // SSL objects, their memory and descriptors are used again and again, by four clients at a time.
    let trace = Trace::with_tls("tls_short")?;
    let site = Site::new(&trace)?;
    let (attached, tried) = attach(&trace, &site)?;
    let clients: Vec<Peer> = (0..4).map(|_| site.peer("calls", &["100"])).collect::<Result<_>>()?;
    let mut all = Made::new();
    for client in clients {
        all.append(&mut client.finish_made()?);
    }
    let run = attached.stop()?;
    let seen = seen(&run, &site, &tried)?;
    ensure!(all.len() == 400 && seen == all, "{}", difference(&all, &seen));
    Ok(())
}

fn difference(made: &Made, seen: &Made) -> String {
    let (missing, wrong) = (made.difference(seen), seen.difference(made));
    format!(
        "{} calls; not seen: {:?}; seen but not made: {:?}",
        made.len(),
        missing.collect::<Vec<_>>(),
        wrong.collect::<Vec<_>>()
    )
}

#[test]
fn a_connection_that_was_open_before_is_seen() -> Result<()> {
    let trace = Trace::with_tls("tls_open")?;
    let site = Site::new(&trace)?;
    let mut client = site.peer("kept", &[])?;
    let before = made(&client.line()?)?;
    let (attached, tried) = attach(&trace, &site)?;
    let mut after = Made::new();
    for _ in 0..10 {
        after.insert(client.go_on()?);
    }
    client.finish()?;
    let seen = seen(&attached.stop()?, &site, &tried)?;
    ensure!(!seen.contains(&before), "{seen:?}");
    ensure!(seen == after, "{}", difference(&after, &seen));
    Ok(())
}

#[test]
fn a_library_that_comes_late_is_seen() -> Result<()> {
    let trace = Trace::with_tls("tls_late")?;
    let site = Site::new(&trace)?;
    let mut client = site.peer("late", &["20"])?;
    client.line()?;
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", client.process.id()))?;
    ensure!(!maps.contains("libssl"), "the library is there already");
    let (attached, tried) = attach(&trace, &site)?;
    let made = client.finish_made()?;
    let seen = seen(&attached.stop()?, &site, &tried)?;
    ensure!(made.len() == 20 && seen == made, "{}", difference(&made, &seen));
    Ok(())
}

#[test]
fn what_is_not_mcp_gives_no_call() -> Result<()> {
    let trace = Trace::with_tls("tls_api")?;
    let site = Site::new(&trace)?;
    let (attached, tried) = attach(&trace, &site)?;
    site.peer("api", &["50"])?.finish()?;
    let run = attached.stop()?;
    ensure!(seen(&run, &site, &tried)?.is_empty(), "{:?}", run.calls);
    Ok(())
}

/// How often four agents come and go: in a long run a hundred agents in all.
fn batches() -> u32 {
    if std::env::var_os("MCPSONAR_LONG").is_some() {
        25
    } else {
        3
    }
}

#[test]
fn many_agents_come_and_go_and_no_connection_fails() -> Result<()> {
    let trace = Trace::with_tls("tls_many")?;
    let site = Site::new(&trace)?;
    let loads = [site.peer("load", &[])?, site.peer("load", &[])?];
    let server = site.server.process.id().to_string();
    for batch in 0..batches() {
        let outputs = [0, 1, 2, 3].map(|number| trace.file(&format!("agent-{batch}-{number}.jsonl")));
        let spawn = |output: &PathBuf| {
            let mut command = Command::new(agent());
            command.args(["trace", "--json", "-p", &server, "-o"]).arg(output);
            Guard::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
        };
        let agents: Vec<Guard> = outputs.iter().map(spawn).collect::<Result<_>>()?;
        for (output, mut agent) in outputs.iter().zip(agents) {
            // Its probes are in the way of the load.
            until_tls(output)?;
            if output == &outputs[3] {
                agent.kill()?;
            } else {
                sys::kill(agent.id(), libc::SIGINT)?;
            }
            wait_within(&mut agent, Duration::from_secs(60))?;
            std::fs::remove_file(output)?;
        }
    }
    for load in loads {
        let told = load.finish()?.pop().context("a load told nothing")?;
        ensure!(told["failed"] == serde_json::json!([]), "{told}");
        let longest = told["longest"].as_f64().unwrap_or(f64::INFINITY);
        let held_up = told["done"].as_u64() < Some(10) || longest > 10.0;
        ensure!(!held_up, "the load was held up: {told}");
    }
    Ok(())
}

#[test]
fn those_who_were_watched_go_on_when_the_agent_is_killed() -> Result<()> {
    let trace = Trace::with_tls("tls_killed")?;
    let site = Site::new(&trace)?;
    let mut client = site.peer("kept", &[])?;
    client.line()?;
    let (mut attached, _) = attach(&trace, &site)?;
    client.go_on()?;
    attached.agent.kill()?;
    attached.agent.wait()?;
    for _ in 0..20 {
        client.go_on()?;
    }
    client.finish()?;
    ensure!(
        site.peer("calls", &["20"])?.finish_made()?.len() == 20,
        "new connections fail"
    );
    Ok(())
}

#[test]
fn the_doctor_says_what_is_visible_and_what_is_not() -> Result<()> {
    let trace = Trace::with_tls("tls_doctor")?;
    let site = Site::new(&trace)?;
    let library = |pid: u32| -> Result<Value> {
        let output = output_within(
            Command::new(agent()).args(["doctor", "--json"]),
            Duration::from_secs(60),
        )?;
        let findings: Value = serde_json::from_slice(&output.stdout)?;
        let libraries = findings["tls"].as_array().context("no libraries")?;
        let library = libraries.iter().find(|it| it["pid"] == pid);
        Ok(library
            .with_context(|| format!("{pid} is not in {libraries:?}"))?
            .clone())
    };
    let python = library(site.server.process.id())?;
    ensure!(python["library"] == "openssl" && python["visible"] == true, "{python}");
    // An agent has rustls for its exporter; without symbols nobody sees into it.
    let stripped = trace.file("stripped");
    let strip = output_within(
        Command::new("strip").arg("-o").arg(&stripped).arg(agent()),
        Duration::from_secs(60),
    )?;
    ensure!(strip.status.success(), "{}", String::from_utf8_lossy(&strip.stderr));
    let running = Guard::spawn(
        Command::new(&stripped)
            .args(["trace", "-o", "/dev/null"])
            .stderr(Stdio::null()),
    )?;
    std::thread::sleep(Duration::from_millis(500));
    let opaque = library(running.id())?;
    ensure!(opaque["library"] == "rustls" && opaque["visible"] == false, "{opaque}");
    ensure!(opaque["reason"].as_str().is_some_and(|why| !why.is_empty()), "{opaque}");
    Ok(())
}
