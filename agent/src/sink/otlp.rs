//! Calls as OpenTelemetry spans to a collector, and metrics, by OTLP over gRPC or HTTP.
//!
//! A thread of its own exports in batches. A collector that is slow or away costs the spans that
//! do not fit the queue, and nothing else. Metrics wait in the recorder.

mod connection;
mod exporter;
mod metrics;
mod names;
mod span;
mod worker;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{Sender, channel, error::TrySendError};

pub use self::metrics::OtlpMetrics;
use self::span::OwnedSpan;
use super::{Losses, Sink, WhenFull};
use crate::calls::{CallRecord, FaultRecord};

/// Spans that may wait to be exported.
const QUEUE: usize = 4096;
/// How long `finish` waits for the collector.
const FINISH_DEADLINE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);

/// How to speak to the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// Protobuf over HTTP/1.1.
    Http,
}

/// Why spans cannot be exported at all.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The URL makes no sense.
    #[error("this is not the URL of a collector: {url}: {reason}; give one like http://localhost:4317")]
    Url {
        /// The URL, without credentials.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The exporter cannot be set up.
    #[error("cannot export spans: to {url}: {reason}; check the OTEL_EXPORTER_OTLP_* variables")]
    Exporter {
        /// The URL, without credentials.
        url: String,
        /// Why.
        reason: String,
    },
}

/// Exports calls as spans.
#[derive(Debug)]
pub struct Otlp {
    name: String,
    when_full: WhenFull,
    spans: Option<Sender<OwnedSpan>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    queued: u64,
    /// Calls of which a span found no room in the queue.
    dropped: u64,
}

/// What the worker tells.
#[derive(Debug, Default)]
struct Shared {
    delivered: AtomicU64,
    refused: AtomicU64,
    last_error: Mutex<Option<String>>,
    /// Why metrics could not be delivered, when they could not the last time.
    metrics_error: Mutex<Option<String>>,
}

impl Otlp {
    /// An exporter of spans, and of `metrics`, to the collector at `url`. Connects only when there is
    /// something to send.
    ///
    /// # Errors
    /// When the URL or the configuration in the environment makes no sense.
    pub fn start(
        url: &str,
        protocol: OtlpProtocol,
        when_full: WhenFull,
        metrics: Option<OtlpMetrics>,
    ) -> Result<Self, OtlpError> {
        connection::check(url)?;
        let (spans, queue) = channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let thread = worker::start(url, protocol, queue, metrics, Arc::clone(&shared))?;
        Ok(Self {
            name: connection::shown(url),
            when_full,
            spans: Some(spans),
            shared,
            thread: Some(thread),
            queued: 0,
            dropped: 0,
        })
    }

    fn enqueue(&self, mut span: OwnedSpan) -> bool {
        let Some(spans) = &self.spans else { return false };
        loop {
            match spans.try_send(span) {
                Ok(()) => return true,
                Err(TrySendError::Full(back)) if self.when_full == WhenFull::Wait => {
                    span = back;
                    std::thread::sleep(POLL);
                }
                Err(_full_or_closed) => return false,
            }
        }
    }

    /// What did not arrive, of a worker that has ended or has not.
    fn undelivered(&self, has_ended: bool) -> io::Result<()> {
        let delivered = self.shared.delivered.load(Ordering::Acquire);
        let missing = self.queued.saturating_sub(delivered);
        let (what, error) = match missing {
            0 => ("the last metrics".to_owned(), &self.shared.metrics_error),
            _ => (format!("{missing} of {} spans", self.queued), &self.shared.last_error),
        };
        let reason = match error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(reason) => reason,
            None if missing == 0 && has_ended => return Ok(()),
            None => "it does not answer".to_owned(),
        };
        Err(io::Error::other(format!("{what} were not delivered: {reason}")))
    }
}

impl Sink for Otlp {
    fn name(&self) -> &str {
        &self.name
    }

    fn call(&mut self, call: &CallRecord) -> io::Result<()> {
        let mut whole = true;
        for span in span::spans(call) {
            let sent = self.enqueue(span);
            self.queued += u64::from(sent);
            whole &= sent;
        }
        self.dropped += u64::from(!whole);
        Ok(())
    }

    fn fault(&mut self, _fault: &FaultRecord) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _losses: &Losses) -> io::Result<()> {
        self.spans = None;
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let deadline = Instant::now() + FINISH_DEADLINE;
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        self.undelivered(thread.is_finished())
    }

    fn advice(&self) -> &'static str {
        "check that a collector listens there, by this protocol"
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests;
