//! Prometheus fetches what was traced: the same calls, in the names that operators use.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::harness::{Run, Trace, agent, check_perfect, output_within, text};
use serde_json::Value;

const SHORT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

fn fetch(port: u16, accept: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(SHORT))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    ensure!(
        head.starts_with("HTTP/1.1 200 ") && head.contains(accept),
        "another answer: {head}"
    );
    Ok(body.to_owned())
}

/// Values of a metric by its labels.
fn values(text: &str, metric: &str) -> BTreeMap<String, u64> {
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{'));
    let pairs = lines.filter_map(|line| line.rsplit_once("} "));
    pairs
        .filter_map(|(labels, value)| Some((labels.to_owned(), value.parse().ok()?)))
        .collect()
}

/// How many calls of each method ended how, with the same labels.
fn counted(calls: &[Value]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for call in calls {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let server = [&call["server"]["name"], &call["server"]["comm"]]
            .into_iter()
            .find(|it| it.is_string());
        let (method, status, server) = (
            word(&call["method"]),
            word(&call["outcome"]),
            server.map(word).unwrap_or_default(),
        );
        *counts
            .entry(format!(r#"method="{method}",status="{status}",server="{server}""#))
            .or_default() += 1;
    }
    counts
}

fn wait_for(path: &Path) -> Result<()> {
    let until = Instant::now() + SHORT;
    while !path.exists() {
        ensure!(Instant::now() < until, "{} never came", path.display());
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// What a conversation is, and what is fetched of it as text and as OpenMetrics.
fn fetched(name: &str, client: &[&str]) -> Result<(Run, [String; 2])> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let address = format!("127.0.0.1:{port}");
    let trace = Trace::new(name)?.options(&["--prometheus", &address]);
    let (done, go) = (trace.file("done"), trace.file("go"));
    // The endpoint ends with the command: it waits until it has been fetched from.
    let script = r#"done=$1 go=$2; shift 2; "$@"; status=$?; touch "$done"
        while [ ! -e "$go" ]; do sleep 0.05; done; exit $status"#;
    let mut line = ["sh", "-c", script, "sh"].map(str::to_owned).to_vec();
    line.extend([text(&done), text(&go)]);
    line.extend(trace.client_line(client, &[]));

    let (run, fetched) = std::thread::scope(|scope| {
        let run = scope.spawn(|| trace.run(&line));
        let fetch_all = || -> Result<[String; 2]> {
            wait_for(&done)?;
            // Longer than the agent looks away from its ring.
            std::thread::sleep(Duration::from_secs(1));
            Ok([fetch(port, "text/plain")?, fetch(port, "application/openmetrics-text")?])
        };
        let fetched = fetch_all();
        let released = std::fs::write(&go, "");
        let run = run.join().map_err(|_panic| anyhow::anyhow!("the run has panicked"));
        (run, fetched.and_then(|texts| Ok((texts, released?))))
    });
    let (run, (texts, ())) = (run??, fetched?);
    Ok((run, texts))
}

#[test]
fn requests_that_repeat_others_are_counted() -> Result<()> {
    let client = ["--script", "work", "--tool", "hold", "--ms", "20", "--calls", "4"];
    let (run, [plain, _]) = fetched("repeats", &client)?;
    check_perfect(&run)?;
    let repeats = values(&plain, "mcp_cache_operations_total");
    let miss = r#"operation="tools/call",cache_level="server",result="miss""#;
    ensure!(
        repeats == BTreeMap::from([(miss.to_owned(), 3)]),
        "of four that are the same three repeat the first, and take as long: {repeats:?}"
    );
    Ok(())
}

#[test]
fn prometheus_counts_what_the_lines_tell() -> Result<()> {
    let (run, [plain, open]) = fetched("prometheus", &["--script", "all"])?;
    check_perfect(&run)?;

    let expected = counted(&run.calls);
    for text in [&plain, &open] {
        let requests = values(text, "mcp_requests_total");
        ensure!(requests == expected, "{requests:#?} instead of {expected:#?}");
        let durations = values(text, "mcp_request_duration_seconds_count");
        ensure!(durations == expected, "{durations:#?} instead of {expected:#?}");
        for end in ["client", "server"] {
            let measured: u64 = values(text, &format!("mcp_{end}_operation_duration_seconds_count"))
                .values()
                .sum();
            ensure!(measured == run.calls.len() as u64, "{measured} operations of the {end}");
        }
    }
    ensure!(
        open.ends_with("# EOF\n") && !plain.contains(" # {"),
        "formats are mixed up"
    );
    let traces = run.calls.iter().filter_map(|call| call["trace_id"].as_str());
    let exemplified = traces
        .filter(|trace| open.contains(&format!("# {{trace_id=\"{trace}\"")))
        .count();
    ensure!(exemplified > 0, "no call is an exemplar:\n{open}");
    Ok(())
}

#[test]
fn a_port_that_is_taken_is_told_before_anything_runs() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let mut command = std::process::Command::new(agent());
    let output = output_within(command.args(["trace", "--prometheus", &address, "--", "true"]), SHORT)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "the status was {}", output.status);
    ensure!(
        stderr.contains(&address) && stderr.contains("give another address"),
        "{stderr}"
    );
    Ok(())
}
