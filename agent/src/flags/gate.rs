//! Hysteresis: how many bad values make a condition, and how many good ones end it.

use super::{Level, Threshold};

/// What the values so far amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gate {
    /// The latest values, the newest in the lowest bit: whether it was bad.
    bad: u32,
    calm: u8,
    up: bool,
}

impl Gate {
    /// Takes one value. Whether the condition holds from here on.
    ///
    /// A value between the two thresholds is neither bad nor well: it raises nothing and clears nothing.
    pub(super) fn feed(&mut self, value: f64, level: &Level) -> bool {
        let bad = Threshold::is_passed(level.sense, level.warn, value);
        let well = !bad && (value == level.clear || !Threshold::is_passed(level.sense, level.clear, value));
        let window = u32::MAX >> (32 - u32::from(level.of.clamp(1, 32)));
        self.bad = (self.bad << 1 | u32::from(bad)) & window;
        self.calm = if well { self.calm.saturating_add(1) } else { 0 };
        if self.up && self.calm >= level.calm {
            *self = Self::default();
        } else if !self.up && self.bad.count_ones() >= u32::from(level.raise) {
            self.up = true;
            self.calm = 0;
        }
        self.up
    }

    /// Whether there is nothing left to remember.
    pub(super) fn is_idle(&self) -> bool {
        !self.up && self.bad == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flags::{Flag, Levels, Sense};

    fn level(sense: Sense) -> Level {
        let mut level = *Levels::default().of(Flag::HostCpu, None, None);
        (level.sense, level.warn, level.clear) = (sense, 0.8, if sense == Sense::Above { 0.6 } else { 0.9 });
        (level.raise, level.of, level.calm) = (3, 5, 2);
        level
    }

    fn run(level: &Level, values: &[f64]) -> Vec<bool> {
        let mut gate = Gate::default();
        values.iter().map(|&value| gate.feed(value, level)).collect()
    }

    #[test]
    fn three_of_five_raise_and_two_in_a_row_clear() {
        let level = level(Sense::Above);
        let (up, down) = (true, false);
        assert_eq!(run(&level, &[0.9, 0.9, 0.1, 0.1, 0.9]), [down, down, down, down, up]);
        assert_eq!(run(&level, &[0.9, 0.9, 0.1, 0.1, 0.1, 0.9]), [down; 6]);
        assert_eq!(
            run(&level, &[0.8, 0.8, 0.8, 0.6, 0.7, 0.6, 0.6]),
            [down, down, up, up, up, up, down]
        );
    }

    #[test]
    fn below_is_the_same_turned_round() {
        let level = level(Sense::Below);
        assert_eq!(
            run(&level, &[0.8, 0.1, 0.0, 0.85, 0.9, 0.95]),
            [false, false, true, true, true, false]
        );
    }

    proptest! {
        /// Noise around either threshold that does not reach across to the other cannot flap.
        #[test]
        fn noise_around_a_threshold_does_not_flap(
            noise in prop::collection::vec(-0.09f64..0.09, 1..400),
            around_clear in any::<bool>(),
        ) {
            let level = level(Sense::Above);
            let centre = if around_clear { level.clear } else { level.warn };
            let values: Vec<f64> = noise.iter().map(|noise| centre + noise).collect();
            let states = run(&level, &values);
            let changes = states.windows(2).filter(|pair| pair[0] != pair[1]).count();
            prop_assert!(changes <= 1, "{changes} changes");
            prop_assert!(!(around_clear && states.contains(&true)));
        }

        /// Whatever comes, a change takes as many values as it should.
        #[test]
        fn changes_are_never_faster_than_stated(values in prop::collection::vec(0.0f64..1.0, 1..400)) {
            let level = level(Sense::Above);
            let states = run(&level, &values);
            let mut since = 0;
            for (at, pair) in states.windows(2).enumerate() {
                if pair[0] != pair[1] {
                    prop_assert!(at + 1 - since >= usize::from(level.calm.min(level.raise)));
                    since = at + 1;
                }
            }
        }

        #[test]
        fn what_is_well_raises_nothing(values in prop::collection::vec(0.0f64..0.79, 1..400)) {
            prop_assert!(!run(&level(Sense::Above), &values).contains(&true));
        }
    }
}
