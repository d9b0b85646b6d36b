//! The thread that exports.

use std::{
    io,
    sync::{Arc, atomic::Ordering, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{runtime::Builder, sync::watch};

use super::{
    OtlpError,
    delivery::{Delivery, Fate},
    exporter::Exporter,
    failed,
    metrics::MetricsExport,
    queue::Exit,
    resource::Resources,
    route::Signal,
    settings::OtlpSettings,
};
use crate::sink::Source;

/// How long a request of spans is tried to be delivered: then it makes room for newer ones.
const PATIENCE: Duration = Duration::from_secs(300);

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
    traces: Option<(Exporter, Delivery)>,
    metrics: Option<MetricsExport>,
}

impl Exports {
    fn new(
        settings: &OtlpSettings,
        queue: Exit,
        source: Option<Source>,
        ending: &watch::Receiver<bool>,
    ) -> Result<Self, OtlpError> {
        let traces = match settings.route(Signal::Traces) {
            Some(route) => {
                let delivery = Delivery::new(route.clone(), ending.clone())?;
                Some((Exporter::new(settings, &route)?, delivery))
            }
            None => None,
        };
        let metrics = match (source, settings.route(Signal::Metrics)) {
            (Some(source), Some(route)) if settings.metrics => {
                let delivery = Delivery::new(route, ending.clone())?;
                Some(MetricsExport::new(source, settings, delivery))
            }
            _ => None,
        };
        Ok(Self { queue, traces, metrics })
    }

    /// Spans and metrics do not wait for each other.
    async fn run(self, settings: &OtlpSettings, ending: watch::Receiver<bool>, fate: &Fate) {
        let Self {
            mut queue,
            traces,
            metrics,
        } = self;
        let agent = Resources::new(settings);
        let spans = async {
            let Some((mut exporter, mut delivery)) = traces else {
                return;
            };
            while let Some(batch) = queue.batch(settings.batch, settings.delay).await {
                let count = batch.len() as u64;
                let refused = match exporter.request(batch).await {
                    Ok(request) => match delivery.deliver(request, PATIENCE, fate).await {
                        Ok(rejected) => rejected.count.min(count),
                        Err(_told) => count,
                    },
                    Err(reason) => {
                        log::error!("spans cannot be encoded: {reason}");
                        count
                    }
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
