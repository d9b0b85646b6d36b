//! Percentiles from the buckets of a histogram, by the formula of `histogram_quantile`.

use std::collections::BTreeMap;

/// How many measurements were at or below each bound.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Buckets {
    /// By the bits of the bound in seconds: bounds are positive, so that their order is that of their bits.
    cumulative: BTreeMap<u64, f64>,
}

impl Buckets {
    /// Adds to the bucket with this label `le`.
    pub(super) fn add(&mut self, le: &str, count: f64) {
        if let Some(bound) = le.parse::<f64>().ok().filter(|bound| *bound > 0.0) {
            *self.cumulative.entry(bound.to_bits()).or_default() += count;
        }
    }

    /// Adds all of another one with the same bounds.
    pub(super) fn merge(&mut self, other: &Self) {
        for (bound, count) in &other.cumulative {
            *self.cumulative.entry(*bound).or_default() += count;
        }
    }

    /// All measurements.
    pub(super) fn count(&self) -> f64 {
        self.cumulative.get(&f64::INFINITY.to_bits()).copied().unwrap_or(0.0)
    }

    /// The value in seconds that a share `q` of the measurements does not exceed, as if those within
    /// a bucket were spread evenly. Beyond the last bound it is that bound.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let wanted = self.count() * q;
        if wanted <= 0.0 {
            return None;
        }
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, count) in &self.cumulative {
            let upper = f64::from_bits(*bound);
            if *count >= wanted {
                if upper.is_infinite() {
                    break;
                }
                return Some(lower + (upper - lower) * ((wanted - below) / (count - below)));
            }
            (lower, below) = (upper, *count);
        }
        Some(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: &[(&str, f64)]) -> Buckets {
        let mut buckets = Buckets::default();
        for (le, count) in counts {
            buckets.add(le, *count);
        }
        buckets
    }

    #[test]
    fn as_histogram_quantile_has_it() {
        let some = buckets(&[("0.1", 10.0), ("0.5", 90.0), ("1", 100.0), ("+Inf", 100.0)]);
        let near = |q: f64, value: f64| assert!((some.quantile(q).unwrap() - value).abs() < 1e-9, "{q}");
        near(0.05, 0.05);
        near(0.5, 0.3);
        near(0.95, 0.75);
        assert!((some.count() - 100.0).abs() < 1e-9);
    }

    #[test]
    fn beyond_the_last_bound_it_is_that_bound() {
        assert_eq!(buckets(&[("10", 1.0), ("+Inf", 9.0)]).quantile(0.5), Some(10.0));
        assert_eq!(buckets(&[("10", 0.0), ("+Inf", 0.0)]).quantile(0.5), None);
        assert_eq!(buckets(&[("junk", 4.0)]).quantile(0.5), None);
    }

    #[test]
    fn sums() {
        let mut all = buckets(&[("0.1", 1.0), ("+Inf", 1.0)]);
        all.merge(&buckets(&[("0.1", 0.0), ("+Inf", 3.0)]));
        assert!((all.count() - 4.0).abs() < 1e-9);
    }
}
