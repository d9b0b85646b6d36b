//! Queries as they are written here, and as a data source gets them.

use anyhow::{Result, bail};

use super::Catalog;

/// `@` among the matchers of a selector: the agents that the variables choose.
const AGENTS: &str = r#"job=~"$job",instance=~"$instance""#;
/// Labels that the scraper adds, or that a histogram has.
const GIVEN_LABELS: [&str; 3] = ["job", "instance", "le"];
/// Metrics that the scraper makes.
const GIVEN_METRICS: [&str; 3] = ["up", "scrape_duration_seconds", "scrape_samples_scraped"];

/// A query in full: `@` is the choice of agents, `[#]` the range that fits the picture's resolution.
pub(crate) fn query(text: &str) -> String {
    text.replace('@', AGENTS).replace("[#]", "[$__rate_interval]")
}

/// What Grafana would put for its variables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// Whose metrics: the value of `$server`, a regular expression.
    pub(crate) server: &'a str,
    /// Range for rates, such as `30s`.
    pub(crate) rate: &'a str,
    /// What is shown in all, such as `5m`.
    pub(crate) range: &'a str,
}

/// A query with its variables filled in, for data sources without Grafana.
pub(crate) fn resolve(query: &str, place: Place<'_>) -> String {
    query
        .replace("$__rate_interval", place.rate)
        .replace("$__range", place.range)
        .replace("$job", ".*")
        .replace("$instance", ".*")
        .replace("$server", place.server)
}

/// The samples of the agent's instruments that `query` names.
pub(crate) fn metrics_of(query: &str, catalog: &Catalog) -> Vec<String> {
    let mut rest = query;
    let mut metrics = Vec::new();
    while let Some((word, after)) = next_word(rest) {
        rest = after;
        if catalog.instrument(word).is_some() {
            metrics.push(word.to_owned());
        }
    }
    metrics
}

/// Whether every metric of `query` is an instrument of the agent and every matcher and grouping
/// is by a label that it has, with values that it can have.
pub(crate) fn check(query: &str, catalog: &Catalog) -> Result<()> {
    let mut rest = query;
    let mut labels: Vec<&str> = Vec::new();
    let mut groupings: Vec<&str> = Vec::new();
    while let Some((word, after)) = next_word(rest) {
        rest = after;
        let follows = after.trim_start();
        if matches!(
            word,
            "by" | "without" | "on" | "ignoring" | "group_left" | "group_right"
        ) {
            if let Some((list, after)) = follows.strip_prefix('(').and_then(|list| list.split_once(')')) {
                groupings.extend(list.split(',').map(str::trim).filter(|label| !label.is_empty()));
                rest = after;
            }
            continue;
        }
        if follows.starts_with('(') || is_keyword(word) {
            continue;
        }
        if GIVEN_METRICS.contains(&word) {
            labels.extend(GIVEN_LABELS);
        } else if let Some(instrument) = catalog.instrument(word) {
            labels.extend(instrument.labels.keys().map(String::as_str));
            labels.extend(GIVEN_LABELS);
        } else if word.contains(':') {
            // A recording rule: rules.rs knows which there are.
            continue;
        } else {
            bail!("{word}: the agent has no such metric, in {query}");
        }
        if let Some(matchers) = after.strip_prefix('{') {
            let (matchers, after) = matchers.split_once('}').unwrap_or((matchers, ""));
            rest = after;
            for matcher in matchers.strip_suffix('"').unwrap_or(matchers).split("\",") {
                check_matcher(matcher, word, query, catalog)?;
            }
        }
    }
    for label in groupings {
        if !labels.is_empty() && !labels.contains(&label) {
            bail!("grouped by {label}, which none of its metrics has: {query}");
        }
    }
    Ok(())
}

fn check_matcher(matcher: &str, metric: &str, query: &str, catalog: &Catalog) -> Result<()> {
    let Some((label, value)) = matcher.split_once('"') else {
        bail!("no value in the matcher {matcher:?} of {query}");
    };
    let label = label.trim_end_matches(['=', '~', '!']);
    if GIVEN_LABELS.contains(&label) {
        return Ok(());
    }
    let Some(values) = catalog
        .instrument(metric)
        .and_then(|instrument| instrument.labels.get(label))
    else {
        bail!("{metric} has no label {label}: {query}");
    };
    let chosen = value
        .split('|')
        .filter(|value| !value.is_empty() && !value.contains(['$', '.', '*', '+']));
    for value in chosen {
        if values
            .as_ref()
            .is_some_and(|values| !values.iter().any(|known| known == value))
        {
            bail!("{label} of {metric} is never {value}: {query}");
        }
        if label == "mcpsonar_flag_code" {
            catalog.flag(value)?;
        }
    }
    Ok(())
}

/// The next name outside of strings and ranges, and what follows it.
fn next_word(text: &str) -> Option<(&str, &str)> {
    let mut rest = text;
    loop {
        let first = rest.chars().next()?;
        if first == '"' {
            rest = rest[1..].split_once('"')?.1;
        } else if first == '[' {
            rest = rest.split_once(']')?.1;
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
            return Some(rest.split_at(end.unwrap_or(rest.len())));
        } else if first.is_ascii_digit() {
            // A number, perhaps with a unit or an exponent.
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
}

fn is_keyword(word: &str) -> bool {
    matches!(
        word,
        "and" | "or" | "unless" | "bool" | "offset" | "sum" | "max" | "min" | "avg" | "count" | "topk"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_agent_does_not_have_is_found() {
        let catalog = Catalog::read().unwrap();
        for good in [
            r#"sum by (server) (rate(mcp_requests_total{status="ok",job=~"$job"}[5m])) > 1e-3"#,
            r#"mcpsonar_flags_active{mcpsonar_flag_code=~"hung|orphaned"} offset 5m"#,
            "up == 0 or time() - 3",
        ] {
            check(good, &catalog).unwrap();
        }
        for bad in [
            "rate(mcp_requests[5m])",
            "mcp_requests_total_bucket",
            "rate(mcp_request_duration_seconds[5m])",
            r#"mcp_requests_total{tool="x"}"#,
            r#"mcp_requests_total{status="splendid"}"#,
            r#"mcpsonar_flags_active{mcpsonar_flag_code="tired"}"#,
            "sum by (tool) (mcp_requests_total)",
        ] {
            assert!(check(bad, &catalog).is_err(), "{bad}");
        }
    }

    #[test]
    fn variables_are_filled_in() {
        let place = Place {
            server: "files",
            rate: "30s",
            range: "5m",
        };
        assert_eq!(
            resolve(&query(r#"a{@,server=~"$server"}[#] b[$__range]"#), place),
            r#"a{job=~".*",instance=~".*",server=~"files"}[30s] b[5m]"#
        );
    }

    #[test]
    fn metrics_are_told_from_labels() {
        let query = r#"sum by (mcpsonar_part) (rate(mcpsonar_call_part_duration_seconds_sum{mcpsonar_part="server"}[5m])) / count(process_uptime_seconds) > mcpsonar_streams"#;
        assert_eq!(
            metrics_of(query, &Catalog::read().unwrap()),
            [
                "mcpsonar_call_part_duration_seconds_sum",
                "process_uptime_seconds",
                "mcpsonar_streams"
            ]
        );
    }
}
