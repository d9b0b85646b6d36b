//! Sends metrics: what, how often, and what to do when it fails.
//!
//! The SDK's exporter takes only what the SDK has measured. So the messages are built here, and
//! sent by the client that opentelemetry-proto generates, or by the HTTP client that spans have.

mod message;

use std::{env, io::Write as _, sync::PoisonError, time::Duration};

use flate2::{Compression, write::GzEncoder};
use opentelemetry_http::{Bytes, HttpClient, Request};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse, metrics_service_client::MetricsServiceClient,
};
use prost::Message;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::{codec::CompressionEncoding, metadata::MetadataMap, transport::Channel};

use self::message::requests;
use super::{
    OtlpError, OtlpProtocol, Shared,
    connection::{channel, failed, headers, http_client, is_compressed, metrics_url},
};
use crate::{
    metrics::{Snapshot, Temporality},
    sink::Source,
};

/// Pause between two exports unless `OTEL_METRIC_EXPORT_INTERVAL` says how many milliseconds.
const INTERVAL: Duration = Duration::from_secs(60);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Which metrics to send, and how.
#[derive(Clone, Debug)]
pub struct OtlpMetrics {
    source: Source,
    temporality: Temporality,
    interval: Duration,
}

impl OtlpMetrics {
    /// Metrics of `source`, as often as the environment says.
    #[must_use]
    pub fn new(source: Source, temporality: Temporality) -> Self {
        let wanted = env::var("OTEL_METRIC_EXPORT_INTERVAL")
            .ok()
            .and_then(|text| text.parse().ok());
        Self {
            source,
            temporality,
            interval: wanted.map_or(INTERVAL, Duration::from_millis),
        }
    }

    /// The same, as often as this.
    #[must_use]
    pub fn every(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }
}

/// The export of metrics, as the worker drives it.
pub(super) struct MetricsExport {
    metrics: OtlpMetrics,
    client: Client,
    ticks: Interval,
    /// What the collector knows, where it is told differences.
    told: Snapshot,
}

impl MetricsExport {
    /// Within a tokio runtime.
    pub(super) fn new(url: &str, protocol: OtlpProtocol, metrics: OtlpMetrics) -> Result<Self, OtlpError> {
        let pause = metrics.interval.max(SHORTEST_INTERVAL);
        let mut ticks = interval_at(Instant::now() + pause, pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            client: Client::new(url, protocol)?,
            metrics,
            ticks,
            told: Snapshot::default(),
        })
    }

    /// Waits until it is time for the next export.
    pub(super) async fn due(&mut self) {
        self.ticks.tick().await;
    }

    /// Sends the metrics as they are now. What does not arrive is in the next ones: totals hold it
    /// anyway, and differences are taken to what has arrived. Of several messages those after the
    /// first one that fails are given up, rather than those before it sent twice.
    pub(super) async fn export(&mut self, host_name: Option<&str>, shared: &Shared) {
        let now = self.metrics.source.snapshot();
        let requests = match self.metrics.temporality {
            Temporality::Cumulative => requests(&now, Temporality::Cumulative, host_name),
            Temporality::Delta => requests(&now.since(&self.told), Temporality::Delta, host_name),
        };
        let mut outcome = Ok(());
        let mut arrived = requests.is_empty();
        for request in requests {
            outcome = self.client.send(request).await;
            match &outcome {
                Ok(()) => arrived = true,
                Err(_) => break,
            }
        }
        if arrived && self.metrics.temporality == Temporality::Delta {
            self.told = now;
        }
        if let Err(reason) = &outcome {
            log::warn!("metrics were not delivered: {reason}");
        }
        *shared.metrics_error.lock().unwrap_or_else(PoisonError::into_inner) = outcome.err();
    }
}

struct GrpcClient {
    client: MetricsServiceClient<Channel>,
    metadata: MetadataMap,
}

enum Client {
    Grpc(Box<GrpcClient>),
    Http {
        client: Box<dyn HttpClient>,
        url: String,
        headers: Vec<(String, String)>,
        is_compressed: bool,
    },
}

impl Client {
    fn new(url: &str, protocol: OtlpProtocol) -> Result<Self, OtlpError> {
        let is_compressed = is_compressed(url)?;
        let headers = headers();
        Ok(match protocol {
            OtlpProtocol::Grpc => {
                let client = MetricsServiceClient::new(channel(url)?);
                Self::Grpc(Box::new(GrpcClient {
                    client: if is_compressed {
                        client.send_compressed(CompressionEncoding::Gzip)
                    } else {
                        client
                    },
                    metadata: metadata(url, &headers)?,
                }))
            }
            OtlpProtocol::Http => Self::Http {
                client: Box::new(http_client(url)?),
                url: metrics_url(url),
                headers,
                is_compressed,
            },
        })
    }

    async fn send(&mut self, request: ExportMetricsServiceRequest) -> Result<(), String> {
        let response = match self {
            Self::Grpc(grpc) => {
                let mut request = tonic::Request::new(request);
                *request.metadata_mut() = grpc.metadata.clone();
                let response = grpc.client.export(request).await;
                response
                    .map_err(|status| format!("{:?}: {}", status.code(), status.message()))?
                    .into_inner()
            }
            Self::Http {
                client,
                url,
                headers,
                is_compressed,
            } => {
                let request = post(url, headers, *is_compressed, &request.encode_to_vec())?;
                let response = client.send_bytes(request).await.map_err(|error| error.to_string())?;
                if !response.status().is_success() {
                    return Err(format!("the collector answers {}", response.status()));
                }
                ExportMetricsServiceResponse::decode(response.into_body()).unwrap_or_default()
            }
        };
        match response.partial_success {
            Some(partial) if partial.rejected_data_points > 0 => {
                // They would be refused again: this is no failure, but must be known.
                log::warn!(
                    "the collector has refused {} points of metrics: {}",
                    partial.rejected_data_points,
                    crate::sink::sanitise(&partial.error_message)
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn metadata(url: &str, headers: &[(String, String)]) -> Result<MetadataMap, OtlpError> {
    let mut metadata = MetadataMap::new();
    for (name, value) in headers {
        let key = tonic::metadata::AsciiMetadataKey::from_bytes(name.as_bytes());
        let (Ok(key), Ok(value)) = (key, value.parse()) else {
            return Err(failed(
                url,
                &format!("OTEL_EXPORTER_OTLP_HEADERS has a {name} that cannot be a header"),
            ));
        };
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn post(url: &str, headers: &[(String, String)], is_compressed: bool, body: &[u8]) -> Result<Request<Bytes>, String> {
    let mut request = Request::post(url).header("content-type", "application/x-protobuf");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let body = if is_compressed {
        request = request.header("content-encoding", "gzip");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let written = encoder.write_all(body).and_then(|()| encoder.finish());
        written.map_err(|error| error.to_string())?.into()
    } else {
        Bytes::copy_from_slice(body)
    };
    request.body(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
