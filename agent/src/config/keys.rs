//! Every key: the file, the environment, `config show` and the documentation come from here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Key;
use super::value::{bytes, duration, show_bytes, show_duration};
use crate::metrics::Temporality;
use crate::sink::{OtlpProtocol, Sampler, check_url, pairs};

/// The least that a history can live in.
const LEAST_HISTORY: u64 = 4 << 20;
/// The least that spans can wait in.
const LEAST_QUEUE: u64 = 64 << 10;
const MOST_SPANS: usize = 1_000_000;

/// Every key.
pub const KEYS: &[Key] = &[
    Key {
        name: "socket.path",
        otel: None,
        allowed: "an absolute path",
        about: "Unix socket of the API. Taken at start only.",
        set: |config, text| absolute(text).map(|path| config.socket_path = path),
        get: |config| config.socket_path.display().to_string(),
    },
    Key {
        name: "socket.group",
        otel: None,
        allowed: "the name of a group",
        about: "Who may use the socket besides root, where the group exists. Taken at start only.",
        set: |config, text| (!text.is_empty()).then(|| text.clone_into(&mut config.socket_group)),
        get: |config| config.socket_group.clone(),
    },
    Key {
        name: "history.enabled",
        otel: None,
        allowed: "true or false",
        about: "Whether a history is kept. Taken at start only.",
        set: |config, text| text.parse().ok().map(|on| config.history = on),
        get: |config| config.history.to_string(),
    },
    Key {
        name: "history.path",
        otel: None,
        allowed: "an absolute path",
        about: "Its file. Taken at start only.",
        set: |config, text| absolute(text).map(|path| config.history_path = path),
        get: |config| config.history_path.display().to_string(),
    },
    Key {
        name: "history.max_size",
        otel: None,
        allowed: "at least 4MiB, as KiB, MiB or GiB",
        about: "What the file may grow to; whole calls go first, the oldest before others.",
        set: |config, text| {
            let value = bytes(text).filter(|&value| value >= LEAST_HISTORY)?;
            config.limits.max_bytes = value;
            Some(())
        },
        get: |config| show_bytes(config.limits.max_bytes),
    },
    Key {
        name: "history.max_age",
        otel: None,
        allowed: "a duration of at least 1h: 24h, 7d",
        about: "How long anything is kept.",
        set: |config, text| {
            let value = duration(text).filter(|&value| value >= Duration::from_secs(3600))?;
            config.limits.max_age = value;
            Some(())
        },
        get: |config| show_duration(config.limits.max_age),
    },
    Key {
        name: "history.slow",
        otel: None,
        allowed: "a duration: 250ms, 1s, 2m",
        about: "Calls that take longer are slow: kept whole, and always sent as spans.",
        set: |config, text| duration(text).map(|value| config.limits.slow = value),
        get: |config| show_duration(config.limits.slow),
    },
    Key {
        name: "history.sample",
        otel: None,
        allowed: "a share from 0 to 1",
        about: "Share of the other calls that is kept whole, decided by the trace id.",
        set: |config, text| {
            let value = text.parse().ok().filter(|value| (0.0..=1.0).contains(value))?;
            config.limits.sample_ratio = value;
            Some(())
        },
        get: |config| config.limits.sample_ratio.to_string(),
    },
    Key {
        name: "otlp.endpoint",
        otel: Some("OTEL_EXPORTER_OTLP_ENDPOINT"),
        allowed: "the URL of a collector, http://… or https://…, or nothing",
        about: "Where spans and metrics are sent; without it nowhere. With http/protobuf /v1/traces and /v1/metrics are added.",
        set: |config, text| url(text).map(|url| config.otlp.endpoint = url),
        get: |config| config.otlp.endpoint.clone().unwrap_or_default(),
    },
    Key {
        name: "otlp.traces_endpoint",
        otel: Some("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        allowed: "the URL of a collector, http://… or https://…, or nothing",
        about: "Where spans are sent instead, as it is.",
        set: |config, text| url(text).map(|url| config.otlp.traces_endpoint = url),
        get: |config| config.otlp.traces_endpoint.clone().unwrap_or_default(),
    },
    Key {
        name: "otlp.metrics_endpoint",
        otel: Some("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"),
        allowed: "the URL of a collector, http://… or https://…, or nothing",
        about: "Where metrics are sent instead, as it is.",
        set: |config, text| url(text).map(|url| config.otlp.metrics_endpoint = url),
        get: |config| config.otlp.metrics_endpoint.clone().unwrap_or_default(),
    },
    Key {
        name: "otlp.protocol",
        otel: Some("OTEL_EXPORTER_OTLP_PROTOCOL"),
        allowed: "grpc or http/protobuf",
        about: "How to speak to the collector.",
        set: |config, text| {
            config.otlp.protocol = match text {
                "grpc" => OtlpProtocol::Grpc,
                "http/protobuf" => OtlpProtocol::Http,
                _ => return None,
            };
            Some(())
        },
        get: |config| match config.otlp.protocol {
            OtlpProtocol::Grpc => "grpc".to_owned(),
            OtlpProtocol::Http => "http/protobuf".to_owned(),
        },
    },
    Key {
        name: "otlp.headers",
        otel: Some("OTEL_EXPORTER_OTLP_HEADERS"),
        allowed: "name=value,name=value, values percent-encoded",
        about: "Sent with every request. Shown by name only.",
        set: |config, text| pairs(text).map(|pairs| config.otlp.headers = pairs),
        get: |config| {
            let shown = config.otlp.headers.iter().map(|(name, _)| format!("{name}=***"));
            shown.collect::<Vec<_>>().join(",")
        },
    },
    Key {
        name: "otlp.timeout",
        otel: Some("OTEL_EXPORTER_OTLP_TIMEOUT"),
        allowed: "a duration of at least 1ms: 500ms, 10s; in the OTEL variable milliseconds",
        about: "How long one request may take.",
        set: |config, text| millis(text).map(|value| config.otlp.timeout = value),
        get: |config| show_duration(config.otlp.timeout),
    },
    Key {
        name: "otlp.compression",
        otel: Some("OTEL_EXPORTER_OTLP_COMPRESSION"),
        allowed: "none or gzip",
        about: "Whether requests are compressed.",
        set: |config, text| {
            config.otlp.gzip = match text {
                "gzip" => true,
                "none" => false,
                _ => return None,
            };
            Some(())
        },
        get: |config| if config.otlp.gzip { "gzip" } else { "none" }.to_owned(),
    },
    Key {
        name: "otlp.certificate",
        otel: Some("OTEL_EXPORTER_OTLP_CERTIFICATE"),
        allowed: "the path of a PEM file, or nothing",
        about: "Authorities that the collector's certificate is checked by, instead of the system's.",
        set: |config, text| file(text).map(|path| config.otlp.certificate = path),
        get: |config| show_file(config.otlp.certificate.as_deref()),
    },
    Key {
        name: "otlp.client_certificate",
        otel: Some("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
        allowed: "the path of a PEM file, or nothing",
        about: "What the agent shows to a collector that asks for a certificate.",
        set: |config, text| file(text).map(|path| config.otlp.client_certificate = path),
        get: |config| show_file(config.otlp.client_certificate.as_deref()),
    },
    Key {
        name: "otlp.client_key",
        otel: Some("OTEL_EXPORTER_OTLP_CLIENT_KEY"),
        allowed: "the path of a PEM file, or nothing",
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
        allowed: "a duration of at least 1ms: 500ms, 10s; in the OTEL variable milliseconds",
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
        allowed: "a duration of at least 1ms: 500ms, 10s; in the OTEL variable milliseconds",
        about: "Pause between two exports of metrics.",
        set: |config, text| millis(text).map(|value| config.otlp.interval = value),
        get: |config| show_duration(config.otlp.interval),
    },
    Key {
        name: "otlp.histograms",
        otel: None,
        allowed: "explicit or exponential",
        about: "Buckets of the conventions, or as fine as the values need. Taken at start only.",
        set: |config, text| {
            config.otlp.exponential = match text {
                "explicit" => false,
                "exponential" => true,
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
        allowed: "name=value,name=value, values percent-encoded",
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
    Key {
        name: "prometheus.address",
        otel: None,
        allowed: "an address and a port: 127.0.0.1:9464, [::]:9464; or off",
        about: "Where metrics are served at /metrics. When it cannot be listened on, the agent says so, goes on without and tries again every 10 s.",
        set: |config, text| {
            config.prometheus_address = if matches!(text, "" | "off") {
                None
            } else {
                Some(text.parse().ok()?)
            };
            Some(())
        },
        get: |config| {
            config
                .prometheus_address
                .map_or_else(|| "off".to_owned(), |address| address.to_string())
        },
    },
    Key {
        name: "log.level",
        otel: None,
        allowed: "off, error, warn, info, debug or trace",
        about: "What is logged.",
        set: |config, text| text.parse().ok().map(|level| config.log_level = level),
        get: |config| config.log_level.to_string().to_ascii_lowercase(),
    },
    Key {
        name: "log.format",
        otel: None,
        allowed: "text or json",
        about: "How it is logged. Taken at start only.",
        set: |config, text| {
            config.log_json = match text {
                "json" => true,
                "text" => false,
                _ => return None,
            };
            Some(())
        },
        get: |config| if config.log_json { "json" } else { "text" }.to_owned(),
    },
];

fn absolute(text: &str) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    path.is_absolute().then_some(path)
}

/// A URL, or nothing.
fn url(text: &str) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    check_url(text).ok().map(|()| Some(text.to_owned()))
}

/// A duration with its unit, or milliseconds, as OpenTelemetry's variables have them.
fn millis(text: &str) -> Option<Duration> {
    let plain = text.parse().ok().map(Duration::from_millis);
    plain.or_else(|| duration(text)).filter(|value| !value.is_zero())
}

fn count(text: &str) -> Option<usize> {
    text.parse().ok().filter(|value| (1..=MOST_SPANS).contains(value))
}

/// Text, or nothing.
#[expect(clippy::unnecessary_wraps, reason = "as of what can be wrong")]
fn optional(text: &str) -> Option<Option<String>> {
    Some((!text.is_empty()).then(|| text.to_owned()))
}

fn file(text: &str) -> Option<Option<PathBuf>> {
    optional(text).map(|path| path.map(PathBuf::from))
}

fn show_file(path: Option<&Path>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}
