//! Latencies in logarithmic buckets: a few dozen bytes a minute that merge without error.
//!
//! The buckets are those of an OpenTelemetry exponential histogram of scale 5: 32 to a doubling, so
//! that a quantile is within 1.1 % of a latency that was measured. Written sparse, since a minute
//! of one tool fills some ten buckets; the crates for DDSketch write theirs dense.

use super::HistoryError;

const BUCKETS_A_DOUBLING: f64 = 32.0;
/// The last bucket holds everything from 2^50 ns, 13 days, on.
const LAST: u16 = 50 * 32;
const NANOS_A_MICRO: f64 = 1e3;

/// A distribution of latencies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Bucket of the first count.
    first: u16,
    counts: Vec<u32>,
    measured: u64,
    sum_ns: u64,
    max_ns: u64,
}

impl Sketch {
    /// Adds a latency in microseconds.
    pub fn add(&mut self, micros: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates; negative and not a number become 0"
        )]
        let nanos = (micros * NANOS_A_MICRO) as u64;
        *self.count_mut(bucket(nanos)) += 1;
        self.measured += 1;
        self.sum_ns = self.sum_ns.saturating_add(nanos);
        self.max_ns = self.max_ns.max(nanos);
    }

    /// Adds all latencies of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, &count) in (other.first..).zip(&other.counts) {
            if count > 0 {
                let own = self.count_mut(bucket);
                *own = own.saturating_add(count);
            }
        }
        self.measured += other.measured;
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// How many latencies it holds.
    #[must_use]
    pub fn measured(&self) -> u64 {
        self.measured
    }

    /// The largest, in microseconds.
    #[must_use]
    pub fn max_us(&self) -> Option<f64> {
        (self.measured > 0).then(|| micros(self.max_ns))
    }

    /// All of them together, in microseconds.
    #[must_use]
    pub fn sum_us(&self) -> f64 {
        micros(self.sum_ns)
    }

    /// The latency, in microseconds, that `share` (0 to 1) of the calls do not exceed.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> Option<f64> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank among fewer calls than 2^52"
        )]
        let rank = ((self.measured as f64 * share).ceil() as u64).clamp(1, self.measured.max(1));
        let mut below = 0;
        for (bucket, &count) in (self.first..).zip(&self.counts) {
            below += u64::from(count);
            if below >= rank {
                let value = if below == self.measured {
                    self.max_ns as f64
                } else {
                    middle(bucket)
                };
                return Some(value.min(self.max_ns as f64) / NANOS_A_MICRO);
            }
        }
        self.max_us()
    }

    /// The bytes that [`Sketch::decode`] reads: sum, maximum, first bucket, then for each count how
    /// many empty buckets come before it, and the count.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + 2 * self.counts.len());
        put(&mut out, self.sum_ns);
        put(&mut out, self.max_ns);
        put(&mut out, u64::from(self.first));
        let mut empty = 0;
        for &count in &self.counts {
            if count == 0 {
                empty += 1;
            } else {
                put(&mut out, empty);
                put(&mut out, u64::from(count));
                empty = 0;
            }
        }
        out
    }

    /// Adds the latencies of an encoded sketch: what [`Sketch::merge`] does, without one in between.
    ///
    /// # Errors
    /// When the bytes are not a sketch; it may hold a part of them then.
    pub fn merge_encoded(&mut self, mut bytes: &[u8]) -> Result<(), HistoryError> {
        let sum_ns = take(&mut bytes)?;
        let max_ns = take(&mut bytes)?;
        let mut bucket = take(&mut bytes)?;
        while !bytes.is_empty() {
            bucket = bucket.saturating_add(take(&mut bytes)?);
            let count = u32::try_from(take(&mut bytes)?).map_err(|_large| HistoryError::Sketch)?;
            let at = u16::try_from(bucket)
                .ok()
                .filter(|&at| at <= LAST)
                .ok_or(HistoryError::Sketch)?;
            let own = self.count_mut(at);
            *own = own.saturating_add(count);
            self.measured += u64::from(count);
            bucket += 1;
        }
        self.sum_ns = self.sum_ns.saturating_add(sum_ns);
        self.max_ns = self.max_ns.max(max_ns);
        Ok(())
    }

    /// The count of a bucket, which is among the counts from now on.
    fn count_mut(&mut self, bucket: u16) -> &mut u32 {
        if self.counts.is_empty() {
            self.first = bucket;
        }
        if bucket < self.first {
            let missing = usize::from(self.first - bucket);
            self.counts.splice(0..0, std::iter::repeat_n(0, missing));
            self.first = bucket;
        }
        let at = usize::from(bucket - self.first);
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        &mut self.counts[at]
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / NANOS_A_MICRO
}

/// The bucket from `2^(bucket/32)` ns to the next.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 to 64 doublings of 32 buckets"
)]
fn bucket(nanos: u64) -> u16 {
    (((nanos.max(1) as f64).log2() * BUCKETS_A_DOUBLING) as u16).min(LAST)
}

/// The geometric middle of a bucket, in nanoseconds.
fn middle(bucket: u16) -> f64 {
    ((f64::from(bucket) + 0.5) / BUCKETS_A_DOUBLING).exp2()
}

/// Appends a number, 7 bits a byte, least significant first (LEB128).
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Result<u64, HistoryError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(HistoryError::Sketch)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(HistoryError::Sketch)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        for &value in values {
            sketch.add(value);
        }
        sketch
    }

    fn decoded(bytes: &[u8]) -> Result<Sketch, HistoryError> {
        let mut sketch = Sketch::default();
        sketch.merge_encoded(bytes).map(|()| sketch)
    }

    #[test]
    fn quantiles_are_within_a_bucket() {
        let sketch = of(&(1..=1000).map(f64::from).collect::<Vec<_>>());
        for (share, truth) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let value = sketch.quantile_us(share).unwrap();
            assert!((value / truth - 1.0).abs() < 0.023, "{share}: {value}");
        }
        assert_eq!(sketch.quantile_us(1.0), Some(1000.0));
        assert_eq!(sketch.sum_us(), 500_500.0);
        assert_eq!(Sketch::default().quantile_us(0.5), None);
        assert_eq!(of(&[7.0]).quantile_us(0.5), Some(7.0), "one call is known exactly");
    }

    #[test]
    fn odd_numbers_count_and_do_no_harm() {
        let sketch = of(&[f64::NAN, -1.0, 0.0, f64::INFINITY, 1e300]);
        assert_eq!(sketch.measured(), 5);
        assert_eq!(decoded(&sketch.encode()).unwrap(), sketch);
    }

    #[test]
    fn a_minute_of_one_tool_is_small() {
        let values: Vec<_> = (0..60).map(|n| 1000.0 + f64::from(n) * 5.0).collect();
        assert!(of(&values).encode().len() < 40);
    }

    proptest! {
        #[test]
        fn merging_is_adding(a in prop::collection::vec(0.0..1e9, 0..50), b in prop::collection::vec(0.0..1e9, 0..50)) {
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let mut by_bytes = of(&a);
            by_bytes.merge_encoded(&of(&b).encode()).unwrap();
            let all: Vec<_> = a.into_iter().chain(b).collect();
            for share in [0.0, 0.5, 0.95, 1.0] {
                prop_assert_eq!(merged.quantile_us(share), of(&all).quantile_us(share));
                prop_assert_eq!(by_bytes.quantile_us(share), of(&all).quantile_us(share));
            }
            prop_assert_eq!(merged.measured(), all.len() as u64);
        }

        #[test]
        fn any_bytes_end_well(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(sketch) = decoded(&bytes) {
                prop_assert!(sketch.quantile_us(0.5).is_none_or(f64::is_finite));
            }
        }
    }
}
