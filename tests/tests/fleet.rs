//! The report on a fleet agrees with that of the one host that the fleet is: the same calls, by way
//! of the scrape endpoint and a time series database.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::harness::{Database, Kind, Service, agent, output_within};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
/// Bounds of the histograms that both reports are compared within, in seconds.
const BOUNDS: [f64; 9] = [0.0, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0];

fn report(url: &str, more: &[&str]) -> Result<Output> {
    let mut command = Command::new(agent());
    command
        .args(["report", "--since", "10m", "--prometheus", url])
        .args(more);
    output_within(&mut command, LIMIT)
}

fn fleet(url: &str) -> Result<Value> {
    let output = report(url, &["--json"])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Calls, errors and calls given up by operation, and the 95th percentile.
fn operations(report: &Value, server: &str) -> BTreeMap<String, ([u64; 3], Option<f64>)> {
    let all = report["servers"].as_array().into_iter().flatten();
    let own = all.filter(|it| it["server"] == server);
    own.flat_map(|server| server["operations"].as_array().into_iter().flatten())
        .map(|operation| {
            let name = format!("{} {}", operation["method"], operation["tool"]);
            let counts = ["calls", "errors", "timeouts"].map(|count| operation[count].as_u64().unwrap_or(0));
            (name, (counts, operation["p95_us"].as_f64()))
        })
        .collect()
}

/// Which bucket of the operators' histogram a latency falls into.
fn bucket(micros: f64) -> usize {
    BOUNDS.iter().filter(|bound| micros / 1e6 > **bound).count()
}

#[test]
fn a_fleet_of_one_is_reported_as_the_host_itself() -> Result<()> {
    let service = Service::new("fleet")?;
    service.configure("")?;
    let running = service.start()?;
    let database = Database::scraping(Kind::VictoriaMetrics, &service)?;
    let url = database.url();
    service.wait("the agent is scraped", || {
        Ok(report(url, &["--json"])?.status.success())
    })?;
    let truth = service.client(&["client", "--script", "all"])?;
    // Processes are looked at every 5 s, and this one lives as long.
    let long = service.client(&[
        "client", "--script", "work", "--tool", "hold", "--ms", "9000", "--calls", "1",
    ])?;
    let all = (truth.len() + long.len()) as u64;
    service.wait("the history counts every call", || Ok(service.reported()? == all))?;
    service.wait("what servers use is known", || {
        let local = service.ask(&["report", "--since", "10m"])?;
        Ok(local[0]["resources"].as_array().is_some_and(|all| !all.is_empty()))
    })?;

    let counts = |report: &Value| -> BTreeMap<String, [u64; 3]> {
        let operations = operations(report, service.server());
        operations
            .into_iter()
            .map(|(name, (counts, _))| (name, counts))
            .collect()
    };
    let here = &service.ask(&["report", "--since", "10m"])?[0];
    let alike = || Ok(counts(&fleet(url)?) == counts(here));
    service
        .wait("the database counts as the history does", alike)
        .with_context(|| format!("the history: {:#?}", counts(here)))?;
    let there = fleet(url)?;
    let (there_by, here_by) = (operations(&there, service.server()), operations(here, service.server()));
    for (name, (_, p95)) in &there_by {
        let (Some(there), Some(here)) = (p95, here_by[name].1) else {
            continue;
        };
        // A percentile is somewhere in its bucket; a bound is in both.
        ensure!(
            bucket(*there).abs_diff(bucket(here)) <= 1,
            "{name}: p95 {there} and {here} µs"
        );
    }
    ensure!(
        there["host"]
            .as_str()
            .is_some_and(|host| host.starts_with("1 agent at http://")),
        "{}",
        there["host"]
    );
    let used = |report: &Value| {
        let all = report["resources"].as_array().into_iter().flatten();
        let own = all.filter(|it| it["server"] == service.server());
        own.filter_map(|it| it["memory_peak_bytes"].as_f64()).next()
    };
    let (there_used, here_used) = (used(&there), used(here));
    ensure!(
        here_used.is_some_and(|bytes| bytes > 1e5),
        "the local report has no memory: {here_used:?}"
    );
    ensure!(
        there_used.is_some_and(|bytes| bytes > 1e5),
        "the fleet's has no memory: {there_used:?}"
    );

    let text = String::from_utf8(report(url, &[])?.stdout)?;
    ensure!(
        text.contains(service.server()) && text.contains("RESOURCES OF SERVERS"),
        "{text}"
    );
    let page = service.file("fleet.html");
    let written = report(url, &["--html", &page.display().to_string()])?;
    ensure!(written.status.success() && std::fs::read_to_string(&page)?.ends_with("</html>\n"));
    drop(database);
    running.end()?;
    Ok(())
}

#[test]
fn what_is_no_such_database_is_told() -> Result<()> {
    let refused = |url: &str, words: &str| -> Result<()> {
        let output = report(url, &[])?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(1) && said.contains(words), "{url}: {said}");
        Ok(())
    };
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    refused(&format!("http://{closed}"), "cannot reach")?;
    refused("prometheus:9090", "it has no scheme")?;

    let page = answering("200 OK", "<html>not an API</html>")?;
    refused(&page, "no Prometheus API")?;
    let closed_door = answering("401 Unauthorized", "who are you?")?;
    refused(&closed_door, "--header")?;
    let empty = answering(
        "200 OK",
        r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
    )?;
    refused(&empty, "no metrics of mcpsonar")?;
    Ok(())
}

/// A server that answers every request so; its address.
fn answering(status: &str, body: &str) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            // Whatever it asks.
            if stream.read(&mut request).is_ok() {
                stream.write_all(answer.as_bytes()).unwrap_or_default();
            }
        }
    });
    Ok(format!("http://{address}"))
}
