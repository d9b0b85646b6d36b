//! What is sent where, and how: as the configuration and OpenTelemetry's variables have it.

use std::{path::PathBuf, time::Duration};

use percent_encoding::percent_decode_str;

use super::{OtlpError, route::Signal, sampling::Sampler};
use crate::metrics::Temporality;

/// Pairs of `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_RESOURCE_ATTRIBUTES`.
pub(super) type Pairs = Vec<(String, String)>;

/// How to speak to the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// Protobuf over HTTP/1.1.
    Http,
}

/// What one signal has for itself, instead of what holds for both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SignalSettings {
    /// URL, as it is.
    pub endpoint: Option<String>,
    /// How to speak to the collector.
    pub protocol: Option<OtlpProtocol>,
    /// Whether gRPC goes without TLS to an endpoint without a scheme.
    pub insecure: Option<bool>,
    /// Sent with every request.
    pub headers: Option<Pairs>,
    /// How long one request may take.
    pub timeout: Option<Duration>,
    /// Whether requests are compressed.
    pub gzip: Option<bool>,
    /// PEM file of the authorities that the collector's certificate is checked by.
    pub certificate: Option<PathBuf>,
    /// PEM file of the certificate that the agent shows.
    pub client_certificate: Option<PathBuf>,
    /// PEM file of its key.
    pub client_key: Option<PathBuf>,
}

/// What is sent where, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpSettings {
    /// Base URL of the collector; for gRPC its scheme may be missing.
    pub endpoint: Option<String>,
    /// How to speak to it.
    pub protocol: OtlpProtocol,
    /// Whether gRPC goes without TLS to an endpoint without a scheme.
    pub insecure: bool,
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
    /// What is otherwise for spans.
    pub traces_only: SignalSettings,
    /// What is otherwise for metrics.
    pub metrics_only: SignalSettings,
    /// Whether spans are sent.
    pub traces: bool,
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
    /// Whether metrics are sent too.
    pub metrics: bool,
    /// In what form.
    pub temporality: Temporality,
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
            protocol: OtlpProtocol::Grpc,
            insecure: false,
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            gzip: false,
            certificate: None,
            client_certificate: None,
            client_key: None,
            traces_only: SignalSettings::default(),
            metrics_only: SignalSettings::default(),
            traces: true,
            sampler: Sampler::default(),
            ratio: 1.0,
            slow: Duration::from_secs(1),
            queue: 4096,
            queue_bytes: 8 << 20,
            batch: 512,
            delay: Duration::from_secs(1),
            metrics: false,
            temporality: Temporality::Cumulative,
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

    /// Whether files of certificates are named, which may change while these settings do not.
    #[must_use]
    pub fn has_certificates(&self) -> bool {
        let routes = [Signal::Traces, Signal::Metrics].map(|signal| self.route(signal));
        let mut named = routes.iter().flatten();
        named.any(|route| route.certificate.is_some() || route.client_certificate.is_some())
    }

    /// Whether anything is sent.
    #[must_use]
    pub fn is_on(&self) -> bool {
        let goes = |signal| self.route(signal).is_some();
        goes(Signal::Traces) || (self.metrics && goes(Signal::Metrics))
    }

    /// The key and the value of an endpoint that has no scheme, and by its protocol needs one.
    #[must_use]
    pub fn endpoint_without_scheme(&self) -> Option<(&'static str, &str)> {
        [Signal::Traces, Signal::Metrics].into_iter().find_map(|signal| {
            let (own, key) = match signal {
                Signal::Traces => (&self.traces_only, "otlp.traces_endpoint"),
                Signal::Metrics => (&self.metrics_only, "otlp.metrics_endpoint"),
            };
            let (key, endpoint) = match &own.endpoint {
                Some(endpoint) => (key, endpoint),
                None => ("otlp.endpoint", self.endpoint.as_ref()?),
            };
            let protocol = own.protocol.unwrap_or(self.protocol);
            (protocol == OtlpProtocol::Http && !endpoint.contains("://")).then_some((key, endpoint.as_str()))
        })
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

/// Whether it can be where a collector is: a URL, or HOST:PORT.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_endpoint(endpoint: &str) -> Result<(), OtlpError> {
    if endpoint.contains("://") {
        return check_url(endpoint);
    }
    // What has a path is no HOST:PORT but a URL without its beginning.
    match endpoint.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => check_url(&format!("https://{endpoint}")),
        _ => check_url(endpoint),
    }
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
        for (endpoint, good) in [("localhost:4317", true), ("[::1]:4317", true), ("http://h", true)]
            .into_iter()
            .chain(["localhost", ":4317", "h/v1:1/", "a b:1", "ftp://h:1", ""].map(|bad| (bad, false)))
        {
            assert_eq!(check_endpoint(endpoint).is_ok(), good, "{endpoint}");
        }
        assert_eq!(shown("http://u:p@h/x?token=1"), "http://***@h/x?***");
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
