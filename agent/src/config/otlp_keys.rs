//! Keys of what is sent by OTLP. Those that one signal has for itself are in `signal_keys`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::value::{bytes, duration, show_bytes, show_duration};
use super::{Key, signal_keys};
use crate::metrics::Temporality;
use crate::sink::{OtlpProtocol, Sampler, check_url, pairs};

/// The least that spans can wait in.
const LEAST_QUEUE: u64 = 64 << 10;
const MOST_SPANS: usize = 1_000_000;

pub(super) const URL: &str = "the URL of a collector, http://… or https://…, or nothing";
pub(super) const PROTOCOL: &str = "grpc or http/protobuf";
pub(super) const PAIRS: &str = "name=value,name=value, values percent-encoded";
pub(super) const MILLIS: &str = "a duration of at least 1ms: 500ms, 10s; in the OTEL variable milliseconds";
pub(super) const COMPRESSION: &str = "none or gzip";
pub(super) const PEM: &str = "the path of a PEM file, or nothing";

/// Every key of OTLP.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().chain(signal_keys::TRACES).chain(signal_keys::METRICS)
}

const KEYS: &[Key] = &[
    Key {
        name: "otlp.endpoint",
        otel: Some("OTEL_EXPORTER_OTLP_ENDPOINT"),
        allowed: URL,
        about: "Where spans and metrics are sent; without it nowhere. With http/protobuf /v1/traces and /v1/metrics are added.",
        set: |config, text| url(text).map(|url| config.otlp.endpoint = url),
        get: |config| config.otlp.endpoint.clone().unwrap_or_default(),
    },
    Key {
        name: "otlp.protocol",
        otel: Some("OTEL_EXPORTER_OTLP_PROTOCOL"),
        allowed: PROTOCOL,
        about: "How to speak to the collector.",
        set: |config, text| protocol(text).map(|value| config.otlp.protocol = value),
        get: |config| show_protocol(config.otlp.protocol).to_owned(),
    },
    Key {
        name: "otlp.headers",
        otel: Some("OTEL_EXPORTER_OTLP_HEADERS"),
        allowed: PAIRS,
        about: "Sent with every request. Shown by name only.",
        set: |config, text| pairs(text).map(|pairs| config.otlp.headers = pairs),
        get: |config| show_headers(&config.otlp.headers),
    },
    Key {
        name: "otlp.timeout",
        otel: Some("OTEL_EXPORTER_OTLP_TIMEOUT"),
        allowed: MILLIS,
        about: "How long one request may take.",
        set: |config, text| millis(text).map(|value| config.otlp.timeout = value),
        get: |config| show_duration(config.otlp.timeout),
    },
    Key {
        name: "otlp.compression",
        otel: Some("OTEL_EXPORTER_OTLP_COMPRESSION"),
        allowed: COMPRESSION,
        about: "Whether requests are compressed.",
        set: |config, text| compression(text).map(|value| config.otlp.gzip = value),
        get: |config| show_compression(config.otlp.gzip).to_owned(),
    },
    Key {
        name: "otlp.certificate",
        otel: Some("OTEL_EXPORTER_OTLP_CERTIFICATE"),
        allowed: PEM,
        about: "Authorities that the collector's certificate is checked by, instead of the system's.",
        set: |config, text| file(text).map(|path| config.otlp.certificate = path),
        get: |config| show_file(config.otlp.certificate.as_deref()),
    },
    Key {
        name: "otlp.client_certificate",
        otel: Some("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
        allowed: PEM,
        about: "What the agent shows to a collector that asks for a certificate.",
        set: |config, text| file(text).map(|path| config.otlp.client_certificate = path),
        get: |config| show_file(config.otlp.client_certificate.as_deref()),
    },
    Key {
        name: "otlp.client_key",
        otel: Some("OTEL_EXPORTER_OTLP_CLIENT_KEY"),
        allowed: PEM,
        about: "Its private key.",
        set: |config, text| file(text).map(|path| config.otlp.client_key = path),
        get: |config| show_file(config.otlp.client_key.as_deref()),
    },
    Key {
        name: "otlp.sampler",
        otel: Some("OTEL_TRACES_SAMPLER"),
        allowed: "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or parentbased_traceidratio",
        about: "Which calls become spans. Failed calls, and those slower than history.slow, do with all but always_off.",
        set: |config, text| Sampler::of(text).map(|sampler| config.otlp.sampler = sampler),
        get: |config| config.otlp.sampler.word().to_owned(),
    },
    Key {
        name: "otlp.sample",
        otel: Some("OTEL_TRACES_SAMPLER_ARG"),
        allowed: "a share from 0 to 1",
        about: "Share of traces that the samplers with traceidratio keep, decided by the trace id.",
        set: |config, text| {
            let value = text.parse().ok().filter(|value| (0.0..=1.0).contains(value))?;
            config.otlp.ratio = value;
            Some(())
        },
        get: |config| config.otlp.ratio.to_string(),
    },
    Key {
        name: "otlp.queue",
        otel: Some("OTEL_BSP_MAX_QUEUE_SIZE"),
        allowed: "a number from 1 to 1000000",
        about: "Spans that may wait to be sent; what comes then is lost, and counted.",
        set: |config, text| count(text).map(|value| config.otlp.queue = value),
        get: |config| config.otlp.queue.to_string(),
    },
    Key {
        name: "otlp.queue_size",
        otel: None,
        allowed: "at least 64KiB, as KiB, MiB or GiB",
        about: "Bytes that they may have.",
        set: |config, text| {
            let value = bytes(text).filter(|&value| value >= LEAST_QUEUE)?;
            config.otlp.queue_bytes = usize::try_from(value).ok()?;
            Some(())
        },
        get: |config| show_bytes(config.otlp.queue_bytes as u64),
    },
    Key {
        name: "otlp.batch",
        otel: Some("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
        allowed: "a number from 1 to 1000000",
        about: "Spans of one request at most.",
        set: |config, text| count(text).map(|value| config.otlp.batch = value),
        get: |config| config.otlp.batch.to_string(),
    },
    Key {
        name: "otlp.delay",
        otel: Some("OTEL_BSP_SCHEDULE_DELAY"),
        allowed: MILLIS,
        about: "How long a span waits for others.",
        set: |config, text| millis(text).map(|value| config.otlp.delay = value),
        get: |config| show_duration(config.otlp.delay),
    },
    Key {
        name: "otlp.metrics",
        otel: None,
        allowed: "off, cumulative or delta",
        about: "Whether metrics are sent too, as totals or as differences.",
        set: |config, text| {
            config.otlp.metrics = match text {
                "off" => None,
                "cumulative" => Some(Temporality::Cumulative),
                "delta" => Some(Temporality::Delta),
                _ => return None,
            };
            Some(())
        },
        get: |config| match config.otlp.metrics {
            None => "off".to_owned(),
            Some(Temporality::Cumulative) => "cumulative".to_owned(),
            Some(Temporality::Delta) => "delta".to_owned(),
        },
    },
    Key {
        name: "otlp.interval",
        otel: Some("OTEL_METRIC_EXPORT_INTERVAL"),
        allowed: MILLIS,
        about: "Pause between two exports of metrics.",
        set: |config, text| millis(text).map(|value| config.otlp.interval = value),
        get: |config| show_duration(config.otlp.interval),
    },
    Key {
        name: "otlp.histograms",
        otel: Some("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"),
        allowed: "explicit or exponential; in the OTEL variable explicit_bucket_histogram or base2_exponential_bucket_histogram",
        about: "Buckets of the conventions, or as fine as the values need. Taken at start only.",
        set: |config, text| {
            config.otlp.exponential = match text {
                "explicit" | "explicit_bucket_histogram" => false,
                "exponential" | "base2_exponential_bucket_histogram" => true,
                _ => return None,
            };
            Some(())
        },
        get: |config| {
            if config.otlp.exponential {
                "exponential"
            } else {
                "explicit"
            }
            .to_owned()
        },
    },
    Key {
        name: "otlp.resource",
        otel: Some("OTEL_RESOURCE_ATTRIBUTES"),
        allowed: PAIRS,
        about: "Attributes of every resource, where it has none of that name itself.",
        set: |config, text| pairs(text).map(|pairs| config.otlp.resource = pairs),
        get: |config| {
            let shown = config
                .otlp
                .resource
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            shown.collect::<Vec<_>>().join(",")
        },
    },
    Key {
        name: "otlp.service_name",
        otel: Some("OTEL_SERVICE_NAME"),
        allowed: "a name, or nothing",
        about: "What the agent itself is called; MCP clients and servers have their own names.",
        set: |config, text| optional(text).map(|name| config.otlp.service_name = name),
        get: |config| config.otlp.service_name.clone().unwrap_or_default(),
    },
];

pub(super) fn protocol(text: &str) -> Option<OtlpProtocol> {
    match text {
        "grpc" => Some(OtlpProtocol::Grpc),
        "http/protobuf" => Some(OtlpProtocol::Http),
        _ => None,
    }
}

pub(super) fn show_protocol(protocol: OtlpProtocol) -> &'static str {
    match protocol {
        OtlpProtocol::Grpc => "grpc",
        OtlpProtocol::Http => "http/protobuf",
    }
}

/// Whether it is gzip.
pub(super) fn compression(text: &str) -> Option<bool> {
    match text {
        "gzip" => Some(true),
        "none" => Some(false),
        _ => None,
    }
}

pub(super) fn show_compression(gzip: bool) -> &'static str {
    if gzip { "gzip" } else { "none" }
}

/// By name only: values are credentials as often as not.
pub(super) fn show_headers(headers: &[(String, String)]) -> String {
    let shown = headers.iter().map(|(name, _)| format!("{name}=***"));
    shown.collect::<Vec<_>>().join(",")
}

/// A URL, or nothing.
pub(super) fn url(text: &str) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    check_url(text).ok().map(|()| Some(text.to_owned()))
}

/// A duration with its unit, or milliseconds, as OpenTelemetry's variables have them.
pub(super) fn millis(text: &str) -> Option<Duration> {
    let plain = text.parse().ok().map(Duration::from_millis);
    plain.or_else(|| duration(text)).filter(|value| !value.is_zero())
}

fn count(text: &str) -> Option<usize> {
    text.parse().ok().filter(|value| (1..=MOST_SPANS).contains(value))
}

/// Text, or nothing.
#[expect(clippy::unnecessary_wraps, reason = "as of what can be wrong")]
pub(super) fn optional(text: &str) -> Option<Option<String>> {
    Some((!text.is_empty()).then(|| text.to_owned()))
}

pub(super) fn file(text: &str) -> Option<Option<PathBuf>> {
    optional(text).map(|path| path.map(PathBuf::from))
}

pub(super) fn show_file(path: Option<&Path>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}
