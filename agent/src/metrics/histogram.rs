//! Histograms with explicit bounds, and the calls that exemplify their buckets.

use super::exponential::Exponential;
use crate::calls::{ShortId, TraceId};

/// A measurement with the span that it was made in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// Id of the trace.
    pub trace_id: TraceId,
    /// Id of the span; a call that counts once, whichever ends were seen, may have none.
    pub span_id: Option<ShortId>,
    /// What was measured.
    pub value: f64,
    /// When, in nanoseconds since the Unix epoch.
    pub at_unix_ns: u64,
}

/// How many measurements lie up to each bound and above the one before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Upper bounds, inclusive; one more bucket holds what is above all.
    pub bounds: &'static [f64],
    /// Measurements of each bucket.
    pub counts: Box<[u64]>,
    /// Sum of all measurements.
    pub sum: f64,
    /// The smallest and the largest; unknown for the difference of two histograms.
    pub range: Option<(f64, f64)>,
    /// The latest of each bucket.
    pub exemplars: Box<[Option<Exemplar>]>,
    /// The same measurements in buckets of constant relative width, where that was asked for.
    pub exponential: Option<Exponential>,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64], exponential: bool) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1].into(),
            sum: 0.0,
            range: None,
            exemplars: vec![None; bounds.len() + 1].into(),
            exponential: exponential.then(Exponential::default),
        }
    }

    /// Measurements in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds a measurement: finite and not negative.
    pub(super) fn record(&mut self, value: f64, exemplar: Option<Exemplar>) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
        let (min, max) = self.range.unwrap_or((value, value));
        self.range = Some((min.min(value), max.max(value)));
        if exemplar.is_some() {
            self.exemplars[bucket] = exemplar;
        }
        if let Some(exponential) = &mut self.exponential {
            exponential.record(value);
        }
    }

    /// What was measured since `earlier`, an earlier state of this histogram.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let counts = self.counts.iter().zip(&*earlier.counts);
        let exemplars = self.exemplars.iter().zip(&*earlier.exemplars);
        Self {
            bounds: self.bounds,
            counts: counts.map(|(now, then)| now.saturating_sub(*then)).collect(),
            sum: self.sum - earlier.sum,
            range: None,
            exemplars: exemplars.map(|(now, then)| now.filter(|_| now != then)).collect(),
            exponential: match (&self.exponential, &earlier.exponential) {
                (Some(now), Some(then)) => Some(now.since(then)),
                (now, _) => now.clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: &[f64] = &[0.01, 0.5, 1.0];

    fn of(values: &[f64]) -> Histogram {
        let mut histogram = Histogram::new(BOUNDS, true);
        values.iter().for_each(|value| histogram.record(*value, None));
        histogram
    }

    #[test]
    fn a_bound_belongs_to_the_bucket_below() {
        let histogram = of(&[0.0, 0.01, 0.010_001, 1.0, 1.1, 7.0]);
        assert_eq!(&*histogram.counts, [2, 1, 1, 2]);
        assert_eq!((histogram.count(), histogram.range), (6, Some((0.0, 7.0))));
    }

    #[test]
    fn the_latest_call_exemplifies_its_bucket() {
        let exemplar = |value| Exemplar {
            trace_id: TraceId([1; 16]),
            span_id: None,
            value,
            at_unix_ns: 5,
        };
        let mut histogram = of(&[]);
        histogram.record(0.2, Some(exemplar(0.2)));
        histogram.record(0.3, Some(exemplar(0.3)));
        let earlier = histogram.clone();
        histogram.record(2.0, Some(exemplar(2.0)));
        let values = |histogram: &Histogram| {
            histogram
                .exemplars
                .iter()
                .map(|it| it.map(|it| it.value))
                .collect::<Vec<_>>()
        };
        assert_eq!(values(&histogram), [None, Some(0.3), None, Some(2.0)]);
        assert_eq!(values(&histogram.since(&earlier)), [None, None, None, Some(2.0)]);
    }

    proptest! {
        #[test]
        fn counts_are_those_of_a_naive_count(values in prop::collection::vec(0.0..3.0_f64, 0..100)) {
            let histogram = of(&values);
            for (index, bound) in BOUNDS.iter().enumerate() {
                let up_to: u64 = histogram.counts[..=index].iter().sum();
                prop_assert_eq!(up_to, values.iter().filter(|value| *value <= bound).count() as u64);
            }
            prop_assert_eq!(histogram.count(), values.len() as u64);
            prop_assert!((histogram.sum - values.iter().sum::<f64>()).abs() < 1e-9);
        }

        #[test]
        fn differences_are_what_came_in_between(
            before in prop::collection::vec(0.0..3.0_f64, 0..50),
            after in prop::collection::vec(0.0..3.0_f64, 0..50),
        ) {
            let all = of(&[before.clone(), after.clone()].concat());
            let difference = all.since(&of(&before));
            prop_assert_eq!(&difference.counts, &of(&after).counts);
            prop_assert!((difference.sum - after.iter().sum::<f64>()).abs() < 1e-9);
        }
    }
}
