//! The agent as a service: what it counts, how it ends, is reloaded, killed, starved and refused.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::fixture::truth::Line;
use mcpsonar_tests::harness::{Guard, Service, agent, fixture, output_within, text};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
/// It is 5 s by its own clocks; taking hooks away on a machine that is busy comes on top.
const ENDS_WITHIN: Duration = Duration::from_secs(40);
/// An ordinary user, and a group of the base system that this user is not in.
const NOBODY: &str = "65534";
const GAMES: (&str, &str) = ("games", "60");

/// Calls by method and outcome.
fn of_truth(lines: &[Line]) -> BTreeMap<(String, String), u64> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry((line.method.clone(), line.outcome.clone())).or_default() += 1;
    }
    counts
}

fn of_calls(calls: &[Value]) -> BTreeMap<(String, String), u64> {
    let mut counts = BTreeMap::new();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for call in calls {
        *counts
            .entry((word(&call["method"]), word(&call["outcome"])))
            .or_default() += 1;
    }
    counts
}

fn of_metrics(service: &Service) -> Result<BTreeMap<(String, String), u64>> {
    let text = service.metrics()?;
    let mut counts = BTreeMap::new();
    let label = |labels: &str, name: &str| {
        let rest = labels.split_once(&format!("{name}=\""))?.1;
        Some(rest.split_once('"')?.0.to_owned())
    };
    for line in text.lines().filter_map(|line| line.strip_prefix("mcp_requests_total{")) {
        let Some((labels, value)) = line.rsplit_once("} ") else {
            continue;
        };
        if label(labels, "server").as_deref() != Some(service.server()) {
            continue;
        }
        if let (Some(method), Some(status), Ok(count)) =
            (label(labels, "method"), label(labels, "status"), value.parse::<u64>())
        {
            *counts.entry((method, status)).or_default() += count;
        }
    }
    Ok(counts)
}

#[test]
fn every_answer_tells_the_same_calls() -> Result<()> {
    let service = Service::new("counts")?;
    service.configure("flags.stdout_pollution.warn = 1")?;
    let running = service.start()?;
    let truth = service.client(&["client", "--script", "all"])?;
    let expected = of_truth(&truth);
    let all = truth.len() as u64;
    service.wait("the history counts every call", || Ok(service.reported()? == all))?;
    let calls = service.ask(&["calls", "--limit", "1000", "--server", service.server()])?;
    ensure!(
        of_calls(&calls) == expected,
        "calls: {:#?} instead of {expected:#?}",
        of_calls(&calls)
    );
    let metrics = of_metrics(&service)?;
    ensure!(metrics == expected, "metrics: {metrics:#?} instead of {expected:#?}");

    // The slowest call, of whatever server, by its name and by the beginning of its id.
    let slowest = service.ask(&["explain", "slowest"])?;
    let latency = |call: &Value| call["latency_us"].as_f64().unwrap_or(0.0);
    let most = calls.iter().map(latency).fold(0.0, f64::max);
    let id = slowest[0]["call"].as_str().context("no id")?.to_owned();
    ensure!(latency(&slowest[0]) >= most - 1.0, "{} is not {most}", slowest[0]);
    let same = service.ask(&["explain", &id[..12]])?;
    ensure!(
        same[0]["call"] == id.as_str() && same[0]["flags"].is_array(),
        "{}",
        same[0]
    );

    service.wait("what was printed is a flag", || {
        let flags = service.ask(&["flags", "--all"])?;
        Ok(flags.iter().any(|flag| flag["flag"] == "stdout_pollution"))
    })?;
    let took = running.end()?;
    ensure!(took < ENDS_WITHIN, "it took {took:?} to end");
    ensure!(service.log().contains("ended losses"), "{}", service.log());
    Ok(())
}

#[test]
fn what_is_under_way_is_told() -> Result<()> {
    let service = Service::new("open")?;
    service.configure("")?;
    let running = service.start()?;
    let program = fixture();
    let client = [
        "client", "--script", "work", "--tool", "sleep", "--calls", "1", "--ms", "60000",
    ];
    let mut command = Command::new(&program);
    let client = Guard::spawn(
        command
            .args(client)
            .args(["--", &program, "server"])
            .stdout(std::process::Stdio::null()),
    )?;
    let pid = client.id();
    let of_client = |calls: &[Value]| {
        let mine = calls
            .iter()
            .find(|call| call["client"]["pid"] == pid && call["tool"] == "sleep");
        mine.cloned()
    };
    service.wait("the call is under way", || {
        let open = of_client(&service.ask(&["calls", "--in-flight"])?);
        Ok(open.is_some_and(|call| call["stage"] == "working" && call["age_us"].as_f64() > Some(1e5)))
    })?;
    service.wait("its processes are endpoints that were sampled", || {
        let endpoints = service.ask(&["ps"])?;
        let server = endpoints
            .iter()
            .find(|it| it["role"] == "server" && it["in_flight"] == 1);
        let client = endpoints.iter().find(|it| it["role"] == "client" && it["pid"] == pid);
        Ok(server.is_some_and(|it| it["rss_bytes"].as_u64() > Some(0) && it["sessions"] == 1) && client.is_some())
    })?;
    service.wait("the metrics have the process, the connection and the streams", || {
        let metrics = service.metrics()?;
        Ok([
            "process_memory_usage_bytes{",
            "mcp_active_connections{",
            "mcpsonar_streams{mcpsonar_stream_state=\"watched\"}",
        ]
        .iter()
        .all(|part| metrics.contains(part)))
    })?;
    let frame = service.ask(&["top"])?;
    ensure!(
        frame[0]["frame"]["in_flight"]
            .as_array()
            .is_some_and(|open| !open.is_empty()),
        "{}",
        frame[0]
    );
    drop(client);
    service.wait("nothing is under way", || {
        Ok(of_client(&service.ask(&["calls", "--in-flight"])?).is_none())
    })?;
    running.end().map(|_| ())
}

#[test]
fn a_reload_loses_nothing_and_a_wrong_configuration_changes_nothing() -> Result<()> {
    let service = Service::new("reload")?;
    service.configure("history.slow = \"1s\"")?;
    let running = service.start()?;
    let truth = std::thread::scope(|scope| -> Result<_> {
        let load = scope.spawn(|| service.client(&["load", "-n", "1000", "-r", "500"]));
        let mut reloads = 0;
        while !load.is_finished() {
            reloads += 1;
            let slow = if reloads % 2 == 0 {
                "history.slow = \"1s\""
            } else {
                "history.slow = 7"
            };
            service.configure(slow)?;
            running.signal(libc::SIGHUP)?;
            std::thread::sleep(Duration::from_millis(100));
        }
        load.join().map_err(|_panic| anyhow::anyhow!("the load has panicked"))?
    })?;
    service.wait(
        "every call is counted",
        || Ok(of_metrics(&service)? == of_truth(&truth)),
    )?;
    service.wait("and in the history", || Ok(service.reported()? == truth.len() as u64))?;
    let log = service.log();
    ensure!(log.contains("the configuration has been read again"), "{log}");
    ensure!(
        log.contains("the configuration stays as it was") && log.contains("history.slow"),
        "{log}"
    );

    service.configure("history.slow = \"1ms\"\nflags.slow_tool_calls.warn = 2")?;
    running.signal(libc::SIGHUP)?;
    service.client(&[
        "client", "--script", "work", "--tool", "sleep", "--calls", "1", "--ms", "20",
    ])?;
    service.wait("20 ms is slow now", || {
        let slow = service.ask(&["calls", "--slow", "--limit", "1000"])?;
        Ok(slow.iter().any(|call| call["tool"] == "sleep"))
    })?;
    running.end().map(|_| ())
}

#[test]
fn the_history_survives_a_kill_and_makes_way_when_it_is_damaged() -> Result<()> {
    let service = Service::new("killed")?;
    service.configure("")?;
    let mut running = service.start()?;
    let calls = service.client(&["client", "--script", "basic"])?.len() as u64;
    service.wait("the calls are written", || Ok(service.reported()? == calls))?;
    running.agent.kill()?;
    running.agent.wait()?;
    drop(running);
    ensure!(service.file("a.sock").exists(), "a stale socket was to be left");
    let running = service.start()?;
    ensure!(service.reported()? == calls, "the calls of the run before are gone");
    ensure!(
        service.status()?["history"]["set_aside"].is_null(),
        "the file was sound"
    );
    running.end()?;

    let file = service.file("history/history.db");
    let mut bytes = fs::read(&file)?;
    bytes.iter_mut().take(4096).for_each(|byte| *byte = 0x5a);
    fs::write(&file, bytes)?;
    let running = service.start()?;
    service.wait("the damaged file is set aside", || {
        let status = service.status()?;
        Ok(status["history"]["set_aside"].is_string() && status["history"]["state"] == "writing")
    })?;
    ensure!(service.log().contains("is damaged"), "{}", service.log());
    let calls = service.client(&["client", "--script", "basic"])?.len() as u64;
    service.wait("a new history counts", || Ok(service.reported()? == calls))?;
    running.end().map(|_| ())
}

#[test]
fn a_full_disk_pauses_the_history_and_nothing_else() -> Result<()> {
    let service = Service::new("full")?;
    service.configure("")?;
    let folder = service.file("history");
    fs::create_dir_all(&folder)?;
    let own = service.command();
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs -o size=2m none \"$1\" && shift && exec \"$@\"",
            "sh",
        ])
        .arg(&folder)
        .arg(own.get_program())
        .args(own.get_args());
    let running = service.start_by(command)?;
    let state = |wanted: &'static str| {
        let service = &service;
        move || Ok(service.status()?["history"]["state"] == wanted)
    };
    service.wait("the history is written", state("writing"))?;
    let inside = format!("/proc/{}/root{}/filler", running.agent.id(), text(&folder));
    let mut filler = fs::File::create(&inside)?;
    while filler.write_all(&[1; 4096]).is_ok() {}
    drop(filler);
    let truth = service.client(&["client", "--script", "all"])?;
    service.wait("the history is paused", state("paused"))?;
    service.wait("metrics have lost no call", || {
        Ok(of_metrics(&service)? == of_truth(&truth))
    })?;
    service.wait("a flag says so", || {
        let flags = service.ask(&["flags"])?;
        Ok(flags
            .iter()
            .any(|flag| flag["flag"] == "history_paused" && flag["evidence"]["reason"].is_string()))
    })?;
    fs::remove_file(&inside)?;
    service.wait("the history is written again", state("writing"))?;
    service.wait("with the calls of meanwhile", || {
        Ok(service.reported()? == truth.len() as u64)
    })?;
    service.wait("the flag is cleared", || {
        Ok(!service
            .ask(&["flags"])?
            .iter()
            .any(|flag| flag["flag"] == "history_paused"))
    })?;
    running.end().map(|_| ())
}

#[test]
fn others_are_told_what_is_taken_and_who_may_ask() -> Result<()> {
    let service = Service::new("others")?;
    let taken = TcpListener::bind(("127.0.0.1", service.port()))?;
    service.configure(&format!("socket.group = \"{}\"", GAMES.0))?;
    let mut watched = service.command();
    watched.env("WATCHDOG_USEC", "1000000");
    let mut running = service.start_by(watched)?;
    running.notified("WATCHDOG=1")?;
    let status = service.status()?;
    let why = status["prometheus"]["error"].as_str().unwrap_or_default();
    ensure!(why.contains(&service.port().to_string()), "{status}");
    ensure!(service.log().contains("prometheus.address"), "{}", service.log());
    drop(taken);

    let second = output_within(&mut service.command(), LIMIT)?;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    let (pid, socket) = (running.agent.id().to_string(), text(&service.file("a.sock")));
    ensure!(
        second.status.code() == Some(1),
        "the second ended with {}: {said}",
        second.status
    );
    ensure!(said.contains(&pid) && said.contains(&socket), "{said}");

    // Where everybody may run it.
    let program = service.file("mcpsonar");
    fs::copy(agent(), &program)?;
    for path in [&program, &service.file("")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    let as_nobody = |groups: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", NOBODY, "--regid", NOBODY])
            .args(groups)
            .arg(&program);
        output_within(command.args(["ps", "--json", "--socket", &socket]), LIMIT)
    };
    let refused = as_nobody(&["--clear-groups"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        refused.status.code() == Some(4) && said.contains("socket.group"),
        "{}: {said}",
        refused.status
    );
    let member = as_nobody(&["--groups", GAMES.1])?;
    ensure!(member.status.success(), "{}", String::from_utf8_lossy(&member.stderr));

    // Connecting to a port that nobody listens on may end at oneself: the status is asked first.
    service.wait("metrics are served once the port is free", || {
        Ok(service.status()?["prometheus"]["error"].is_null())
    })?;
    ensure!(service.metrics()?.contains("mcpsonar_agent_cpu_time"), "no metrics");
    running.end().map(|_| ())
}

#[test]
fn without_an_agent_the_commands_say_how_to_start_one() -> Result<()> {
    let service = Service::new("none")?;
    let socket = text(&service.file("a.sock"));
    for command in [
        &["calls"][..],
        &["flags"],
        &["report"],
        &["explain", "slowest"],
        &["top", "--once"],
    ] {
        let output = output_within(Command::new(agent()).args(command).args(["--socket", &socket]), LIMIT)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(3) && said.contains("mcpsonar agent"),
            "{command:?}: {said}"
        );
    }
    let output = output_within(Command::new(agent()).args(["ps", "--socket", &socket]), LIMIT)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success() && said.contains("candidates"),
        "ps falls back: {said}"
    );
    Ok(())
}
