//! Databases, the report and the truth agree on how many calls there were, and on how long they took.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::fixture::truth;
use mcpsonar_tests::harness::{Database, Kind, Load, Service};

/// Bounds of the operators' histogram, in seconds.
const OPERATORS: [f64; 8] = [0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0];
/// The same of the conventions'.
const CONVENTIONS: [f64; 14] = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// Where a database has the calls of the service's servers.
struct View {
    database: Database,
    /// How they come there.
    way: &'static str,
    histogram: &'static str,
    /// Its bounds, in seconds.
    bounds: &'static [f64],
    /// The label that has the method.
    method: &'static str,
    selector: String,
}

impl View {
    /// As operators name them, scraped.
    fn scraped(kind: Kind, service: &Service) -> Result<Self> {
        let database = Database::scraping(kind, service)?;
        service.wait("the agent is scraped", || {
            let agents = database.query("mcpsonar_agent_series", "instance");
            Ok(agents.is_ok_and(|found| !found.is_empty()))
        })?;
        Ok(Self {
            database,
            way: "by scrape",
            histogram: "mcp_request_duration_seconds",
            bounds: &OPERATORS,
            method: "method",
            selector: format!("{{server=\"{}\"}}", service.server()),
        })
    }

    /// As OpenTelemetry names them, sent there.
    fn sent(database: Database, service: &Service) -> Self {
        Self {
            database,
            way: "over OTLP",
            histogram: "mcp_server_operation_duration_seconds",
            bounds: &CONVENTIONS,
            method: "mcp_method_name",
            selector: format!("{{service_name=\"{}\"}}", service.server()),
        }
    }

    fn counts(&self) -> Result<BTreeMap<String, f64>> {
        let question = format!("sum by ({}) ({}_count{})", self.method, self.histogram, self.selector);
        self.database.query(&question, self.method)
    }

    /// The 95th percentiles, in microseconds, by a label or of all.
    fn p95(&self, by: &str) -> Result<BTreeMap<String, f64>> {
        let labels = if by.is_empty() {
            "le".to_owned()
        } else {
            format!("le, {by}")
        };
        let buckets = format!("sum by ({labels}) ({}_bucket{})", self.histogram, self.selector);
        let question = format!("1e6 * histogram_quantile(0.95, {buckets})");
        self.database.query(&question, by)
    }
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

/// Two percentiles in microseconds are of the same bucket of these, or of neighbours.
fn near(what: &str, bounds: &[f64], one: Option<f64>, other: Option<f64>) -> Result<()> {
    let (one, other) = one
        .zip(other)
        .with_context(|| format!("{what}: {one:?} and {other:?}"))?;
    let bucket = |micros: f64| bounds.iter().filter(|bound| micros / 1e6 > **bound).count();
    println!("{what}: p95 {one:.0} and {other:.0} µs");
    ensure!(
        bucket(one).abs_diff(bucket(other)) <= 1,
        "{what}: p95 {one} and {other} µs"
    );
    Ok(())
}

/// Counts are the same, and percentiles are of the same bucket or of neighbours, wherever one looks: at what really
/// happened, at the report of the host, at the histograms in databases that scrape and in one that is sent them.
#[test]
fn counts_and_percentiles_agree_with_the_truth() -> Result<()> {
    let service = Service::new("percentiles")?;
    let listening = Database::listening(&service)?;
    service.configure(&format!(
        "otlp = {{ metrics_endpoint = {:?}, protocol = \"http/protobuf\", metrics = \"cumulative\", interval = \"1s\", traces = \"none\" }}",
        listening.otlp()
    ))?;
    let mut command = service.command();
    command.arg("--no-tls");
    let running = service.start_by(command)?;
    let scraped = [
        View::scraped(Kind::VictoriaMetrics, &service)?,
        View::scraped(Kind::Prometheus, &service)?,
    ];
    let sent = View::sent(listening, &service);
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
    let truth_p95 = p95(latencies);
    let report = &service.ask(&["report", "--since", "10m"])?[0];
    let own = report["servers"].as_array().into_iter().flatten();
    let own = own.filter(|it| it["server"] == service.server());
    let reported = own.filter_map(|it| it["p95_us"].as_f64()).next();
    near("report and truth", &OPERATORS, reported, truth_p95)?;
    let counts: BTreeMap<_, _> = by_method
        .iter()
        .map(|(name, all)| (name.clone(), all.len() as f64))
        .collect();
    let counted = |view: &View| service.wait("the database counts every call", || Ok(view.counts()? == counts));
    for view in &scraped {
        counted(view)?;
        as_offered(view, &service)?;
    }
    counted(&sent)?;
    for view in scraped.iter().chain([&sent]) {
        let way = view.way;
        let whole = view.p95("")?.into_values().next();
        near(&format!("{way}, and truth"), view.bounds, whole, truth_p95)?;
        near(&format!("{way}, and report"), view.bounds, whole, reported)?;
        for (method, micros) in view.p95(view.method)? {
            let truth = p95(by_method[&method].clone());
            near(&format!("{way}, {method}"), view.bounds, Some(micros), truth)?;
        }
    }
    running.end()?;
    Ok(())
}

/// A database shows a scrape series by series: waits until it has every bucket, and the other count of calls.
fn as_offered(view: &View, service: &Service) -> Result<()> {
    let question = format!("sum by (le) ({}_bucket{})", view.histogram, view.selector);
    service.wait("the database has every bucket", || {
        let there = view.database.query(&question, "le")?.into_iter();
        let there: BTreeMap<_, _> = there.map(|(le, calls)| (number(&le), calls)).collect();
        Ok(there == buckets(service)?)
    })?;
    let question = format!("sum by (method) (mcp_requests_total{})", view.selector);
    service.wait("the database has the other count", || {
        Ok(view.database.query(&question, "method")? == view.counts()?)
    })
}
