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
    runtime::{Builder, Runtime},
    sync::mpsc::Receiver,
    time::{Instant, timeout_at},
};

use super::{
    OtlpError, OtlpProtocol, Shared,
    exporter::{build, resource, shown},
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
    shared: Arc<Shared>,
) -> Result<JoinHandle<()>, OtlpError> {
    let (tell, ready) = mpsc::channel();
    let io_failed = |error: io::Error| OtlpError::Exporter {
        url: shown(url),
        reason: error.to_string(),
    };
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(io_failed)?;
    let url = url.to_owned();
    let run = move || {
        let exporter = {
            let _guard = runtime.enter();
            build(&url, protocol)
        };
        match exporter {
            Ok(exporter) => {
                drop(tell.send(Ok(())));
                run(&runtime, exporter, queue, &shared);
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

fn run(runtime: &Runtime, mut exporter: SpanExporter, mut queue: Receiver<OwnedSpan>, shared: &Shared) {
    let host_name = fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned());
    runtime.block_on(async {
        while let Some(first) = queue.recv().await {
            let batch = gather(first, &mut queue).await;
            for (owner, spans) in by_owner(batch) {
                let count = spans.len() as u64;
                exporter.set_resource(&resource(&owner, host_name.as_deref()));
                match exporter.export(spans).await {
                    Ok(()) => shared.delivered.fetch_add(count, Ordering::AcqRel),
                    Err(error) => {
                        *shared.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                        shared.refused.fetch_add(count, Ordering::AcqRel)
                    }
                };
            }
        }
    });
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
