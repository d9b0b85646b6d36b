//! Alternation: the same measurement under several conditions, in turn, many times.
//!
//! A machine's speed drifts by more than what is measured here. So every round measures every
//! condition, each round begins with another one, and medians are compared.

use anyhow::{Result, ensure};

/// The measurements under one condition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn median(&self) -> f64 {
        let (upper, n) = (self.0.len() / 2, self.0.len());
        match n {
            0 => f64::NAN,
            n if n % 2 == 1 => self.0[upper],
            _ => f64::midpoint(self.0[upper - 1], self.0[upper]),
        }
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }
}

/// The measurements of all conditions, round by round.
#[derive(Debug)]
pub(crate) struct Rounds {
    /// `values[round][condition]`.
    values: Vec<Vec<f64>>,
}

impl Rounds {
    /// The measurements under one condition.
    pub(crate) fn series(&self, condition: usize) -> Series {
        Series::new(self.values.iter().map(|round| round[condition]).collect())
    }

    /// How two conditions relate, from the quotients within each round.
    pub(crate) fn ratio(&self, condition: usize, to: usize) -> Series {
        Series::new(self.values.iter().map(|round| round[condition] / round[to]).collect())
    }

    /// What one condition adds to another, from the differences within each round.
    pub(crate) fn difference(&self, condition: usize, to: usize) -> Series {
        Series::new(self.values.iter().map(|round| round[condition] - round[to]).collect())
    }

    /// What one condition adds to a base, as a multiple of what another adds to it.
    pub(crate) fn added_ratio(&self, condition: usize, to: usize, base: usize) -> Series {
        let of = |row: &Vec<f64>| (row[condition] - row[base]) / (row[to] - row[base]);
        Series::new(self.values.iter().map(of).collect())
    }
}

/// Measures every condition in each of `rounds` rounds.
pub(crate) fn alternate(
    rounds: usize,
    conditions: usize,
    mut measure: impl FnMut(usize) -> Result<f64>,
) -> Result<Rounds> {
    let mut values = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let mut row = vec![f64::NAN; conditions];
        for turn in 0..conditions {
            // Forwards and backwards: each condition follows each other one.
            let turn = if round % 2 == 0 { turn } else { conditions - turn };
            let condition = (round + turn) % conditions;
            row[condition] = measure(condition)?;
            ensure!(row[condition] > 0.0, "a measurement came to {}", row[condition]);
        }
        eprintln!(
            "    round {} of {rounds}: {}",
            round + 1,
            row.iter().map(|v| format!("{v:.1}")).collect::<Vec<_>>().join("  ")
        );
        values.push(row);
    }
    Ok(Rounds { values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_measures_every_condition_and_begins_with_another() {
        let mut order = Vec::new();
        let rounds = alternate(2, 2, |condition| {
            order.push(condition);
            Ok(if condition == 0 { 10.0 } else { 8.0 })
        });
        assert_eq!(order, [0, 1, 1, 0]);
        let ratio = rounds.map(|r| r.ratio(1, 0).median());
        assert!(ratio.is_ok_and(|ratio| (ratio - 0.8).abs() < 1e-9));
    }

    #[test]
    fn the_median_of_an_even_count_lies_between() {
        let series = Series::new(vec![4.0, 1.0, 2.0, 3.0]);
        assert!((series.median() - 2.5).abs() < 1e-9);
        assert!((series.min() - 1.0).abs() < 1e-9 && (series.max() - 4.0).abs() < 1e-9);
    }
}
