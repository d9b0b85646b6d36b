//! Keys of what spans or metrics have for themselves: OpenTelemetry has a variable of its own for each of
//! them. Empty, a key is as `otlp.…` of the same name.

use super::Key;
use super::otlp_keys::{
    COMPRESSION, MILLIS, PAIRS, PEM, PROTOCOL, URL, compression, file, millis, protocol, show_compression, show_file,
    show_headers, show_protocol, url,
};
use super::value::show_duration;
use crate::sink::pairs;

/// What `parse` makes of the text; of an empty one, nothing.
fn own<T>(text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if text.is_empty() {
        return Some(None);
    }
    parse(text).map(Some)
}

macro_rules! signal_keys {
    ($signal:ident, $name:literal, $otel:literal, $what:literal) => {
        &[
            Key {
                name: concat!("otlp.", $name, "_endpoint"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "_ENDPOINT")),
                allowed: URL,
                about: concat!("Where ", $what, " are sent instead, as it is."),
                set: |config, text| url(text).map(|url| config.otlp.$signal.endpoint = url),
                get: |config| config.otlp.$signal.endpoint.clone().unwrap_or_default(),
            },
            Key {
                name: concat!("otlp.", $name, "_protocol"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "_PROTOCOL")),
                allowed: PROTOCOL,
                about: concat!("How to speak to the collector of ", $what, "."),
                set: |config, text| own(text, protocol).map(|value| config.otlp.$signal.protocol = value),
                get: |config| config.otlp.$signal.protocol.map_or("", show_protocol).to_owned(),
            },
            Key {
                name: concat!("otlp.", $name, "_headers"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "_HEADERS")),
                allowed: PAIRS,
                about: concat!("Sent with every request of ", $what, " instead. Shown by name only."),
                set: |config, text| own(text, pairs).map(|value| config.otlp.$signal.headers = value),
                get: |config| show_headers(config.otlp.$signal.headers.as_deref().unwrap_or_default()),
            },
            Key {
                name: concat!("otlp.", $name, "_timeout"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "_TIMEOUT")),
                allowed: MILLIS,
                about: concat!("How long one request of ", $what, " may take."),
                set: |config, text| own(text, millis).map(|value| config.otlp.$signal.timeout = value),
                get: |config| config.otlp.$signal.timeout.map(show_duration).unwrap_or_default(),
            },
            Key {
                name: concat!("otlp.", $name, "_compression"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "_COMPRESSION")),
                allowed: COMPRESSION,
                about: concat!("Whether requests of ", $what, " are compressed."),
                set: |config, text| own(text, compression).map(|value| config.otlp.$signal.gzip = value),
                get: |config| config.otlp.$signal.gzip.map_or("", show_compression).to_owned(),
            },
            Key {
                name: concat!("otlp.", $name, "_certificate"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "_CERTIFICATE")),
                allowed: PEM,
                about: concat!(
                    "Authorities that the certificate of the collector of ",
                    $what,
                    " is checked by."
                ),
                set: |config, text| file(text).map(|path| config.otlp.$signal.certificate = path),
                get: |config| show_file(config.otlp.$signal.certificate.as_deref()),
            },
            Key {
                name: concat!("otlp.", $name, "_client_certificate"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "_CLIENT_CERTIFICATE")),
                allowed: PEM,
                about: concat!("What the agent shows to the collector of ", $what, "."),
                set: |config, text| file(text).map(|path| config.otlp.$signal.client_certificate = path),
                get: |config| show_file(config.otlp.$signal.client_certificate.as_deref()),
            },
            Key {
                name: concat!("otlp.", $name, "_client_key"),
                otel: Some(concat!("OTEL_EXPORTER_OTLP_", $otel, "_CLIENT_KEY")),
                allowed: PEM,
                about: "Its private key.",
                set: |config, text| file(text).map(|path| config.otlp.$signal.client_key = path),
                get: |config| show_file(config.otlp.$signal.client_key.as_deref()),
            },
        ]
    };
}

/// Of spans.
pub(super) const TRACES: &[Key] = signal_keys!(traces_only, "traces", "TRACES", "spans");
/// Of metrics.
pub(super) const METRICS: &[Key] = signal_keys!(metrics_only, "metrics", "METRICS", "metrics");
