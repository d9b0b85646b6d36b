//! Every query of every panel and rule, asked of the database.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::Value;

use super::empty;
use super::stage::Stage;
use crate::dashboards::{self, Catalog, Kind, Place, metrics_of, resolve};
use crate::repo;

/// The server that *MCP server* is drawn for: the one with most to see.
const SERVER: &str = "shop-search";
/// Those of the workload: there may be others on the host.
const SERVERS: &str = "shop-.*";
/// Points on each line.
const POINTS: u64 = 120;

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) labels: BTreeMap<String, String>,
    /// Unix time in seconds, and the value.
    pub(super) points: Vec<(f64, f64)>,
}

/// What an answer is worth.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    Answered(Vec<Series>),
    /// The agent has no series of these metrics at all.
    NotFed(Vec<String>),
    /// It is a condition that did not hold; what it compares is there.
    NothingToTell,
    /// It has no answer, for this reason, and need not have one.
    Expected(&'static str),
    Wrong(String),
}

/// All answers, by query as Grafana has it.
#[derive(Debug)]
pub(super) struct Answers(BTreeMap<String, Verdict>);

impl Answers {
    /// Asks for the last `seconds`.
    pub(super) fn ask(stage: &Stage, catalog: &Catalog, seconds: u64) -> Result<Self> {
        let names = stage.ask("label/__name__/values", &[])?;
        let fed: BTreeSet<String> = names
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| Some(name.as_str()?.to_owned()))
            .collect();
        let missing = |query: &str| -> Vec<String> {
            let named = metrics_of(query, catalog);
            named.into_iter().filter(|name| !fed.contains(name)).collect()
        };
        let range = format!("{seconds}s");
        let mut all = BTreeMap::new();
        for dashboard in dashboards::all(catalog)? {
            let server = if dashboard.uid == "mcp-server" { SERVER } else { SERVERS };
            let place = Place {
                server,
                rate: "30s",
                range: &range,
            };
            for panel in dashboard.panels() {
                for query in &panel.queries {
                    let share = panel.unit == "percentunit" && panel.max == Some(1.0);
                    let now = panel.kind != Kind::Series;
                    let put = |text: &str| ask(stage, &resolve(text, place), now, seconds);
                    all.insert(query.expr.clone(), judge(put, &query.expr, missing(&query.expr), share));
                }
            }
        }
        let rules = fs::read_to_string(repo::root().join("dashboards/alerts.yml"))
            .context("cannot read dashboards/alerts.yml")?;
        for (name, expression) in recorded(&rules) {
            // Rules of rules: what they record is put in its place.
            let expression = recorded(&rules).fold(expression.to_owned(), |text, (name, inner)| {
                text.replace(name, &format!("({inner})"))
            });
            let put = |text: &str| ask(stage, text, true, seconds);
            all.insert(
                format!("{name}: {expression}"),
                judge(put, &expression, missing(&expression), false),
            );
        }
        Ok(Self(all))
    }

    pub(super) fn verdicts(&self) -> impl Iterator<Item = (&String, &Verdict)> {
        self.0.iter()
    }

    pub(super) fn of(&self, query: &str) -> Option<&Verdict> {
        self.0.get(query)
    }
}

/// Names and expressions of the recording rules, and expressions of the alerts under their names.
fn recorded(rules: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut name = "";
    rules.lines().filter_map(move |line| {
        let line = line.trim_start().trim_start_matches("- ");
        if let Some(is) = line.strip_prefix("record: ").or_else(|| line.strip_prefix("alert: ")) {
            name = is;
        }
        Some((name, line.strip_prefix("expr: ")?))
    })
}

fn ask(stage: &Stage, query: &str, now: bool, seconds: u64) -> Result<Vec<Series>> {
    let data = if now {
        stage.ask("query", &[("query", query)])?
    } else {
        let step = (seconds / POINTS).max(1);
        // Whole steps: lines of one panel share their instants.
        let end = unix_now() / step * step;
        let (start, end, step) = ((end - seconds).to_string(), end.to_string(), format!("{step}s"));
        stage.ask(
            "query_range",
            &[("query", query), ("start", &start), ("end", &end), ("step", &step)],
        )?
    };
    Ok(data["result"].as_array().into_iter().flatten().map(series).collect())
}

fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn series(answer: &Value) -> Series {
    let labels = answer["metric"].as_object().into_iter().flatten();
    let one = answer.get("value").into_iter();
    let points = answer["values"].as_array().into_iter().flatten().chain(one);
    Series {
        labels: labels
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        points: points
            .filter_map(|point| Some((point[0].as_f64()?, point[1].as_str()?.parse().ok()?)))
            .filter(|(_, value): &(f64, f64)| value.is_finite())
            .collect(),
    }
}

/// What the answer to `query` is worth; `put` asks.
fn judge(put: impl Fn(&str) -> Result<Vec<Series>>, query: &str, missing: Vec<String>, share: bool) -> Verdict {
    let series: Vec<_> = match put(query) {
        Ok(series) => series.into_iter().filter(|series| !series.points.is_empty()).collect(),
        Err(error) => return Verdict::Wrong(format!("{error:#}")),
    };
    let values = series.iter().flat_map(|series| &series.points).map(|(_, value)| *value);
    if let Some(bad) = values.clone().find(|value| *value < 0.0 || (share && *value > 1.001)) {
        return Verdict::Wrong(format!("{bad} is not plausible"));
    }
    if !series.is_empty() {
        return Verdict::Answered(series);
    }
    if let Some(why) = empty::reason(query) {
        return Verdict::Expected(why);
    }
    if !missing.is_empty() {
        return Verdict::NotFed(missing);
    }
    let compared = empty::without_comparisons(query);
    if compared != query && put(&compared).is_ok_and(|series| series.iter().any(|one| !one.points.is_empty())) {
        return Verdict::NothingToTell;
    }
    Verdict::Wrong("no answer, though its metrics are there".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: f64) -> Result<Vec<Series>> {
        Ok(vec![Series {
            labels: BTreeMap::new(),
            points: vec![(0.0, value)],
        }])
    }

    #[test]
    fn what_is_missing_is_told_from_what_is_wrong() {
        let always = |value| move |_: &str| one(value);
        let never = |_: &str| Ok(Vec::new());
        let uncompared = |text: &str| if text == "a" { one(1.0) } else { Ok(Vec::new()) };
        let a = || vec!["a".to_owned()];
        assert!(matches!(
            judge(always(1.0), "a", Vec::new(), false),
            Verdict::Answered(_)
        ));
        assert!(matches!(judge(always(-1.0), "a", Vec::new(), false), Verdict::Wrong(_)));
        assert!(matches!(judge(always(7.0), "a", Vec::new(), true), Verdict::Wrong(_)));
        assert!(matches!(judge(never, "a", Vec::new(), false), Verdict::Wrong(_)));
        assert!(matches!(
            judge(uncompared, "a > 0", Vec::new(), false),
            Verdict::NothingToTell
        ));
        assert!(matches!(
            judge(uncompared, "b > 0", Vec::new(), false),
            Verdict::Wrong(_)
        ));
        assert!(matches!(judge(never, "a", a(), false), Verdict::NotFed(_)));
        assert!(matches!(
            judge(never, "mcpsonar_agent_series_overflows_total", a(), false),
            Verdict::Expected(_)
        ));
    }

    #[test]
    fn expressions_go_by_the_name_above_them() {
        let rules = "- record: a:b:c\n  expr: up\n- alert: Down\n  expr: a:b:c == 0\n";
        assert_eq!(
            recorded(rules).collect::<Vec<_>>(),
            [("a:b:c", "up"), ("Down", "a:b:c == 0")]
        );
    }
}
