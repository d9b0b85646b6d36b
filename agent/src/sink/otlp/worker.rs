//! The thread that exports.

use std::{
    fs, io,
    sync::{Arc, PoisonError, atomic::Ordering, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::{
    runtime::Builder,
    sync::mpsc::Receiver,
    time::{Instant, timeout_at},
};

use super::{
    OtlpError, OtlpProtocol, Shared,
    connection::failed,
    exporter::{build, resource},
    metrics::{MetricsExport, OtlpMetrics},
    span::OwnedSpan,
};
use crate::calls::Party;

/// Spans of one export at most.
const BATCH: usize = 512;
/// How long a span waits for others.
const LINGER: Duration = Duration::from_secs(1);

/// Starts the thread, and waits until its exporter is set up.
pub(super) fn start(
    url: &str,
    protocol: OtlpProtocol,
    queue: Receiver<OwnedSpan>,
    metrics: Option<OtlpMetrics>,
    shared: Arc<Shared>,
) -> Result<JoinHandle<()>, OtlpError> {
    let (tell, ready) = mpsc::channel();
    let io_failed = |error: io::Error| failed(url, &error);
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(io_failed)?;
    let url = url.to_owned();
    let run = move || {
        let exporters = {
            let _guard = runtime.enter();
            let metrics = metrics
                .map(|metrics| MetricsExport::new(&url, protocol, metrics))
                .transpose();
            build(&url, protocol).and_then(|spans| Ok((spans, metrics?)))
        };
        match exporters {
            Ok((spans, metrics)) => {
                drop(tell.send(Ok(())));
                runtime.block_on(run(spans, metrics, queue, &shared));
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

async fn run(
    mut exporter: SpanExporter,
    mut metrics: Option<MetricsExport>,
    mut queue: Receiver<OwnedSpan>,
    shared: &Shared,
) {
    let host_name = fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned());
    loop {
        tokio::select! {
            first = queue.recv() => {
                let Some(first) = first else { break };
                let batch = gather(first, &mut queue).await;
                export(&mut exporter, batch, host_name.as_deref(), shared).await;
            }
            due = due(&mut metrics) => due.export(host_name.as_deref(), shared).await,
        }
    }
    if let Some(metrics) = &mut metrics {
        metrics.export(host_name.as_deref(), shared).await;
    }
}

/// The metrics when it is time to send them; never where there are none.
async fn due(metrics: &mut Option<MetricsExport>) -> &mut MetricsExport {
    match metrics {
        Some(metrics) => {
            metrics.due().await;
            metrics
        }
        None => std::future::pending().await,
    }
}

async fn export(exporter: &mut SpanExporter, batch: Vec<OwnedSpan>, host_name: Option<&str>, shared: &Shared) {
    for (owner, spans) in by_owner(batch) {
        let count = spans.len() as u64;
        exporter.set_resource(&resource(&owner, host_name));
        match exporter.export(spans).await {
            Ok(()) => shared.delivered.fetch_add(count, Ordering::AcqRel),
            Err(error) => {
                *shared.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                shared.refused.fetch_add(count, Ordering::AcqRel)
            }
        };
    }
}

/// Waits for company until the batch is full, some time has passed or nothing more can come.
async fn gather(first: OwnedSpan, queue: &mut Receiver<OwnedSpan>) -> Vec<OwnedSpan> {
    let mut batch = vec![first];
    let until = Instant::now() + LINGER;
    while batch.len() < BATCH {
        let room = BATCH - batch.len();
        match timeout_at(until, queue.recv_many(&mut batch, room)).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    batch
}

/// One resource an export: the exporter knows only one at a time.
fn by_owner(batch: Vec<OwnedSpan>) -> Vec<(Party, Vec<SpanData>)> {
    let mut groups: Vec<(Party, Vec<SpanData>)> = Vec::new();
    for OwnedSpan { owner, span } in batch {
        match groups.iter_mut().find(|(known, _)| *known == owner) {
            Some((_, spans)) => spans.push(span),
            None => groups.push((owner, vec![span])),
        }
    }
    groups
}
