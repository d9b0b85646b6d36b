//! Keys of what is sent by OTLP: those of the way to a collector are in `route_keys`.

use super::route_keys::{MILLIS, PAIRS, millis};
use super::value::{bytes, show_bytes, show_duration};
use super::{Key, route_keys};
use crate::metrics::Temporality;
use crate::sink::{Sampler, pairs};

/// The least that spans can wait in.
const LEAST_QUEUE: u64 = 64 << 10;
const MOST_SPANS: usize = 1_000_000;

/// Every key of OTLP.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    let routes = [route_keys::TRACES, route_keys::METRICS];
    route_keys::BOTH.iter().chain(KEYS).chain(routes.into_iter().flatten())
}

const KEYS: &[Key] = &[
    Key {
        name: "otlp.traces",
        otel: Some("OTEL_TRACES_EXPORTER"),
        allowed: "otlp or none",
        about: "Whether spans are sent, where there is a collector.",
        set: |config, text| {
            config.otlp.traces = match text {
                "otlp" => true,
                "none" => false,
                _ => return None,
            };
            Some(())
        },
        get: |config| if config.otlp.traces { "otlp" } else { "none" }.to_owned(),
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
    // Before `otlp.metrics`, which wins where it says a form itself.
    Key {
        name: "otlp.temporality",
        otel: Some("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"),
        allowed: "cumulative or delta; lowmemory is not to be had",
        about: "Whether metrics are sent as totals or as differences.",
        set: |config, text| temporality(text).map(|value| config.otlp.temporality = value),
        get: |config| show_temporality(config.otlp.temporality).to_owned(),
    },
    Key {
        name: "otlp.metrics",
        otel: Some("OTEL_METRICS_EXPORTER"),
        allowed: "off, cumulative or delta; in the OTEL variable none, otlp, or prometheus, which is served and not sent",
        about: "Whether metrics are sent too, where there is a collector, and as what. `otlp`: as otlp.temporality says.",
        set: |config, text| {
            config.otlp.metrics = match text {
                "off" | "none" | "prometheus" => false,
                "otlp" => true,
                other => {
                    config.otlp.temporality = temporality(other)?;
                    true
                }
            };
            Some(())
        },
        get: |config| {
            if config.otlp.metrics {
                show_temporality(config.otlp.temporality)
            } else {
                "off"
            }
            .to_owned()
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
        set: |config, text| {
            config.otlp.service_name = (!text.is_empty()).then(|| text.to_owned());
            Some(())
        },
        get: |config| config.otlp.service_name.clone().unwrap_or_default(),
    },
];

/// In any case, as OpenTelemetry has it.
fn temporality(text: &str) -> Option<Temporality> {
    match text.to_ascii_lowercase().as_str() {
        "cumulative" => Some(Temporality::Cumulative),
        "delta" => Some(Temporality::Delta),
        _ => None,
    }
}

fn show_temporality(temporality: Temporality) -> &'static str {
    match temporality {
        Temporality::Cumulative => "cumulative",
        Temporality::Delta => "delta",
    }
}

fn count(text: &str) -> Option<usize> {
    text.parse().ok().filter(|value| (1..=MOST_SPANS).contains(value))
}
