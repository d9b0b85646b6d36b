//! Sends metrics: what, how often, and what to do when it fails.

mod message;

use std::{sync::atomic::Ordering, time::Duration};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

use self::message::requests;
use super::{
    delivery::{Delivery, Fate},
    resource::Resources,
    settings::OtlpSettings,
};
use crate::{
    metrics::{Snapshot, Temporality},
    sink::Source,
};

const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// The export of metrics.
pub(super) struct MetricsExport {
    source: Source,
    temporality: Temporality,
    interval: Duration,
    delivery: Delivery,
    ticks: Interval,
    /// What the collector knows, where it is told differences.
    told: Snapshot,
}

impl MetricsExport {
    /// Within a tokio runtime.
    pub(super) fn new(source: Source, settings: &OtlpSettings, delivery: Delivery) -> Self {
        let interval = settings.interval.max(SHORTEST_INTERVAL);
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            source,
            temporality: settings.temporality,
            interval,
            delivery,
            ticks,
            told: Snapshot::default(),
        }
    }

    /// Exports as often as it is to, and once more at the end.
    pub(super) async fn run(mut self, resources: &Resources, mut ending: watch::Receiver<bool>, fate: &Fate) {
        while !*ending.borrow() {
            tokio::select! {
                _at = self.ticks.tick() => self.export(resources, fate).await,
                _changed = ending.changed() => break,
            }
        }
        self.export(resources, fate).await;
    }

    /// Sends the metrics as they are now. What does not arrive is in the next ones: totals hold it
    /// anyway, and differences are taken to what has arrived. So it is not tried again for long. Of several messages those after the
    /// first one that fails are given up, rather than those before it sent twice.
    async fn export(&mut self, resources: &Resources, fate: &Fate) {
        let now = self.source.snapshot();
        let requests: Vec<ExportMetricsServiceRequest> = match self.temporality {
            Temporality::Cumulative => requests(&now, Temporality::Cumulative, resources),
            Temporality::Delta => requests(&now.since(&self.told), Temporality::Delta, resources),
        };
        let mut arrived = requests.is_empty();
        for request in requests {
            let points = message::points(&request);
            let request = request.encode_to_vec().into();
            match self.delivery.deliver(request, self.interval / 2, fate).await {
                Ok(rejected) => fate
                    .delivered_points
                    .fetch_add(points.saturating_sub(rejected.count), Ordering::AcqRel),
                Err(_told) => break,
            };
            arrived = true;
        }
        if arrived && self.temporality == Temporality::Delta {
            self.told = now;
        }
    }
}

#[cfg(test)]
mod tests;
