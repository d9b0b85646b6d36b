//! Calls as OpenTelemetry spans to a collector, and metrics, by OTLP over gRPC or HTTP.
//!
//! A thread of its own exports in batches. A collector that is slow or away costs the spans that
//! do not fit the queue, and nothing else. Metrics wait in the recorder.

mod attributes;
mod client;
mod codec;
mod delivery;
mod exporter;
mod hops;
mod metrics;
mod names;
mod queue;
mod resource;
mod route;
mod sampling;
mod settings;
mod span;
mod tls;
mod waits;
mod worker;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use self::{
    delivery::Fate,
    hops::Hops,
    queue::{Entry, queue},
    route::Signal,
    sampling::Sampling,
    settings::shown,
    span::OwnedSpan,
};
pub use self::{
    sampling::Sampler,
    settings::{OtlpProtocol, OtlpSettings, SignalSettings, check_endpoint, check_url, pairs},
};
use super::{Losses, Sink, Source, WhenFull};
use crate::{
    calls::{CallRecord, FaultRecord},
    metrics::samples::ExporterSample,
};

/// How long `finish` waits for the collector.
const FINISH_DEADLINE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);
/// How long a source that can wait does, for a collector to take anything at all.
const STALLED: Duration = Duration::from_secs(10);

/// What has not arrived and will not, by name.
pub type OtlpLosses = [(&'static str, u64); 3];

/// Why nothing can be exported at all.
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
    #[error("cannot export to {url}: {reason}; `mcpsonar config show` lists the otlp.* keys and OTEL_* variables")]
    Exporter {
        /// The URL, without credentials.
        url: String,
        /// Why.
        reason: String,
    },
}

fn failed(url: &str, reason: &impl ToString) -> OtlpError {
    OtlpError::Exporter {
        url: shown(url),
        reason: reason.to_string(),
    }
}

/// Exports calls as spans, and metrics.
#[derive(Debug)]
pub struct Otlp {
    name: String,
    when_full: WhenFull,
    sampling: Sampling,
    hops: Hops,
    /// Absent where no traces are sent, and when nothing more will be.
    spans: Option<Entry>,
    sends_metrics: bool,
    fate: Arc<Fate>,
    ending: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    queued: u64,
    /// How much had become of spans when waiting for more of it was given up.
    stalled_at: Option<u64>,
    /// Spans that found no room in the queue.
    dropped_spans: u64,
    /// Calls that they belong to.
    dropped: u64,
}

impl Otlp {
    /// An exporter of spans, and of the metrics of `source`, as `settings` say. Connects only when
    /// there is something to send.
    ///
    /// # Errors
    /// When the settings make no sense: a URL, a header, a certificate.
    pub fn start(settings: &OtlpSettings, when_full: WhenFull, source: Option<Source>) -> Result<Self, OtlpError> {
        let (spans, queue) = queue(settings.queue, settings.queue_bytes);
        let sends_metrics = source.is_some() && settings.metrics && settings.route(Signal::Metrics).is_some();
        let fate = Arc::new(Fate::default());
        let (ending, ends) = watch::channel(false);
        let thread = worker::start(settings, queue, source, Arc::clone(&fate), ends)?;
        let traces = settings.route(Signal::Traces);
        let name = traces.clone().or_else(|| settings.route(Signal::Metrics));
        Ok(Self {
            name: name.map(|route| shown(&route.url)).unwrap_or_default(),
            when_full,
            sampling: Sampling {
                sampler: settings.sampler,
                ratio: settings.ratio,
                slow: settings.slow,
            },
            hops: Hops::default(),
            spans: traces.map(|_| spans),
            sends_metrics,
            fate,
            ending,
            thread: Some(thread),
            queued: 0,
            stalled_at: None,
            dropped_spans: 0,
            dropped: 0,
        })
    }

    /// What has not arrived and will not, by name: stable, and totals since the start.
    #[must_use]
    pub fn losses(&self) -> OtlpLosses {
        [
            ("otlp_spans_dropped", self.dropped_spans),
            ("otlp_spans_refused", self.fate.refused.load(Ordering::Acquire)),
            ("otlp_points_refused", self.fate.refused_points.load(Ordering::Acquire)),
        ]
    }

    /// What has become of spans, where those are sent, and of points of metrics, where those are.
    #[must_use]
    pub fn samples(&self) -> Vec<ExporterSample> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let [span_errors, point_errors] = self.fate.failures.each_ref().map(count);
        let spans = self.spans.as_ref().map(|queue| ExporterSample {
            exporter: "otlp_spans",
            sent: count(&self.fate.delivered),
            failed: count(&self.fate.refused),
            dropped: Some(self.dropped_spans),
            errors: Some(span_errors),
            queue: Some(queue.fill()),
        });
        let points = self.sends_metrics.then(|| ExporterSample {
            exporter: "otlp_metrics",
            sent: count(&self.fate.delivered_points),
            failed: count(&self.fate.refused_points),
            // They wait in the recorder, as totals.
            dropped: None,
            errors: Some(point_errors),
            queue: None,
        });
        spans.into_iter().chain(points).collect()
    }

    /// From here on, calls that take longer are slow.
    pub fn set_slow(&mut self, slow: Duration) {
        self.sampling.slow = slow;
    }

    fn enqueue(&mut self, span: OwnedSpan) -> bool {
        let Some(spans) = &self.spans else { return false };
        let mut span = Box::new(span);
        let mut progress = (self.progress(), Instant::now());
        loop {
            match spans.push(span) {
                Ok(()) => return true,
                Err(Some(back)) if self.when_full == WhenFull::Wait => span = back,
                Err(_full_or_closed) => return false,
            }
            let now = self.progress();
            if now != progress.0 {
                progress = (now, Instant::now());
            } else if self.stalled_at == Some(now) || progress.1.elapsed() > STALLED {
                self.stalled_at = Some(now);
                return false;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Spans of which it is known what has become of them.
    fn progress(&self) -> u64 {
        self.fate.delivered.load(Ordering::Acquire) + self.fate.refused.load(Ordering::Acquire)
    }

    /// What did not arrive, of a worker that has ended or has not.
    fn undelivered(&self, has_ended: bool) -> io::Result<()> {
        let delivered = self.fate.delivered.load(Ordering::Acquire);
        let missing = self.queued.saturating_sub(delivered);
        let (what, signal) = match missing {
            0 => ("the last metrics".to_owned(), Signal::Metrics),
            _ => (format!("{missing} of {} spans", self.queued), Signal::Traces),
        };
        let reason = match self.fate.take_error(signal) {
            Some(reason) => reason,
            None if missing == 0 && has_ended => return Ok(()),
            None if has_ended => "the collector has refused them".to_owned(),
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
        let Some(queue) = &self.spans else { return Ok(()) };
        let passed_on = self.hops.take(call);
        let Some(kept) = self.sampling.keep(call) else {
            return Ok(());
        };
        // What would not be taken is not even made.
        if self.when_full == WhenFull::Drop && !queue.has_room() {
            self.dropped_spans += call.operations().iter().flatten().count() as u64;
            self.dropped += 1;
            return Ok(());
        }
        let before = self.dropped_spans;
        for span in span::spans(call, &kept, passed_on.as_ref()) {
            let sent = self.enqueue(span);
            self.queued += u64::from(sent);
            self.dropped_spans += u64::from(!sent);
        }
        self.dropped += u64::from(self.dropped_spans > before);
        Ok(())
    }

    fn fault(&mut self, _fault: &FaultRecord) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _losses: &Losses) -> io::Result<()> {
        self.spans = None;
        self.ending.send_replace(true);
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
