//! The table: what was measured beside what was promised.

use super::pair::Series;
use crate::sh;

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
    /// Worth knowing, not promised.
    None,
}

/// One line of the table.
#[derive(Debug)]
struct Row {
    what: String,
    figure: String,
    noise: String,
    bar: String,
    verdict: &'static str,
}

/// The table as it grows.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    missing: Vec<String>,
}

impl Report {
    /// A figure with its noise; `scale` multiplies what is shown, `unit` follows it.
    pub(crate) fn add(&mut self, what: &str, series: &Series, unit: &str, bar: Bar) {
        let figure = series.median();
        let verdict = match bar {
            Bar::AtLeast(bar) if figure >= bar => "pass",
            Bar::AtMost(bar) if figure <= bar => "pass",
            Bar::None => "",
            _ => "MISS",
        };
        self.rows.push(Row {
            what: what.to_owned(),
            figure: format!("{}{unit}", number(figure)),
            noise: format!("{}..{}", number(series.min()), number(series.max())),
            bar: match bar {
                Bar::AtLeast(bar) => format!("at least {}{unit}", number(bar)),
                Bar::AtMost(bar) => format!("at most {}{unit}", number(bar)),
                Bar::None => String::new(),
            },
            verdict,
        });
    }

    /// A single figure.
    pub(crate) fn add_one(&mut self, what: &str, figure: f64, unit: &str, bar: Bar) {
        self.add(what, &Series::new(vec![figure]), unit, bar);
    }

    /// What could not be measured, and why.
    pub(crate) fn missing(&mut self, what: &str, why: &str) {
        sh::say(format!("not measured: {what}: {why}"));
        self.missing.push(format!("{what}: {why}"));
    }

    /// How many bars were missed.
    pub(crate) fn missed(&self) -> usize {
        self.rows.iter().filter(|row| row.verdict == "MISS").count()
    }

    /// Prints the table in markdown.
    pub(crate) fn print(&self, method: &str) {
        let line = |program: &str, argument: &str| {
            sh::ask(sh::cmd(program).arg(argument))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        println!(
            "\nMeasured {} on Linux {}, {cores} cores. {method}\n",
            line("date", "-Idate"),
            line("uname", "-r")
        );
        println!("| what | figure | min..max | bar | |\n| --- | --- | --- | --- | --- |");
        for Row {
            what,
            figure,
            noise,
            bar,
            verdict,
        } in &self.rows
        {
            println!("| {what} | {figure} | {noise} | {bar} | {verdict} |");
        }
        for missing in &self.missing {
            println!("\nNot measured: {missing}");
        }
    }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_judged_by_the_median() {
        let mut report = Report::default();
        let series = Series::new(vec![0.90, 0.96, 0.99]);
        report.add("a", &series, "", Bar::AtLeast(0.95));
        report.add("b", &series, "", Bar::AtMost(0.95));
        report.add("c", &series, "", Bar::None);
        assert_eq!(report.missed(), 1);
    }
}
