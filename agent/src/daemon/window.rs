//! What the calls of the last minute came to.

use std::collections::VecDeque;

use mcp_proto::Nanos;
use serde::Serialize;

use crate::calls::CallRecord;
use crate::history::{Sketch, is_error, is_timeout};

/// Length of a slot...
const SLOT: Nanos = 10_000_000_000;
/// ...and how many of them make the minute.
const SLOTS: usize = 6;
const NANOS_A_SECOND: f64 = 1e9;

#[derive(Clone, Debug, Default)]
struct Slot {
    /// Number of the slot since CLOCK_MONOTONIC began.
    number: u64,
    calls: u64,
    failed: u64,
    sketch: Sketch,
    /// There are nine of them.
    causes: Vec<(&'static str, u64)>,
}

/// Calls of the last minute, forgotten ten seconds at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    slots: VecDeque<Slot>,
}

/// What they came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    /// Calls of the last minute.
    pub(super) calls: u64,
    /// Those that failed or were given up.
    pub(super) failed: u64,
    /// Calls a second.
    pub(super) per_second: f64,
    /// Median, microseconds.
    pub(super) p50_us: Option<f64>,
    /// 95th percentile, microseconds.
    pub(super) p95_us: Option<f64>,
    /// Mean latency of each slot that makes the minute, the oldest first: for a sparkline.
    pub(super) trend_us: Vec<Option<f64>>,
    /// What dominates most of the calls that something dominates.
    pub(super) cause: Option<&'static str>,
}

impl Window {
    pub(super) fn add(&mut self, call: &CallRecord, now: Nanos) {
        let number = now / SLOT;
        if self.slots.back().is_none_or(|slot| slot.number < number) {
            self.slots.push_back(Slot {
                number,
                ..Slot::default()
            });
            if self.slots.len() > SLOTS {
                self.slots.pop_front();
            }
        }
        let Some(slot) = self.slots.back_mut() else { return };
        slot.calls += 1;
        slot.failed += u64::from(is_error(call) || is_timeout(call));
        if let Some(latency) = call.latency_us {
            slot.sketch.add(latency);
        }
        if let Some(cause) = call.dominant_cause {
            tally(&mut slot.causes, cause, 1);
        }
    }

    /// When the newest slot began, if there is one.
    pub(super) fn is_quiet(&self, now: Nanos) -> bool {
        self.recent(now).next().is_none()
    }

    /// The figures as of `now`, of an observation that began at `began`.
    #[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
    pub(super) fn figures(&self, began: Nanos, now: Nanos) -> Figures {
        let mut figures = Figures::default();
        let mut sketch = Sketch::default();
        let mut causes: Vec<(&'static str, u64)> = Vec::new();
        for slot in self.recent(now) {
            figures.calls += slot.calls;
            figures.failed += slot.failed;
            sketch.merge(&slot.sketch);
            for &(cause, count) in &slot.causes {
                tally(&mut causes, cause, count);
            }
        }
        let last = now / SLOT;
        // The last slot is not over yet.
        let length = (SLOTS as u64 - 1) * SLOT + now % SLOT;
        let length = length.min(now.saturating_sub(began)).max(NANOS_A_SECOND as u64);
        figures.per_second = figures.calls as f64 * NANOS_A_SECOND / length as f64;
        figures.p50_us = sketch.quantile_us(0.5);
        figures.p95_us = sketch.quantile_us(0.95);
        figures.cause = causes
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(cause, _)| cause);
        let mean = |number| {
            let slot = self.slots.iter().find(|slot| slot.number == number)?;
            let measured = slot.sketch.measured();
            (measured > 0).then(|| slot.sketch.sum_us() / measured as f64)
        };
        figures.trend_us = (last.saturating_sub(SLOTS as u64 - 1)..=last).map(mean).collect();
        figures
    }

    fn recent(&self, now: Nanos) -> impl Iterator<Item = &Slot> {
        let first = (now / SLOT).saturating_sub(SLOTS as u64 - 1);
        self.slots.iter().filter(move |slot| slot.number >= first)
    }
}

/// Counts a cause so many times. There are about ten.
fn tally(causes: &mut Vec<(&'static str, u64)>, cause: &'static str, count: u64) {
    match causes.iter_mut().find(|(known, _)| *known == cause) {
        Some((_, sum)) => *sum += count,
        None => causes.push((cause, count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::record::tests::{call, record};

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn a_minute_and_no_more() {
        let mut window = Window::default();
        let mut record = record(call());
        for (second, latency) in [(100, 10.0), (130, 20.0), (159, 30.0)] {
            record.latency_us = Some(latency);
            record.dominant_cause = Some("disk");
            window.add(&record, second * SECOND);
        }
        let figures = window.figures(100 * SECOND, 159 * SECOND);
        assert_eq!((figures.calls, figures.failed, figures.cause), (3, 0, Some("disk")));
        assert_eq!(figures.trend_us.len(), SLOTS);
        assert!(figures.p95_us > Some(29.0) && (figures.per_second - 3.0 / 59.0).abs() < 1e-3);
        assert_eq!(window.figures(0, 185 * SECOND).calls, 2, "the first is too old");
        assert!(!window.is_quiet(185 * SECOND) && window.is_quiet(300 * SECOND));
    }
}
