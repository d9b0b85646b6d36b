//! How often something took how long, in one line.

use super::document::DurationsDocument;
use crate::sink::text::duration;

/// Columns at most: no histogram of ours has more.
const COLUMNS: usize = 64;
/// Blocks as high as an eighth, two eighths, ... of a line.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The durations from the shortest to the longest, a column for each doubling, as high as its share.
/// Empty when there are none.
pub(super) fn spread(durations: &[DurationsDocument]) -> String {
    let Some((first, last)) = durations.first().zip(durations.last()) else {
        return String::new();
    };
    let most = durations.iter().map(|it| it.count).max().unwrap_or(0).max(1);
    let mut columns = String::new();
    let mut next = first.below_us;
    for it in durations {
        // Durations that did not occur are columns too.
        while let Some((empty, below)) = next.zip(it.below_us)
            && empty < below
            && columns.chars().count() < COLUMNS
        {
            columns.push(' ');
            next = Some(empty * 2.0);
        }
        columns.push(level(it.count, most));
        next = it.below_us.map(|below| below * 2.0);
    }
    let from = first
        .below_us
        .map_or_else(String::new, |below| format!("{} ", duration(below / 2.0)));
    let to = last
        .below_us
        .map_or_else(|| "…".to_owned(), |below| format!(" {}", duration(below)));
    format!("{from}{columns}{to}")
}

/// A block as high as its share.
fn level(count: u32, most: u32) -> char {
    let eighths = (u64::from(count) * 8).div_ceil(u64::from(most));
    let index = usize::try_from(eighths.saturating_sub(1)).unwrap_or(0);
    LEVELS[index.min(LEVELS.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(durations: &[(Option<f64>, u32)]) -> String {
        let durations: Vec<_> = durations
            .iter()
            .map(|&(below_us, count)| DurationsDocument { below_us, count })
            .collect();
        spread(&durations)
    }

    #[test]
    fn a_column_for_each_doubling() {
        assert_eq!(of(&[]), "");
        assert_eq!(of(&[(Some(1024.0), 5)]), "512us █ 1.02ms");
        assert_eq!(of(&[(Some(2.048), 1), (Some(16.384), 8)]), "1.02us ▁  █ 16.4us");
        assert_eq!(of(&[(Some(4096.0), 8), (None, 2)]), "2.05ms █▂…");
        assert_eq!(of(&[(None, 2)]), "█…");
    }

    #[test]
    fn numbers_that_nobody_wrote_end() {
        for below in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(of(&[(Some(below), 0), (Some(1e300), 1)]).chars().count() < 1000);
        }
    }
}
