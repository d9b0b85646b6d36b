//! The page of the documentation about metrics, from the table.

use std::fmt::Write as _;

use super::{
    instrument::{Attribute, Instrument, Kind, Origin, Values, label_name},
    limits,
    table::TABLE,
};

const INTRODUCTION: &str = "\
# Metrics

<!-- Generated from agent/src/metrics/table.rs by `cargo xtask docs`; change that file, not this one. -->

The agent offers the same instruments to a collector, over OTLP, and to Prometheus, which fetches them
from <http://127.0.0.1:9464/metrics>. Prometheus gets OpenMetrics 1.0, where it asks for that, with the trace
and span ids of calls as exemplars, else its text format 0.0.4. In its names `_` stands for each dot, and the
unit is a suffix.

- In OTLP the attributes marked with ¹ say who is measured, and are attributes of the resource. In Prometheus
  they are labels like all others.
- Sums and histograms are cumulative; over OTLP they are deltas where that is asked for. Histograms are
  exponential over OTLP where that is asked for.
- Names of methods, tools and servers come from the wire. An attribute has as many values for each service as
  its row says, of at most 200 bytes each; further ones are `_OTHER`. An instrument has as many series as its
  section says; further measurements share series with `_OTHER` in place of every text that others choose, and
  `mcpsonar.agent.series.overflows` counts them. What has been idle for an hour makes room.
- What is not known has no series, and an attribute that does not apply is absent.
";

/// The whole page, in Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let sections = [
        (
            Origin::Conventions,
            "By convention",
            "Names, units, kinds, buckets and attributes after the semantic conventions of OpenTelemetry: \
             `mcp.*` of open-telemetry/semantic-conventions-genai, `process.*` of the general ones. \
             A call has one measurement for each of its ends that was seen. Not measured are notifications, and calls \
             that go on when the observation ends; versions of HTTP and of JSON-RPC are not told.",
        ),
        (Origin::Own, "Our own", "What no convention covers."),
        (
            Origin::Operators,
            "Operators' names",
            "Names that operators of MCP systems use already. Only for Prometheus: over OTLP they would repeat the above.",
        ),
    ];
    for (origin, title, text) in sections {
        write!(page, "\n## {title}\n\n{text}\n").unwrap_or_default();
        for instrument in TABLE.iter().filter(|instrument| instrument.origin == origin) {
            section(&mut page, instrument).unwrap_or_default();
        }
    }
    page
}

fn section(page: &mut String, instrument: &Instrument) -> std::fmt::Result {
    let Instrument {
        name,
        kind,
        unit,
        description,
        attributes,
        series,
        ..
    } = instrument;
    write!(page, "\n### {name}\n\n{description}\n\n")?;
    write!(page, "{} in `{unit}`, at most {series} series", kind.name())?;
    if instrument.origin != Origin::Operators {
        let total = if *kind == Kind::Counter { "_total" } else { "" };
        write!(page, "; in Prometheus `{}{total}`", instrument.prometheus_name())?;
    }
    page.push_str(".\n");
    if let Kind::Histogram(bounds) = kind {
        let bounds: Vec<String> = bounds.iter().map(f64::to_string).collect();
        writeln!(page, "Buckets up to {}.", bounds.join(", "))?;
    }
    if !attributes.is_empty() {
        page.push_str("\n| attribute | values |\n| --- | --- |\n");
        for attribute in *attributes {
            row(page, attribute)?;
        }
    }
    Ok(())
}

fn row(page: &mut String, attribute: &Attribute) -> std::fmt::Result {
    let mark = if attribute.identifies { "¹" } else { "" };
    let label = label_name(attribute.name);
    let label = if label == attribute.name {
        String::new()
    } else {
        format!(", `{label}`")
    };
    write!(page, "| `{}`{mark}{label} | ", attribute.name)?;
    match attribute.values {
        Values::Closed(values) => {
            let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            write!(page, "{}", values.join(", "))?;
        }
        Values::Service => write!(page, "text, {} different ones in all", limits::SERVICES)?,
        Values::Method => write!(
            page,
            "text, those that the protocol knows and {} others",
            limits::METHODS
        )?,
        Values::Open(distinct) => write!(page, "text, {distinct} different ones")?,
        Values::Number(distinct) => write!(page, "number, {distinct} different ones")?,
    }
    page.push_str(" |\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_repository_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            there == page(),
            "docs/metrics.md is stale: run `cargo xtask docs` and commit what it writes"
        );
    }
}
