//! The thread that exports.

use std::{
    io,
    sync::{Arc, atomic::Ordering, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use hyper::body::Bytes;
use opentelemetry_proto::tonic::{common::v1::InstrumentationScope, resource::v1::Resource};
use prost::Message;
use tokio::{runtime::Builder, sync::watch};

use super::{
    OtlpError,
    delivery::{Delivery, Fate},
    failed,
    metrics::MetricsExport,
    queue::{Exit, QueuedSpan},
    resource::Resources,
    settings::{OtlpSettings, Signal},
};
use crate::{calls::Party, sink::Source};

/// How long a request of spans is tried to be delivered: then it makes room for newer ones.
const PATIENCE: Duration = Duration::from_secs(300);

/// `ExportTraceServiceRequest` with spans that are encoded: a message within another is its bytes.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

/// `ResourceSpans`, likewise.
#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

/// `ScopeSpans`, likewise.
#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<InstrumentationScope>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    spans: Vec<Vec<u8>>,
}

/// Starts the thread, and waits until it is set up.
pub(super) fn start(
    settings: &OtlpSettings,
    queue: Exit,
    source: Option<Source>,
    fate: Arc<Fate>,
    ending: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, OtlpError> {
    let (tell, ready) = mpsc::channel();
    let url = settings.endpoint.clone().unwrap_or_default();
    let io_failed = |error: io::Error| failed(&url, &error);
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(io_failed)?;
    let settings = settings.clone();
    let run = move || {
        let set_up = {
            let _guard = runtime.enter();
            Exports::new(&settings, queue, source, &ending)
        };
        match set_up {
            Ok(exports) => {
                drop(tell.send(Ok(())));
                runtime.block_on(exports.run(&settings, ending, &fate));
            }
            Err(error) => drop(tell.send(Err(error))),
        }
    };
    let thread = thread::Builder::new()
        .name("otlp".to_owned())
        .spawn(run)
        .map_err(io_failed)?;
    match ready.recv() {
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) | Err(_) => Ok(thread),
    }
}

struct Exports {
    queue: Exit,
    resources: Resources,
    traces: Option<Delivery>,
    metrics: Option<MetricsExport>,
}

impl Exports {
    fn new(
        settings: &OtlpSettings,
        queue: Exit,
        source: Option<Source>,
        ending: &watch::Receiver<bool>,
    ) -> Result<Self, OtlpError> {
        let delivery = |signal: Signal| {
            let url = settings.url(signal);
            url.map(|url| Delivery::new(settings, signal, url, ending.clone()))
                .transpose()
        };
        let metrics = match (source, settings.metrics) {
            (Some(source), Some(temporality)) => {
                delivery(Signal::Metrics)?.map(|delivery| MetricsExport::new(source, temporality, settings, delivery))
            }
            _ => None,
        };
        Ok(Self {
            queue,
            resources: Resources::new(settings),
            traces: delivery(Signal::Traces)?,
            metrics,
        })
    }

    /// Spans and metrics do not wait for each other.
    async fn run(self, settings: &OtlpSettings, ending: watch::Receiver<bool>, fate: &Fate) {
        let Self {
            mut queue,
            mut resources,
            traces,
            metrics,
        } = self;
        let agent = Resources::new(settings);
        let spans = async {
            let Some(mut delivery) = traces else { return };
            while let Some(batch) = queue.batch(settings.batch, settings.delay).await {
                let count = batch.len() as u64;
                let request = request(batch, &mut resources);
                let refused = match delivery.deliver(request, PATIENCE, fate).await {
                    Ok(rejected) => rejected.count.min(count),
                    Err(_told) => count,
                };
                fate.refused.fetch_add(refused, Ordering::AcqRel);
                fate.delivered.fetch_add(count - refused, Ordering::AcqRel);
            }
        };
        let points = async {
            if let Some(metrics) = metrics {
                metrics.run(&agent, ending, fate).await;
            }
        };
        tokio::join!(spans, points);
    }
}

/// One resource for everyone who has spans in the batch.
fn request(batch: Vec<QueuedSpan>, resources: &mut Resources) -> Bytes {
    let mut owners: Vec<(Party, Vec<Vec<u8>>)> = Vec::new();
    for QueuedSpan { owner, encoded } in batch {
        match owners.iter_mut().find(|(known, _)| *known == owner) {
            Some((_, spans)) => spans.push(encoded),
            None => owners.push((owner, vec![encoded])),
        }
    }
    let of_owner = |(owner, spans): (Party, Vec<Vec<u8>>)| ResourceSpans {
        resource: Some(resources.party(&owner)),
        scope_spans: vec![ScopeSpans {
            scope: Some(scope()),
            spans,
        }],
    };
    let request = Request {
        resource_spans: owners.into_iter().map(of_owner).collect(),
    };
    request.encode_to_vec().into()
}

/// Who has instrumented it.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "mcpsonar".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}
