//! The way to the collector, which spans and metrics share: address, protocol, certificates, time
//! limit; and what the environment says of metrics. (Of spans the SDK's exporter reads that itself.)

use std::{env, time::Duration};

use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry_http::{HttpClient, hyper::HyperClient};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use percent_encoding::percent_decode_str;
use tonic::transport::{Channel, Endpoint};

use super::OtlpError;

/// How long one export may take, retries included.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
const TRACES_PATH: &str = "/v1/traces";
const METRICS_PATH: &str = "/v1/metrics";

/// Whether the URL can be one of a collector. Checked before the worker exists, so that a mistake
/// on the command line is told at once.
pub(super) fn check(url: &str) -> Result<(), OtlpError> {
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

pub(super) fn failed(url: &str, reason: &impl ToString) -> OtlpError {
    OtlpError::Exporter {
        url: shown(url),
        reason: reason.to_string(),
    }
}

/// A channel of gRPC. It connects when it is used. Within a tokio runtime.
pub(super) fn channel(url: &str) -> Result<Channel, OtlpError> {
    let failed = |error: tonic::transport::Error| failed(url, &error);
    let mut endpoint = Endpoint::from_shared(url.to_owned()).map_err(failed)?.timeout(TIMEOUT);
    if url.starts_with("https://") {
        let tls = ClientTlsConfig::new().with_enabled_roots();
        endpoint = endpoint.tls_config(tls).map_err(failed)?;
    }
    Ok(endpoint.connect_lazy())
}

/// A client of HTTP. Within a tokio runtime.
pub(super) fn http_client(url: &str) -> Result<impl HttpClient + 'static, OtlpError> {
    let connector = HttpsConnectorBuilder::new()
        .with_native_roots()
        .map_err(|error| failed(url, &format!("no root certificates: {error}")))?
        .https_or_http()
        .enable_http1()
        .build();
    Ok(HyperClient::new(connector, TIMEOUT, None))
}

/// A base URL gets the path of traces; one that has a path is taken as it is.
pub(super) fn traces_url(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.split_once('/') {
        None => format!("{url}{TRACES_PATH}"),
        Some((_, "")) => format!("{}{TRACES_PATH}", url.trim_end_matches('/')),
        Some(_) => url.to_owned(),
    }
}

/// The path of metrics in place of that of traces, else after what there is.
pub(super) fn metrics_url(url: &str) -> String {
    let base = url.strip_suffix(TRACES_PATH).unwrap_or(url).trim_end_matches('/');
    if base.ends_with(METRICS_PATH) {
        return base.to_owned();
    }
    format!("{base}{METRICS_PATH}")
}

/// What `OTEL_EXPORTER_OTLP_METRICS_{name}` says, else `OTEL_EXPORTER_OTLP_{name}`.
fn setting(name: &str) -> Option<String> {
    [
        format!("OTEL_EXPORTER_OTLP_METRICS_{name}"),
        format!("OTEL_EXPORTER_OTLP_{name}"),
    ]
    .iter()
    .find_map(|variable| env::var(variable).ok().filter(|value| !value.trim().is_empty()))
}

/// Headers for every export of metrics.
pub(super) fn headers() -> Vec<(String, String)> {
    setting("HEADERS").map(|text| parse_headers(&text)).unwrap_or_default()
}

/// `name=value,name=value`, percent-encoded as in W3C baggage.
fn parse_headers(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    let decoded = pairs.filter_map(|(name, value)| {
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        Some((name.trim().to_ascii_lowercase(), value.into_owned()))
    });
    decoded.filter(|(name, _)| !name.is_empty()).collect()
}

/// Whether exports of metrics are to be compressed.
pub(super) fn is_compressed(url: &str) -> Result<bool, OtlpError> {
    match setting("COMPRESSION").as_deref() {
        None | Some("none") => Ok(false),
        Some("gzip") => Ok(true),
        Some(other) => Err(failed(
            url,
            &format!("OTEL_EXPORTER_OTLP_COMPRESSION={other} is neither gzip nor none"),
        )),
    }
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
            assert!(check(good).is_ok(), "{good}");
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
            assert!(check(bad).is_err(), "{bad}");
        }
        assert_eq!(shown("http://u:p@h/x?token=1"), "http://***@h/x?***");
    }

    #[test]
    fn paths() {
        assert_eq!(traces_url("http://h:4318"), "http://h:4318/v1/traces");
        assert_eq!(traces_url("http://h:4318/"), "http://h:4318/v1/traces");
        assert_eq!(traces_url("http://h/otlp/v1/traces"), "http://h/otlp/v1/traces");
        assert_eq!(metrics_url("http://h:4318"), "http://h:4318/v1/metrics");
        assert_eq!(metrics_url("http://h/otlp/v1/traces"), "http://h/otlp/v1/metrics");
        assert_eq!(metrics_url("http://h/otlp/v1/metrics"), "http://h/otlp/v1/metrics");
        assert_eq!(metrics_url("http://h/otlp/"), "http://h/otlp/v1/metrics");
    }

    #[test]
    fn headers_of_the_environment() {
        let pairs = [("api-key", "a b=c"), ("x", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parse_headers("API-Key = a%20b=c, x=1,=2,y"), pairs);
        assert!(parse_headers("").is_empty());
    }
}
