//! The report on a fleet agrees with that of the one host that the fleet is: the same calls, by way
//! of the scrape endpoint and a time series database.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::fixture::truth;
use mcpsonar_tests::harness::{Guard, Load, Service, agent, output_within};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
/// Where VictoriaMetrics is, if it is not on PATH; `cargo xtask test` gets it and says so.
const DATABASE: &str = "MCPSONAR_VICTORIA_METRICS";
/// The same for Prometheus.
const PROMETHEUS: &str = "MCPSONAR_PROMETHEUS";
/// Bounds of the histograms that both reports are compared within, in seconds.
const BOUNDS: [f64; 9] = [0.0, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0];

/// A database that scrapes what an agent offers.
#[derive(Clone, Copy, Debug)]
enum Kind {
    VictoriaMetrics,
    Prometheus,
}

impl Kind {
    /// Its program, if it is not where the variable says.
    fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::VictoriaMetrics => ("victoria-metrics", DATABASE),
            Self::Prometheus => ("prometheus", PROMETHEUS),
        }
    }

    /// Where it scrapes the service from; its address.
    fn start(self, service: &Service) -> Result<(Guard, String)> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (name, variable) = self.program();
        let scrape = service.file(&format!("{name}.yml"));
        std::fs::write(
            &scrape,
            format!(
                "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: mcpsonar\n    static_configs:\n      - targets: [\"127.0.0.1:{}\"]\n",
                service.port()
            ),
        )?;
        let program = std::env::var(variable).unwrap_or_else(|_| name.to_owned());
        let log = std::fs::File::create(service.file(&format!("{name}.log")))?;
        let (data, scrape) = (service.file(name), scrape.display().to_string());
        let mut command = Command::new(&program);
        match self {
            Self::VictoriaMetrics => command
                .arg(format!("-httpListenAddr={address}"))
                .arg(format!("-storageDataPath={}", data.display()))
                .arg(format!("-promscrape.config={scrape}"))
                .args(["-search.latencyOffset=1s", "-search.disableCache"]),
            Self::Prometheus => command
                .arg(format!("--web.listen-address={address}"))
                .arg(format!("--storage.tsdb.path={}", data.display()))
                .arg(format!("--config.file={scrape}")),
        };
        let guard = Guard::spawn(command.stdout(Stdio::null()).stderr(log)).with_context(|| {
            format!("cannot start {program}: it is Debian's {name}; `cargo xtask test` gets it, or {variable} says where it is")
        })?;
        Ok((guard, format!("http://{address}")))
    }
}

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
    let (database, url) = Kind::VictoriaMetrics.start(&service)?;
    service.wait("the agent is scraped", || {
        Ok(report(&url, &["--json"])?.status.success())
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
    let alike = || Ok(counts(&fleet(&url)?) == counts(here));
    service
        .wait("the database counts as the history does", alike)
        .with_context(|| format!("the history: {:#?}", counts(here)))?;
    let there = fleet(&url)?;
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

    let text = String::from_utf8(report(&url, &[])?.stdout)?;
    ensure!(
        text.contains(service.server()) && text.contains("RESOURCES OF SERVERS"),
        "{text}"
    );
    let page = service.file("fleet.html");
    let written = report(&url, &["--html", &page.display().to_string()])?;
    ensure!(written.status.success() && std::fs::read_to_string(&page)?.ends_with("</html>\n"));
    drop(database);
    running.end()?;
    Ok(())
}

/// Values that a question has, by the value of a label (empty where it is not there).
fn query(url: &str, question: &str, label: &str) -> Result<BTreeMap<String, f64>> {
    let address = url.strip_prefix("http://").context("no HTTP")?;
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let body = format!("query={}", percent_encoded(question));
    // HTTP/1.0: the answer ends with the connection, and has no chunks.
    write!(
        stream,
        "POST /api/v1/query HTTP/1.0\r\nhost: {address}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("the answer has no head")?;
    let answer: Value = serde_json::from_str(body).with_context(|| body.to_owned())?;
    let series = answer["data"]["result"].as_array().with_context(|| body.to_owned())?;
    let one = |series: &Value| {
        let value = series["value"][1].as_str()?.parse().ok()?;
        Some((series["metric"][label].as_str().unwrap_or_default().to_owned(), value))
    };
    Ok(series.iter().filter_map(one).collect())
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A bound in one way of writing: OpenMetrics has 1.0 for 1.
fn number(bound: &str) -> String {
    bound
        .parse::<f64>()
        .map_or_else(|_| bound.to_owned(), |it| it.to_string())
}

/// Calls of the service's servers by bucket, as the agent offers them.
fn buckets(service: &Service) -> Result<BTreeMap<String, f64>> {
    let (text, server) = (service.metrics()?, format!("server=\"{}\"", service.server()));
    let mut buckets = BTreeMap::new();
    for line in text.lines().filter(|line| line.contains(&server)) {
        let Some(labels) = line.strip_prefix("mcp_request_duration_seconds_bucket{") else {
            continue;
        };
        let bound = labels.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
        let count = line.rsplit(' ').next().context("no value")?;
        *buckets.entry(number(bound.context("no bound")?)).or_default() += count.parse::<f64>()?;
    }
    Ok(buckets)
}

/// The 95th percentile of latencies in microseconds: the smallest that 95 in 100 do not exceed.
fn p95(mut latencies: Vec<f64>) -> Option<f64> {
    latencies.sort_by(f64::total_cmp);
    let rank = (latencies.len() * 95).div_ceil(100);
    latencies.get(rank.checked_sub(1)?).copied()
}

/// Counts are the same, and percentiles are of the same bucket or of neighbours, wherever one looks: at what really
/// happened, at the report of the host, at its histograms in either database.
#[test]
fn counts_and_percentiles_agree_with_the_truth() -> Result<()> {
    let service = Service::new("percentiles")?;
    service.configure("")?;
    let mut command = service.command();
    command.arg("--no-tls");
    let running = service.start_by(command)?;
    let databases = [Kind::VictoriaMetrics, Kind::Prometheus].map(|kind| kind.start(&service));
    let databases = databases.into_iter().collect::<Result<Vec<_>>>()?;
    let scraped = |url: &str| Ok(query(url, "mcpsonar_agent_series", "instance").is_ok_and(|found| !found.is_empty()));
    for (_, url) in &databases {
        service.wait("the agent is scraped", || scraped(url))?;
    }
    let path = service.file("load.jsonl");
    let load = Load {
        mix: "mixed",
        truth: Some(&path),
        ..Load::of(2, 300, 2)
    };
    load.run(&service)?;
    let mut truth = truth::load(&path)?;
    // These are the slowest 10 in 100, so that percentiles are not all of one bucket.
    truth.extend(service.client(&[
        "client", "--script", "work", "--tool", "hold", "--ms", "70", "--calls", "60",
    ])?);
    let all = truth.len() as u64;
    service.wait("the history counts every call", || Ok(service.reported()? == all))?;

    let mut by_method: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in &truth {
        by_method
            .entry(line.method.clone())
            .or_default()
            .extend(line.latency_us);
    }
    let latencies = by_method.values().flatten().copied().collect();
    let (truth_p95, selector) = (p95(latencies), format!("{{server=\"{}\"}}", service.server()));
    let report = &service.ask(&["report", "--since", "10m"])?[0];
    let own = report["servers"].as_array().into_iter().flatten();
    let own = own.filter(|it| it["server"] == service.server());
    let reported = own.filter_map(|it| it["p95_us"].as_f64()).next();
    let near = |what: &str, one: Option<f64>, other: Option<f64>| {
        let (one, other) = one
            .zip(other)
            .with_context(|| format!("{what}: {one:?} and {other:?}"))?;
        ensure!(
            bucket(one).abs_diff(bucket(other)) <= 1,
            "{what}: p95 {one} and {other} µs"
        );
        println!("{what}: p95 {one:.0} and {other:.0} µs");
        Ok(())
    };
    near("report and truth", reported, truth_p95)?;
    for (_, url) in &databases {
        let counts: BTreeMap<_, _> = by_method
            .iter()
            .map(|(name, all)| (name.clone(), all.len() as f64))
            .collect();
        for count in ["mcp_request_duration_seconds_count", "mcp_requests_total"] {
            let question = format!("sum by (method) ({count}{selector})");
            service.wait("the database counts every call", || {
                Ok(query(url, &question, "method")? == counts)
            })?;
        }
        // A database shows a scrape series by series.
        let question = format!("sum by (le) (mcp_request_duration_seconds_bucket{selector})");
        service.wait("the database has every bucket", || {
            let there = query(url, &question, "le")?.into_iter();
            Ok(there
                .map(|(le, calls)| (number(&le), calls))
                .collect::<BTreeMap<_, _>>()
                == buckets(&service)?)
        })?;
        let quantile = |by: &str| {
            format!("1e6 * histogram_quantile(0.95, sum by ({by}) (mcp_request_duration_seconds_bucket{selector}))")
        };
        let whole = query(url, &quantile("le"), "")?.into_values().next();
        near("histogram_quantile and truth", whole, truth_p95)?;
        near("histogram_quantile and report", whole, reported)?;
        for (method, micros) in query(url, &quantile("le, method"), "method")? {
            near(&method, Some(micros), p95(by_method[&method].clone()))?;
        }
    }
    drop(databases);
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
