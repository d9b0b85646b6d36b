//! The exporter: to which address, by which protocol, and as which resource.

use std::time::Duration;

use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry::{Array, KeyValue, StringValue, Value};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig, tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::Resource;

use super::{OtlpError, OtlpProtocol};
use crate::calls::Party;

/// How long one export may take, retries included.
const TIMEOUT: Duration = Duration::from_secs(10);
const TRACES_PATH: &str = "/v1/traces";

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

/// Builds the exporter. Within a tokio runtime.
pub(super) fn build(url: &str, protocol: OtlpProtocol) -> Result<SpanExporter, OtlpError> {
    let failed = |reason: String| OtlpError::Exporter {
        url: shown(url),
        reason,
    };
    let built = match protocol {
        OtlpProtocol::Grpc => {
            let exporter = SpanExporter::builder()
                .with_tonic()
                .with_endpoint(url)
                .with_timeout(TIMEOUT);
            if url.starts_with("https://") {
                exporter
                    .with_tls_config(ClientTlsConfig::new().with_enabled_roots())
                    .build()
            } else {
                exporter.build()
            }
        }
        OtlpProtocol::Http => {
            let connector = HttpsConnectorBuilder::new()
                .with_native_roots()
                .map_err(|error| failed(format!("no root certificates: {error}")))?
                .https_or_http()
                .enable_http1()
                .build();
            SpanExporter::builder()
                .with_http()
                .with_http_client(HyperClient::new(connector, TIMEOUT, None))
                .with_endpoint(traces_url(url))
                .with_timeout(TIMEOUT)
                .build()
        }
    };
    built.map_err(|error| failed(error.to_string()))
}

/// A base URL gets the path of traces; one that has a path is taken as it is.
fn traces_url(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.split_once('/') {
        None => format!("{url}{TRACES_PATH}"),
        Some((_, "")) => format!("{}{TRACES_PATH}", url.trim_end_matches('/')),
        Some(_) => url.to_owned(),
    }
}

/// The process that a span belongs to, as a resource.
pub(super) fn resource(owner: &Party, host_name: Option<&str>) -> Resource {
    let mut attributes = vec![KeyValue::new(
        "service.name",
        owner.label().unwrap_or("unknown_service").to_owned(),
    )];
    let mut text = |name: &'static str, value: Option<&str>| {
        attributes.extend(value.map(|value| KeyValue::new(name, value.to_owned())));
    };
    text("service.version", owner.version.as_deref());
    text("host.name", host_name);
    if let Some(facts) = owner.facts.as_deref() {
        text("process.executable.name", facts.comm.as_deref());
        text("process.executable.path", facts.exe.as_deref());
        text("container.id", facts.container.as_deref());
        text("process.linux.cgroup", facts.cgroup.as_deref());
        attributes.push(KeyValue::new("process.pid", i64::from(facts.pid)));
        if !facts.cmdline.is_empty() {
            let args: Vec<StringValue> = facts.cmdline.iter().cloned().map(Into::into).collect();
            attributes.push(KeyValue::new("process.command_args", Value::Array(Array::String(args))));
        }
    }
    Resource::builder_empty().with_attributes(attributes).build()
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
    fn the_path_of_traces() {
        assert_eq!(traces_url("http://h:4318"), "http://h:4318/v1/traces");
        assert_eq!(traces_url("http://h:4318/"), "http://h:4318/v1/traces");
        assert_eq!(traces_url("http://h/otlp/v1/traces"), "http://h/otlp/v1/traces");
    }
}
