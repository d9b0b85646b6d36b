//! One request until it has arrived, or is given up.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hyper::body::Bytes;
use tokio::{sync::watch, time::Instant};

use super::{
    client::{Client, Failure, Rejected},
    route::{Route, Signal},
};

/// First pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause: so long after the collector is back it may go unnoticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause that a collector may ask for.
const LONGEST_AFTER: Duration = Duration::from_secs(60);

/// What has become of what was to be sent.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// Spans that have arrived.
    pub(super) delivered: AtomicU64,
    /// Spans that the collector refused, or that were given up.
    pub(super) refused: AtomicU64,
    /// Points of metrics that have arrived.
    pub(super) delivered_points: AtomicU64,
    /// Points of metrics that the collector refused.
    pub(super) refused_points: AtomicU64,
    /// Requests of spans that failed, and of metrics.
    pub(super) failures: [AtomicU64; 2],
    /// Why spans did not arrive the last time.
    pub(super) spans_error: Mutex<Option<String>>,
    /// Why metrics did not.
    pub(super) metrics_error: Mutex<Option<String>>,
}

impl Fate {
    fn error(&self, signal: Signal) -> &Mutex<Option<String>> {
        match signal {
            Signal::Traces => &self.spans_error,
            Signal::Metrics => &self.metrics_error,
        }
    }

    pub(super) fn set_error(&self, signal: Signal, error: Option<String>) {
        *self.error(signal).lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    pub(super) fn take_error(&self, signal: Signal) -> Option<String> {
        self.error(signal).lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The way of one signal to its collector.
pub(super) struct Delivery {
    route: Route,
    client: Client,
    /// Nothing more will come: what does not answer now will not in time.
    ending: watch::Receiver<bool>,
    /// When it began, and how long who waits for it does.
    end_by: Option<Instant>,
    /// Since when nothing has arrived.
    failing_since: Option<Instant>,
}

impl Delivery {
    pub(super) fn new(route: Route, ending: watch::Receiver<bool>) -> Result<Self, super::OtlpError> {
        Ok(Self {
            client: Client::new(&route)?,
            route,
            ending,
            end_by: None,
            failing_since: None,
        })
    }

    /// Sends a request, and again until it has arrived, it is refused or patience is at its end.
    pub(super) async fn deliver(
        &mut self,
        request: Bytes,
        patience: Duration,
        fate: &Fate,
    ) -> Result<Rejected, String> {
        let give_up = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        loop {
            let (reason, wait, last) = match self.client.send(request.clone()).await {
                Ok(rejected) => {
                    self.arrived(&rejected, fate);
                    return Ok(rejected);
                }
                Err(Failure::Final(reason)) => {
                    self.failed(&reason, fate);
                    return Err(reason);
                }
                Err(Failure::Later { reason, after }) => (
                    reason,
                    after.map_or(jittered(pause), |after| after.min(LONGEST_AFTER)),
                    false,
                ),
                Err(Failure::Unreached(reason)) => {
                    // Certificates may have been renewed.
                    if let Ok(client) = Client::new(&self.route) {
                        self.client = client;
                    }
                    (reason, jittered(pause), self.is_ending())
                }
            };
            self.failed(&reason, fate);
            let give_up = self.end_by.map_or(give_up, |end_by| end_by.min(give_up));
            if last || Instant::now() + wait >= give_up {
                return Err(reason);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.pause(wait).await;
        }
    }

    fn is_ending(&mut self) -> bool {
        let is_ending = *self.ending.borrow() || self.ending.has_changed().is_err();
        if is_ending {
            self.end_by.get_or_insert(Instant::now() + super::FINISH_DEADLINE);
        }
        is_ending
    }

    /// The end of it all cuts a pause short.
    async fn pause(&mut self, wait: Duration) {
        let over = tokio::time::sleep(wait);
        if self.is_ending() {
            over.await;
        } else {
            tokio::select! {
                () = over => {}
                _changed = self.ending.changed() => {}
            }
        }
    }

    fn failed(&mut self, reason: &str, fate: &Fate) {
        if self.failing_since.is_none() {
            self.failing_since = Some(Instant::now());
            log::warn!(
                "{} do not arrive at {}: {reason}",
                self.what(),
                super::shown(&self.route.url)
            );
        }
        fate.failures[self.route.signal as usize].fetch_add(1, Ordering::AcqRel);
        fate.set_error(self.route.signal, Some(reason.to_owned()));
    }

    fn arrived(&mut self, rejected: &Rejected, fate: &Fate) {
        if let Some(since) = self.failing_since.take() {
            log::info!(
                "{} arrive at {} again, after {} s",
                self.what(),
                super::shown(&self.route.url),
                since.elapsed().as_secs()
            );
        }
        if rejected.count > 0 {
            log::warn!(
                "the collector has refused {} {}: {}",
                rejected.count,
                self.what(),
                rejected.reason
            );
        }
        if self.route.signal == Signal::Metrics {
            fate.refused_points.fetch_add(rejected.count, Ordering::AcqRel);
        }
        fate.set_error(self.route.signal, None);
    }

    fn what(&self) -> &'static str {
        match self.route.signal {
            Signal::Traces => "spans",
            Signal::Metrics => "metrics",
        }
    }
}

/// Between half of it and all of it, so that a fleet does not come back at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}
