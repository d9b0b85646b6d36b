//! Histograms whose buckets have the same relative width, which follows the range of what was
//! measured (OpenTelemetry, data model of metrics, "ExponentialHistogram").

use super::limits::{EXPONENTIAL_BUCKETS, EXPONENTIAL_MAX_SCALE};

/// The coarsest scale that can be needed: one bucket for all numbers that f64 has.
const MIN_SCALE: i32 = -11;

/// Bucket `index` holds values above `base^index` and up to `base^(index+1)`, where `base` is
/// `2^(2^-scale)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exponential {
    /// Doublings of the number of buckets between a number and its double.
    pub scale: i32,
    /// Measurements that are zero, or too small for an exponent.
    pub zero_count: u64,
    /// Index of the first bucket.
    pub offset: i32,
    /// Measurements of each bucket from there on.
    pub counts: Vec<u64>,
}

impl Default for Exponential {
    fn default() -> Self {
        Self {
            scale: EXPONENTIAL_MAX_SCALE,
            zero_count: 0,
            offset: 0,
            counts: Vec::new(),
        }
    }
}

impl Exponential {
    pub(super) fn record(&mut self, value: f64) {
        if value < f64::MIN_POSITIVE {
            self.zero_count += 1;
            return;
        }
        let mut index = index(value, self.scale);
        let (first, last) = self.span(index);
        let mut by = 0;
        while self.scale - by > MIN_SCALE && ((last >> by) - (first >> by)) as usize >= EXPONENTIAL_BUCKETS {
            by += 1;
        }
        self.coarsen(by);
        index >>= by;
        self.cover(index);
        self.counts[(index - self.offset) as usize] += 1;
    }

    /// First and last bucket once `index` is among them. Indexes need 64 bits: at the finest scale
    /// those of the largest and the smallest number are 2^31 apart.
    fn span(&self, index: i32) -> (i64, i64) {
        let index = i64::from(index);
        if self.counts.is_empty() {
            return (index, index);
        }
        let first = i64::from(self.offset);
        (first.min(index), (first + self.counts.len() as i64 - 1).max(index))
    }

    /// Merges each 2^`by` neighbours.
    fn coarsen(&mut self, by: i32) {
        if by == 0 {
            return;
        }
        self.scale -= by;
        let first = self.offset >> by;
        let mut counts = Vec::new();
        for (index, count) in (self.offset..).zip(&self.counts) {
            let bucket = ((index >> by) - first) as usize;
            if bucket >= counts.len() {
                counts.resize(bucket + 1, 0);
            }
            counts[bucket] += count;
        }
        (self.offset, self.counts) = (first, counts);
    }

    /// Makes room for a bucket.
    fn cover(&mut self, index: i32) {
        if self.counts.is_empty() {
            self.offset = index;
        }
        if index < self.offset {
            let more = (self.offset - index) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, more));
            self.offset = index;
        }
        let wanted = (index - self.offset) as usize + 1;
        if wanted > self.counts.len() {
            self.counts.resize(wanted, 0);
        }
    }

    /// What was measured since `earlier`, an earlier state of this histogram. Its scale was at least
    /// as fine, and it covered no more.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let mut then = earlier.clone();
        then.coarsen((earlier.scale - self.scale).max(0));
        let mut difference = self.clone();
        difference.zero_count = self.zero_count.saturating_sub(then.zero_count);
        for (index, count) in (then.offset..).zip(&then.counts) {
            let bucket = usize::try_from(i64::from(index) - i64::from(difference.offset)).ok();
            if let Some(now) = bucket.and_then(|bucket| difference.counts.get_mut(bucket)) {
                *now = now.saturating_sub(*count);
            }
        }
        difference
    }
}

/// The bucket of a normal, positive number.
fn index(value: f64, scale: i32) -> i32 {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
    let is_power = bits & ((1 << 52) - 1) == 0;
    if is_power {
        // Exactly: the logarithm may come out a little above, which would be the next bucket.
        let exact = i64::from(exponent);
        let shifted = if scale >= 0 {
            exact << scale
        } else {
            (exact - 1) >> -scale
        };
        return (if scale >= 0 { shifted - 1 } else { shifted }) as i32;
    }
    if scale <= 0 {
        return exponent >> -scale;
    }
    let per_octave = f64::from(1_u32 << scale);
    // The logarithm of what is left of the octave, not of the whole, keeps the precision.
    let within = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52).log2();
    let of_octave = (within * per_octave).ceil().clamp(1.0, per_octave) as i32 - 1;
    (exponent << scale) + of_octave
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Exponential {
        let mut histogram = Exponential::default();
        values.iter().for_each(|value| histogram.record(*value));
        histogram
    }

    #[test]
    fn powers_of_two_belong_to_the_bucket_below() {
        for scale in [0, 1, 5, 20] {
            assert_eq!(index(1.0, scale), -1, "{scale}");
            assert_eq!(index(2.0, scale), (1 << scale) - 1, "{scale}");
            assert_eq!(index(1.000_001, scale), if scale == 20 { 1 } else { 0 }, "{scale}");
        }
        // (1, 4] and (1/4, 1].
        assert_eq!(
            [4.0, 3.0, 1.5, 1.0, 0.3, 0.25].map(|value| index(value, -1)),
            [0, 0, 0, -1, -1, -2]
        );
    }

    #[test]
    fn the_extremes() {
        let all = of(&[0.0, f64::MIN_POSITIVE / 2.0, f64::MIN_POSITIVE, 1.0, f64::MAX]);
        assert_eq!(all.zero_count, 2);
        assert_eq!(all.counts.iter().sum::<u64>(), 3);
        assert!(all.counts.len() <= EXPONENTIAL_BUCKETS, "{all:?}");
    }

    fn durations() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec((-20.0..10.0_f64).prop_map(f64::exp2), 0..200)
    }

    proptest! {
        #[test]
        fn every_value_is_within_its_bucket(value in 1e-9..1e9_f64, scale in -3..16) {
            let index = f64::from(index(value, scale));
            let width = f64::from(-scale).exp2();
            let (low, high) = ((index * width).exp2(), ((index + 1.0) * width).exp2());
            prop_assert!(low * (1.0 - 1e-9) < value && value <= high * (1.0 + 1e-9), "{} {} {}", low, value, high);
        }

        #[test]
        fn bounded_and_complete(values in durations()) {
            let histogram = of(&values);
            prop_assert!(histogram.counts.len() <= EXPONENTIAL_BUCKETS);
            prop_assert_eq!(histogram.counts.iter().sum::<u64>(), values.len() as u64);
            for value in &values {
                let bucket = index(*value, histogram.scale) - histogram.offset;
                prop_assert!(histogram.counts[bucket as usize] > 0);
            }
        }

        #[test]
        fn differences_are_what_came_in_between(before in durations(), after in durations()) {
            let all = of(&[before.clone(), after.clone()].concat());
            let difference = all.since(&of(&before));
            prop_assert_eq!(difference.counts.iter().sum::<u64>(), after.len() as u64);
            for value in &after {
                let bucket = index(*value, difference.scale) - difference.offset;
                prop_assert!(difference.counts[bucket as usize] > 0);
            }
        }
    }
}
