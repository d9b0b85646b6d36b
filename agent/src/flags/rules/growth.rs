//! Memory that grows: the slope that most pairs of samples agree on.

use std::collections::VecDeque;

use mcp_proto::Nanos;

use crate::flags::board::as_f64;
use crate::flags::limits::SECOND;

/// Samples of one series: of two minutes at the usual pace, of twenty when thinned.
const KEPT: usize = 24;
/// Samples that it takes to see a trend.
const ENOUGH: usize = 5;
/// And the time that they must span.
const SPAN: Nanos = 15 * SECOND;
/// Pause between samples of the long series.
const THINNED: Nanos = 60 * SECOND;
/// Share of all pairs of samples that must rise.
const AGREEING: f64 = 0.9;

/// Resident memory of one process over two and over twenty minutes.
#[derive(Debug, Default)]
pub(super) struct Growth {
    short: Series,
    long: Series,
}

impl Growth {
    /// Takes a sample of `bytes`. The slope in bytes a second, if memory grows by at least `least`
    /// bytes within a series and nearly all pairs of its samples agree: the steepest of the latest
    /// few samples, of two and of twenty minutes.
    pub(super) fn feed(&mut self, at: Nanos, bytes: u64, least: f64) -> Option<f64> {
        self.short.push(at, bytes);
        if self
            .long
            .0
            .back()
            .is_none_or(|&(last, _)| at.saturating_sub(last) >= THINNED)
        {
            self.long.push(at, bytes);
        }
        let slopes = [
            self.short.onset(least),
            self.short.slope(0, least),
            self.long.slope(0, least),
        ];
        slopes.into_iter().flatten().reduce(f64::max)
    }
}

#[derive(Debug, Default)]
struct Series(VecDeque<(Nanos, u64)>);

impl Series {
    fn push(&mut self, at: Nanos, bytes: u64) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((at, bytes));
    }

    /// The slope of the latest few samples, if they are beyond all that were before: a leak that
    /// begins in a process that was steady, and no tooth of a saw like those before it.
    fn onset(&self, least: f64) -> Option<f64> {
        let from = self.0.len().checked_sub(ENOUGH)?;
        let &(_, last) = self.0.back()?;
        let before = self.0.iter().take(from + 1).map(|&(_, bytes)| bytes).max()?;
        let is_beyond = as_f64(last.saturating_sub(before)) >= least;
        self.slope(from, least).filter(|_| is_beyond)
    }

    /// The Theil-Sen estimate from sample `begin` on: the median of the slopes of all pairs, which a
    /// third of wild samples (a collection, a burst) does not move.
    fn slope(&self, begin: usize, least: f64) -> Option<f64> {
        let (&(from, first), &(to, last)) = self.0.get(begin).zip(self.0.back())?;
        let rises = as_f64(last.saturating_sub(first)) >= least;
        if self.0.len() < begin + ENOUGH || to.saturating_sub(from) < SPAN || !rises {
            return None;
        }
        let pairs = self.0.iter().enumerate().skip(begin).flat_map(|(n, &(from, before))| {
            self.0.iter().skip(n + 1).filter_map(move |&(to, after)| {
                let seconds = as_f64(to.checked_sub(from).filter(|&time| time > 0)?) / 1e9;
                Some((as_f64(after) - as_f64(before)) / seconds)
            })
        });
        let mut slopes: Vec<f64> = pairs.collect();
        slopes.sort_by(f64::total_cmp);
        let rising = slopes.iter().filter(|&&slope| slope > 0.0).count();
        let agree = as_f64(rising as u64) >= AGREEING * as_f64(slopes.len() as u64);
        slopes.get(slopes.len() / 2).copied().filter(|_| agree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn slopes(bytes: impl Iterator<Item = u64>) -> Vec<Option<f64>> {
        let mut growth = Growth::default();
        let least = as_f64(8 * MIB);
        (0..)
            .zip(bytes)
            .map(|(n, bytes)| growth.feed(n * 5 * SECOND, bytes, least))
            .collect()
    }

    #[test]
    fn a_steady_leak_with_noise() {
        let found = slopes((0..24).map(|n| 100 * MIB + n * 50 * MIB + (n * 7919 % 13) * MIB));
        assert!(found[..4].iter().all(Option::is_none), "{found:?}");
        let slope = found[4].unwrap();
        assert!((8.0..12.0).contains(&(slope / as_f64(MIB))), "{slope}");
    }

    #[test]
    fn a_start_is_not_a_leak() {
        let found = slopes((0..60).map(|n: u64| if n == 0 { 10 * MIB } else { 100 * MIB + n % 3 }));
        assert!(found.iter().all(Option::is_none), "{found:?}");
    }

    #[test]
    fn a_leak_that_begins_late() {
        let found = slopes((0..50u64).map(|n| 100 * MIB + n.saturating_sub(40) * 50 * MIB));
        assert!(found[..43].iter().all(Option::is_none), "{found:?}");
        assert!(found[45].is_some_and(|slope| slope > as_f64(8 * MIB)), "{found:?}");
    }

    #[test]
    fn a_saw_is_not_a_leak() {
        let found = slopes((0..600).map(|n| 100 * MIB + (n % 12) * 4 * MIB));
        // One tooth looks like a leak for as long as it rises; after the first the saw is seen.
        assert!(found[24..].iter().all(Option::is_none), "{found:?}");
    }

    #[test]
    fn a_slow_leak_shows_over_twenty_minutes() {
        let found = slopes((0..240).map(|n| 100 * MIB + n * MIB / 10));
        assert!(found[..60].iter().all(Option::is_none));
        let slope = found[239].unwrap();
        assert!((0.018..0.022).contains(&(slope / as_f64(MIB))), "{slope}");
    }
}
