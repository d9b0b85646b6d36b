//! All series at an instant, and the difference of two instants.

use std::collections::HashMap;

use super::{
    attributes::Attributes,
    histogram::Histogram,
    instrument::{Instrument, Kind},
    table::Id,
};

/// All series at an instant. Sums and histograms count from each series' own start.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When it was taken, in nanoseconds since the Unix epoch.
    pub at_unix_ns: u64,
    /// The instruments that have series, in the order of the table.
    pub families: Vec<Family>,
}

/// The series of one instrument.
#[derive(Clone, Debug)]
pub struct Family {
    /// The instrument.
    pub instrument: &'static Instrument,
    /// Its series, in order of their attributes.
    pub points: Vec<Point>,
}

/// One series at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What tells it apart.
    pub attributes: Attributes,
    /// Since when it counts, in nanoseconds since the Unix epoch.
    pub start_unix_ns: u64,
    /// What was measured.
    pub data: Data,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// A number of things.
    Count(u64),
    /// A quantity.
    Number(f64),
    /// A distribution.
    Histogram(Box<Histogram>),
}

/// How sums and histograms are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temporality {
    /// Since the series began. A snapshot that is lost costs nothing.
    #[default]
    Cumulative,
    /// Since the snapshot before. What goes up and down is told as it is all the same.
    Delta,
}

impl Snapshot {
    /// The series of an instrument.
    #[must_use]
    pub fn family(&self, id: Id) -> Option<&Family> {
        self.families.iter().find(|family| family.instrument.id == id)
    }

    /// What was counted since `earlier`, an earlier snapshot of the same recorder. Series in which
    /// nothing was are left out.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let families = self.families.iter().map(|family| {
            let before = earlier.family(family.instrument.id);
            family.since(before, earlier.at_unix_ns)
        });
        Self {
            at_unix_ns: self.at_unix_ns,
            families: families.filter(|family| !family.points.is_empty()).collect(),
        }
    }
}

impl Family {
    fn since(&self, earlier: Option<&Self>, earlier_at: u64) -> Self {
        if matches!(self.instrument.kind, Kind::Gauge | Kind::UpDownCounter) {
            return self.clone();
        }
        let before: HashMap<&Attributes, &Point> = earlier
            .map(|earlier| earlier.points.iter().map(|point| (&point.attributes, point)).collect())
            .unwrap_or_default();
        let points = self.points.iter().map(|point| {
            // One that has begun anew since then has lost what it was.
            let before = before
                .get(&point.attributes)
                .filter(|before| before.start_unix_ns == point.start_unix_ns);
            Point {
                attributes: point.attributes.clone(),
                start_unix_ns: point.start_unix_ns.max(earlier_at),
                data: before.map_or_else(|| point.data.clone(), |before| point.data.since(&before.data)),
            }
        });
        Self {
            instrument: self.instrument,
            points: points.filter(|point| !point.data.is_zero()).collect(),
        }
    }
}

impl Data {
    /// Nothing of the same kind.
    pub(super) fn zero(&self) -> Self {
        match self {
            Self::Count(_) => Self::Count(0),
            Self::Number(_) => Self::Number(0.0),
            Self::Histogram(histogram) => {
                let Histogram {
                    bounds, exponential, ..
                } = &**histogram;
                Self::Histogram(Box::new(Histogram::new(bounds, exponential.is_some())))
            }
        }
    }

    /// Adds what is of the same kind. Histograms are never sampled.
    pub(super) fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Count(total), Self::Count(more)) => *total = total.saturating_add(*more),
            (Self::Number(total), Self::Number(more)) => *total += more,
            (total, other) => debug_assert!(false, "{total:?} and {other:?}"),
        }
    }

    fn since(&self, earlier: &Self) -> Self {
        match (self, earlier) {
            (Self::Count(now), Self::Count(then)) => Self::Count(now.saturating_sub(*then)),
            (Self::Number(now), Self::Number(then)) => Self::Number((now - then).max(0.0)),
            (Self::Histogram(now), Self::Histogram(then)) => Self::Histogram(Box::new(now.since(then))),
            (now, _) => now.clone(),
        }
    }

    fn is_zero(&self) -> bool {
        match self {
            Self::Count(count) => *count == 0,
            Self::Number(number) => *number == 0.0,
            Self::Histogram(histogram) => histogram.count() == 0,
        }
    }
}
