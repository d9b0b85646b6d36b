//! Requests that are made again: what a cache answered, or could have.

use std::collections::{HashMap, VecDeque};

use super::limits::{REPEAT_NS, REPEATS};

/// The answer of a cache takes at most this share of the first one's time.
const HIT_SHARE: f64 = 0.1;

/// Requests of late, by what they asked whom.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    first: HashMap<u64, First>,
    /// In order of the first request. Those that were forgotten and made again are in it twice.
    order: VecDeque<(u64, u64)>,
}

#[derive(Debug)]
struct First {
    began: u64,
    seen: u64,
    seconds: f64,
}

impl Repeats {
    /// Notes a successful request that took the server `seconds`. `Some(true)`: it evidently came
    /// from a cache, `Some(false)`: it could have, `None`: nobody has asked this lately.
    pub(super) fn note(&mut self, request: u64, seconds: f64, now: u64) -> Option<bool> {
        if let Some(first) = self.first.get_mut(&request)
            && now < first.seen.saturating_add(REPEAT_NS)
        {
            first.seen = now;
            return Some(seconds <= first.seconds * HIT_SHARE);
        }
        self.first.insert(
            request,
            First {
                began: now,
                seen: now,
                seconds,
            },
        );
        self.order.push_back((request, now));
        while self.order.len() > REPEATS {
            if let Some((oldest, began)) = self.order.pop_front()
                && self.first.get(&oldest).is_some_and(|first| first.began == began)
            {
                self.first.remove(&oldest);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_sets_the_measure() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.note(1, 1.0, 0), None);
        assert_eq!(repeats.note(1, 0.1, 1), Some(true));
        assert_eq!(repeats.note(1, 0.11, 2), Some(false));
        assert_eq!(repeats.note(2, 0.1, 3), None);
        assert_eq!(repeats.note(1, 0.01, 2 + REPEAT_NS), None, "too long ago");
        assert_eq!(
            repeats.note(1, 0.01, 3 + REPEAT_NS),
            Some(false),
            "measured by the new first one"
        );
    }

    #[test]
    fn bounded() {
        let mut repeats = Repeats::default();
        for round in 0..3 {
            for request in 0..2 * REPEATS as u64 {
                assert_eq!(repeats.note(request, 1.0, round), None);
            }
        }
        assert!(repeats.first.len() <= REPEATS && repeats.order.len() <= REPEATS);
        assert_eq!(repeats.note(2 * REPEATS as u64 - 1, 1.0, 3), Some(false));
    }
}
