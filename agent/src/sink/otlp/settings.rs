//! What is sent where, and how: as the configuration and OpenTelemetry's variables have it.

use std::{path::PathBuf, time::Duration};

use percent_encoding::percent_decode_str;

use super::{OtlpError, sampling::Sampler};
use crate::metrics::Temporality;

/// Pairs of `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_RESOURCE_ATTRIBUTES`.
type Pairs = Vec<(String, String)>;

/// How to speak to the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// Protobuf over HTTP/1.1.
    Http,
}

/// What is sent where, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpSettings {
    /// Base URL of the collector.
    pub endpoint: Option<String>,
    /// URL for traces, as it is, instead.
    pub traces_endpoint: Option<String>,
    /// URL for metrics, as it is, instead.
    pub metrics_endpoint: Option<String>,
    /// How to speak to it.
    pub protocol: OtlpProtocol,
    /// Sent with every request.
    pub headers: Pairs,
    /// How long one request may take.
    pub timeout: Duration,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// PEM file of the authorities that the collector's certificate is checked by, instead of the system's.
    pub certificate: Option<PathBuf>,
    /// PEM file of the certificate that the agent shows.
    pub client_certificate: Option<PathBuf>,
    /// PEM file of its key.
    pub client_key: Option<PathBuf>,
    /// Who decides which calls become spans.
    pub sampler: Sampler,
    /// Share of traces that it keeps.
    pub ratio: f64,
    /// Calls that take longer are kept whatever it decides.
    pub slow: Duration,
    /// Spans that may wait to be sent.
    pub queue: usize,
    /// Bytes that they may have together.
    pub queue_bytes: usize,
    /// Spans of one request at most.
    pub batch: usize,
    /// How long a span waits for others.
    pub delay: Duration,
    /// Whether metrics are sent too, and in what form.
    pub metrics: Option<Temporality>,
    /// Pause between two exports of metrics.
    pub interval: Duration,
    /// Whether histograms are exponential.
    pub exponential: bool,
    /// Attributes of every resource.
    pub resource: Pairs,
    /// Name of the agent itself.
    pub service_name: Option<String>,
}

impl Default for OtlpSettings {
    fn default() -> Self {
        Self {
            endpoint: None,
            traces_endpoint: None,
            metrics_endpoint: None,
            protocol: OtlpProtocol::Grpc,
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            gzip: false,
            certificate: None,
            client_certificate: None,
            client_key: None,
            sampler: Sampler::default(),
            ratio: 1.0,
            slow: Duration::from_secs(1),
            queue: 4096,
            queue_bytes: 8 << 20,
            batch: 512,
            delay: Duration::from_secs(1),
            metrics: None,
            interval: Duration::from_secs(60),
            exponential: false,
            resource: Vec::new(),
            service_name: None,
        }
    }
}

impl OtlpSettings {
    /// Traces to the collector at `url`, all else as it is by default.
    #[must_use]
    pub fn to(url: impl Into<String>, protocol: OtlpProtocol) -> Self {
        Self {
            endpoint: Some(url.into()),
            protocol,
            ..Self::default()
        }
    }

    /// Whether anything is sent.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.url(Signal::Traces).is_some() || (self.metrics.is_some() && self.url(Signal::Metrics).is_some())
    }

    /// Where the signal goes; of gRPC only the authority counts.
    pub(super) fn url(&self, signal: Signal) -> Option<String> {
        let own = match signal {
            Signal::Traces => &self.traces_endpoint,
            Signal::Metrics => &self.metrics_endpoint,
        };
        match (own, &self.endpoint, self.protocol) {
            (Some(own), _, _) => Some(own.clone()),
            (None, Some(base), OtlpProtocol::Grpc) => Some(base.clone()),
            (None, Some(base), OtlpProtocol::Http) => Some(signal.below(base)),
            (None, None, _) => None,
        }
    }
}

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// Where it is posted to, below a base URL.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }

    /// The method of gRPC that takes it.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }

    /// A base that is the URL of one signal already is that of its sibling too.
    fn below(self, base: &str) -> String {
        let base = base.trim_end_matches('/');
        let ends = [Self::Traces, Self::Metrics].map(Self::path);
        let base = ends.iter().find_map(|end| base.strip_suffix(end)).unwrap_or(base);
        format!("{base}{}", self.path())
    }
}

/// Whether the URL can be one of a collector.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_url(url: &str) -> Result<(), OtlpError> {
    let bad = |reason| OtlpError::Url {
        url: shown(url),
        reason,
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(bad("it has no scheme"));
    };
    if !matches!(scheme, "http" | "https") {
        return Err(bad("its scheme is neither http nor https"));
    }
    if rest.is_empty() || rest.starts_with(['/', ':', '?', '#']) {
        return Err(bad("it names no host"));
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(bad("it has spaces in it"));
    }
    Ok(())
}

/// The URL without what may be a password.
pub(super) fn shown(url: &str) -> String {
    crate::host::redact_args(&[url]).pop().unwrap_or_default()
}

/// `name=value,name=value`, values percent-encoded as in W3C baggage. `None` when it is not that.
#[must_use]
pub fn pairs(text: &str) -> Option<Pairs> {
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    members
        .map(|member| {
            let (name, value) = member.split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            let name = name.trim();
            (!name.is_empty()).then(|| (name.to_owned(), value.into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for good in [
            "http://localhost:4317",
            "https://h",
            "http://[::1]:4318/x",
            "http://u:p@h",
        ] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for bad in [
            "localhost:4317",
            "ftp://h",
            "http://",
            "http:///x",
            "http://:1",
            "http://a b",
            "",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
        assert_eq!(shown("http://u:p@h/x?token=1"), "http://***@h/x?***");
    }

    #[test]
    fn where_signals_go() {
        let urls = |settings: &OtlpSettings| [Signal::Traces, Signal::Metrics].map(|signal| settings.url(signal));
        for (base, traces, metrics) in [
            ("http://h:4318", "http://h:4318/v1/traces", "http://h:4318/v1/metrics"),
            ("http://h/otlp/", "http://h/otlp/v1/traces", "http://h/otlp/v1/metrics"),
            ("http://h/v1/traces", "http://h/v1/traces", "http://h/v1/metrics"),
        ] {
            let settings = OtlpSettings::to(base, OtlpProtocol::Http);
            assert_eq!(urls(&settings), [traces, metrics].map(|url| Some(url.to_owned())));
        }
        let apart = OtlpSettings {
            metrics_endpoint: Some("http://m/x".to_owned()),
            ..OtlpSettings::to("http://h:1", OtlpProtocol::Grpc)
        };
        assert_eq!(
            urls(&apart),
            ["http://h:1", "http://m/x"].map(|url| Some(url.to_owned()))
        );
        assert!(apart.is_on() && !OtlpSettings::default().is_on());
    }

    #[test]
    fn pairs_of_the_environment() {
        let wanted = [("API-Key", "a b=c"), ("x", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs("API-Key = a%20b=c, x=1,"), Some(wanted.to_vec()));
        assert_eq!(pairs(""), Some(vec![]));
        for bad in ["y", "=2", "x=%ff"] {
            assert_eq!(pairs(bad), None, "{bad}");
        }
    }
}
