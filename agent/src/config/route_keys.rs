//! Keys of the way to a collector: one list, for both signals and for each by itself, as OpenTelemetry has a
//! variable for each of them. Empty, a key of one signal is as `otlp.…` of the same name.

use std::path::PathBuf;
use std::time::Duration;

use super::Key;
use super::value::{duration, show_duration};
use crate::sink::{OtlpProtocol, check_endpoint, pairs};

const URL: &str = "the URL of a collector, http://… or https://…, for grpc also HOST:PORT, or nothing";
const PROTOCOL: &str = "grpc or http/protobuf; http/json is not spoken";
pub(super) const PAIRS: &str = "name=value,name=value, values percent-encoded";
pub(super) const MILLIS: &str = "a duration of at least 1ms: 500ms, 10s; in the OTEL variable milliseconds";
const COMPRESSION: &str = "none or gzip";
const PEM: &str = "the path of a PEM file, or nothing";
const TRUTH: &str = "true or false";

/// A setting that has a value, or one that may have none.
trait Slot<T> {
    /// Sets it to what `parse` makes of the text.
    fn put(&mut self, text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<()>;
    /// As text; empty where it has no value.
    fn show(&self, show: impl FnOnce(&T) -> String) -> String;
}

impl<T> Slot<T> for T {
    fn put(&mut self, text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<()> {
        parse(text).map(|value| *self = value)
    }

    fn show(&self, show: impl FnOnce(&T) -> String) -> String {
        show(self)
    }
}

impl<T> Slot<T> for Option<T> {
    fn put(&mut self, text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<()> {
        *self = match text {
            "" => None,
            text => Some(parse(text)?),
        };
        Some(())
    }

    fn show(&self, show: impl FnOnce(&T) -> String) -> String {
        self.as_ref().map(show).unwrap_or_default()
    }
}

macro_rules! keys {
    ($($signal:ident)?, $name:literal, $otel:literal, $what:literal, $endpoint:literal) => {
        &[
            Key {
                name: concat!("otlp.", $name, "endpoint"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "ENDPOINT")),
                allowed: URL,
                about: $endpoint,
                set: |config, text| config.otlp.$($signal.)?endpoint.put(text, endpoint),
                get: |config| config.otlp.$($signal.)?endpoint.show(String::clone),
            },
            Key {
                name: concat!("otlp.", $name, "protocol"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "PROTOCOL")),
                allowed: PROTOCOL,
                about: concat!("How to speak to the collector of ", $what, "."),
                set: |config, text| config.otlp.$($signal.)?protocol.put(text, protocol),
                get: |config| config.otlp.$($signal.)?protocol.show(show_protocol),
            },
            Key {
                name: concat!("otlp.", $name, "insecure"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "INSECURE")),
                allowed: TRUTH,
                about: concat!(
                    "Whether grpc goes without TLS to a collector of ",
                    $what,
                    " that is named as HOST:PORT; a URL has its scheme."
                ),
                set: |config, text| config.otlp.$($signal.)?insecure.put(text, truth),
                get: |config| config.otlp.$($signal.)?insecure.show(bool::to_string),
            },
            Key {
                name: concat!("otlp.", $name, "headers"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "HEADERS")),
                allowed: PAIRS,
                about: concat!("Sent with every request of ", $what, ". Shown by name only."),
                set: |config, text| config.otlp.$($signal.)?headers.put(text, pairs),
                get: |config| config.otlp.$($signal.)?headers.show(show_headers),
            },
            Key {
                name: concat!("otlp.", $name, "timeout"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "TIMEOUT")),
                allowed: MILLIS,
                about: concat!("How long one request of ", $what, " may take."),
                set: |config, text| config.otlp.$($signal.)?timeout.put(text, millis),
                get: |config| config.otlp.$($signal.)?timeout.show(|time| show_duration(*time)),
            },
            Key {
                name: concat!("otlp.", $name, "compression"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "COMPRESSION")),
                allowed: COMPRESSION,
                about: concat!("Whether requests of ", $what, " are compressed."),
                set: |config, text| config.otlp.$($signal.)?gzip.put(text, compression),
                get: |config| config.otlp.$($signal.)?gzip.show(show_compression),
            },
            Key {
                name: concat!("otlp.", $name, "certificate"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "CERTIFICATE")),
                allowed: PEM,
                about: concat!(
                    "Authorities that the certificate of the collector of ",
                    $what,
                    " is checked by, instead of the system's."
                ),
                set: |config, text| config.otlp.$($signal.)?certificate.put(text, file),
                get: |config| config.otlp.$($signal.)?certificate.show(show_file),
            },
            Key {
                name: concat!("otlp.", $name, "client_certificate"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "CLIENT_CERTIFICATE")),
                allowed: PEM,
                about: concat!("What the agent shows to a collector of ", $what, " that asks for a certificate."),
                set: |config, text| config.otlp.$($signal.)?client_certificate.put(text, file),
                get: |config| config.otlp.$($signal.)?client_certificate.show(show_file),
            },
            Key {
                name: concat!("otlp.", $name, "client_key"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "CLIENT_KEY")),
                allowed: PEM,
                about: "Its private key.",
                set: |config, text| config.otlp.$($signal.)?client_key.put(text, file),
                get: |config| config.otlp.$($signal.)?client_key.show(show_file),
            },
        ]
    };
}

/// Of spans and metrics.
pub(super) const BOTH: &[Key] = keys!(
    , "", "", "spans and metrics",
    "Where spans and metrics are sent; without it nowhere. With http/protobuf /v1/traces and /v1/metrics are added."
);
/// Of spans.
pub(super) const TRACES: &[Key] = keys!(
    traces_only,
    "traces_",
    "TRACES_",
    "spans",
    "Where spans are sent instead, as it is."
);
/// Of metrics.
pub(super) const METRICS: &[Key] = keys!(
    metrics_only,
    "metrics_",
    "METRICS_",
    "metrics",
    "Where metrics are sent instead, as it is."
);

fn endpoint(text: &str) -> Option<String> {
    check_endpoint(text).ok().map(|()| text.to_owned())
}

fn protocol(text: &str) -> Option<OtlpProtocol> {
    match text {
        "grpc" => Some(OtlpProtocol::Grpc),
        "http/protobuf" => Some(OtlpProtocol::Http),
        _ => None,
    }
}

fn show_protocol(protocol: &OtlpProtocol) -> String {
    match protocol {
        OtlpProtocol::Grpc => "grpc",
        OtlpProtocol::Http => "http/protobuf",
    }
    .to_owned()
}

/// In any case, as OpenTelemetry has it.
fn truth(text: &str) -> Option<bool> {
    text.to_ascii_lowercase().parse().ok()
}

/// Whether it is gzip.
fn compression(text: &str) -> Option<bool> {
    match text {
        "gzip" => Some(true),
        "none" => Some(false),
        _ => None,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as of what is not")]
fn show_compression(gzip: &bool) -> String {
    if *gzip { "gzip" } else { "none" }.to_owned()
}

/// By name only: values are credentials as often as not.
#[expect(clippy::ptr_arg, reason = "as it is kept")]
fn show_headers(headers: &Vec<(String, String)>) -> String {
    let shown = headers.iter().map(|(name, _)| format!("{name}=***"));
    shown.collect::<Vec<_>>().join(",")
}

/// A duration with its unit, or milliseconds, as OpenTelemetry's variables have them.
pub(super) fn millis(text: &str) -> Option<Duration> {
    let plain = text.parse().ok().map(Duration::from_millis);
    plain.or_else(|| duration(text)).filter(|value| !value.is_zero())
}

#[expect(clippy::unnecessary_wraps, reason = "as of what can be wrong")]
fn file(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text))
}

#[expect(clippy::ptr_arg, reason = "as it is kept")]
fn show_file(path: &PathBuf) -> String {
    path.display().to_string()
}
