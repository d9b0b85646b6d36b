//! OpenTelemetry's exporter of spans: what the SDK calls spans, as a request of OTLP.
//!
//! An exporter knows one resource at a time, and the spans that wait here are of many. So it posts to an
//! outbox, and what it has posted for each of them is sent as one request. `delivery` does that, for
//! spans and metrics alike, by either protocol.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use hyper::{Request, Response, body::Bytes};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};

use super::{
    OtlpError, client::chain, failed, resource::Resources, route::Route, settings::OtlpSettings, span::OwnedSpan,
};
use crate::{calls::Party, host::ClockOffset};

/// Encodes spans of many resources.
pub(super) struct Exporter {
    exporter: SpanExporter,
    outbox: Outbox,
    resources: Resources,
}

impl Exporter {
    /// Of what goes by `route`.
    pub(super) fn new(settings: &OtlpSettings, route: &Route) -> Result<Self, OtlpError> {
        let outbox = Outbox::default();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(outbox.clone())
            .with_endpoint(&route.url)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(route.timeout)
            .with_retry_policy(RetryPolicy::disabled())
            .build();
        Ok(Self {
            exporter: exporter.map_err(|error| failed(&route.url, &chain(&error)))?,
            outbox,
            resources: Resources::new(settings),
        })
    }

    /// The `ExportTraceServiceRequest` of a batch, with one resource for everyone who has spans in it.
    ///
    /// # Errors
    /// Why it cannot be encoded.
    pub(super) async fn request(&mut self, batch: Vec<OwnedSpan>) -> Result<Bytes, String> {
        for (owner, clock, spans) in by_owner(batch) {
            self.exporter.set_resource(&self.resources.party(&owner, clock));
            if let Err(error) = self.exporter.export(spans).await {
                self.outbox.take();
                return Err(chain(&error));
            }
        }
        Ok(self.outbox.take())
    }
}

/// One clock for each: of one run all are the same.
fn by_owner(batch: Vec<OwnedSpan>) -> Vec<(Party, ClockOffset, Vec<SpanData>)> {
    let mut owners: Vec<(Party, ClockOffset, Vec<SpanData>)> = Vec::new();
    for OwnedSpan { owner, clock, span } in batch {
        match owners.iter_mut().find(|(known, ..)| *known == owner) {
            Some((.., spans)) => spans.push(span),
            None => owners.push((owner, clock, vec![span])),
        }
    }
    owners
}

/// Takes what the exporter posts. Messages of protobuf one after the other are one message, with the
/// resources of all of them.
#[derive(Clone, Debug, Default)]
struct Outbox(Arc<Mutex<Vec<u8>>>);

impl Outbox {
    fn bodies(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Bytes {
        mem::take(&mut *self.bodies()).into()
    }
}

#[async_trait]
impl HttpClient for Outbox {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.bodies().extend_from_slice(request.body());
        Ok(Response::new(Bytes::new()))
    }
}
