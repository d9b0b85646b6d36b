//! The figures of a set of calls, and how two of them compare.

use serde::Serialize;

use super::Trends;
use super::limits::{ENOUGH, STABLE};
use crate::history::Sketch;

/// Calls added up.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    pub(super) calls: u64,
    pub(super) errors: u64,
    pub(super) timeouts: u64,
    pub(super) bytes: u64,
    pub(super) sketch: Sketch,
}

impl Sum {
    pub(super) fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.timeouts += other.timeouts;
        self.bytes += other.bytes;
        self.sketch.merge(&other.sketch);
    }
}

/// The figures of a set of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// How many.
    pub calls: u64,
    /// Per second of the time in which the agent ran.
    pub per_second: f64,
    /// Those that the responder failed.
    pub errors: u64,
    /// Their share.
    pub error_rate: f64,
    /// Those whose time was up: cancelled, abandoned, or answered with a timeout.
    pub timeouts: u64,
    /// Their share.
    pub timeout_rate: f64,
    /// Mean latency.
    pub mean_us: Option<f64>,
    /// Median.
    pub p50_us: Option<f64>,
    /// 95th percentile.
    pub p95_us: Option<f64>,
    /// 99th percentile.
    pub p99_us: Option<f64>,
    /// The slowest.
    pub max_us: Option<f64>,
    /// Bytes of requests and responses, where they are known.
    pub bytes: Option<u64>,
}

/// How many calls there were of which kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) errors: u64,
    pub(super) timeouts: u64,
    pub(super) bytes: Option<u64>,
}

/// How long they took, as in [`Figures`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    pub(super) mean_us: Option<f64>,
    pub(super) p50_us: Option<f64>,
    pub(super) p95_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    pub(super) max_us: Option<f64>,
}

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "counts stay below 2^52")]
    pub(super) fn of(sum: &Sum, seconds: f64) -> Self {
        let sketch = &sum.sketch;
        let counts = Counts {
            calls: sum.calls,
            errors: sum.errors,
            timeouts: sum.timeouts,
            bytes: Some(sum.bytes),
        };
        let latency = Latency {
            mean_us: (sketch.measured() > 0).then(|| sketch.sum_us() / sketch.measured() as f64),
            p50_us: sketch.quantile_us(0.5),
            p95_us: sketch.quantile_us(0.95),
            p99_us: sketch.quantile_us(0.99),
            max_us: sketch.max_us(),
        };
        Self::new(counts, latency, seconds)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts stay below 2^52")]
    pub(super) fn new(counts: Counts, latency: Latency, seconds: f64) -> Self {
        let rate = |count: u64| match counts.calls {
            0 => 0.0,
            calls => count as f64 / calls as f64,
        };
        Self {
            calls: counts.calls,
            per_second: if seconds > 0.0 {
                counts.calls as f64 / seconds
            } else {
                0.0
            },
            errors: counts.errors,
            error_rate: rate(counts.errors),
            timeouts: counts.timeouts,
            timeout_rate: rate(counts.timeouts),
            mean_us: latency.mean_us,
            p50_us: latency.p50_us,
            p95_us: latency.p95_us,
            p99_us: latency.p99_us,
            max_us: latency.max_us,
            bytes: counts.bytes,
        }
    }
}

/// Where something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More than before.
    Up,
    /// Less than before.
    Down,
    /// Within 5 % of before.
    Stable,
}

/// A change against the period before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Trend {
    /// Share of the value before: 0.1 is 10 % more.
    pub change: f64,
    /// In a word.
    pub direction: Direction,
}

impl Trend {
    fn of(before: f64, now: f64) -> Option<Self> {
        if before <= 0.0 {
            return (now <= 0.0).then_some(Self {
                change: 0.0,
                direction: Direction::Stable,
            });
        }
        let change = now / before - 1.0;
        let direction = match change {
            change if change.abs() < STABLE => Direction::Stable,
            change if change > 0.0 => Direction::Up,
            _ => Direction::Down,
        };
        Some(Self { change, direction })
    }
}

impl Trends {
    /// From the period before to this one.
    pub(super) fn of(before: Option<&Figures>, now: &Figures) -> Self {
        let Some(before) = before.filter(|before| before.calls >= ENOUGH && now.calls >= ENOUGH) else {
            return Self::default();
        };
        let both = |a: Option<f64>, b: Option<f64>| a.zip(b).and_then(|(a, b)| Trend::of(a, b));
        Self {
            throughput: Trend::of(before.per_second, now.per_second),
            p50: both(before.p50_us, now.p50_us),
            p95: both(before.p95_us, now.p95_us),
            error_rate: Trend::of(before.error_rate, now.error_rate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_5_percent_is_stable() {
        let direction = |before, now| Trend::of(before, now).map(|trend| trend.direction);
        assert_eq!(direction(100.0, 104.9), Some(Direction::Stable));
        assert_eq!(direction(100.0, 95.1), Some(Direction::Stable));
        assert_eq!(direction(100.0, 106.0), Some(Direction::Up));
        assert_eq!(direction(100.0, 94.0), Some(Direction::Down));
        assert_eq!(direction(0.0, 0.0), Some(Direction::Stable));
        assert_eq!(direction(0.0, 1.0), None, "from nothing there is no share");
    }
}
