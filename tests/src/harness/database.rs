//! Time series databases to which an agent's metrics go.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Guard, Service};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Where VictoriaMetrics is, if it is not on PATH; `cargo xtask test` gets it and says so.
const VICTORIA_METRICS: &str = "MCPSONAR_VICTORIA_METRICS";
/// The same for Prometheus.
const PROMETHEUS: &str = "MCPSONAR_PROMETHEUS";

/// Which one.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Also takes what is sent to it over OTLP.
    VictoriaMetrics,
    /// Scrapes only.
    Prometheus,
}

/// A database that runs.
#[derive(Debug)]
pub struct Database {
    _program: Guard,
    url: String,
}

impl Kind {
    /// Its program, if it is not where the variable says.
    fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::VictoriaMetrics => ("victoria-metrics", VICTORIA_METRICS),
            Self::Prometheus => ("prometheus", PROMETHEUS),
        }
    }
}

impl Database {
    /// One that scrapes what the service's agent offers.
    pub fn scraping(kind: Kind, service: &Service) -> Result<Self> {
        let targets = format!(
            "\n  - job_name: mcpsonar\n    static_configs:\n      - targets: [\"127.0.0.1:{}\"]",
            service.port()
        );
        Self::start(kind, service, "scraping", &targets)
    }

    /// One that waits for what is sent to it over OTLP.
    pub fn listening(service: &Service) -> Result<Self> {
        Self::start(Kind::VictoriaMetrics, service, "listening", " []")
    }

    fn start(kind: Kind, service: &Service, role: &str, targets: &str) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (name, variable) = kind.program();
        let scrape = service.file(&format!("{name}-{role}.yml"));
        fs::write(
            &scrape,
            format!("global: {{scrape_interval: 1s}}\nscrape_configs:{targets}\n"),
        )?;
        let program = std::env::var(variable).unwrap_or_else(|_| name.to_owned());
        let log = File::create(service.file(&format!("{name}-{role}.log")))?;
        let (data, scrape) = (service.file(&format!("{name}-{role}")), scrape.display().to_string());
        let mut command = Command::new(&program);
        match kind {
            Kind::VictoriaMetrics => command
                .arg(format!("-httpListenAddr={address}"))
                .arg(format!("-storageDataPath={}", data.display()))
                .arg(format!("-promscrape.config={scrape}"))
                .arg("-opentelemetry.usePrometheusNaming")
                .args(["-search.latencyOffset=1s", "-search.disableCache"]),
            Kind::Prometheus => command
                .arg(format!("--web.listen-address={address}"))
                .arg(format!("--storage.tsdb.path={}", data.display()))
                .arg(format!("--config.file={scrape}")),
        };
        let program = Guard::spawn(command.stdout(Stdio::null()).stderr(log)).with_context(|| {
            format!("cannot start {program}: it is Debian's {name}; `cargo xtask test` gets it, or {variable} says where it is")
        })?;
        Ok(Self {
            _program: program,
            url: format!("http://{address}"),
        })
    }

    /// The base of its API.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it takes metrics over OTLP.
    #[must_use]
    pub fn otlp(&self) -> String {
        format!("{}/opentelemetry/v1/metrics", self.url)
    }

    /// Values that a question has, by the value of a label (empty where it is not there).
    pub fn query(&self, question: &str, label: &str) -> Result<BTreeMap<String, f64>> {
        let address = self.url.trim_start_matches("http://");
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
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
