//! What the agent offers, for programs: every instrument, flag and key of the configuration as JSON.
//! Dashboards, alert rules and the packages' example configuration are made from it.

use serde_json::{Value, json};

use crate::{
    config::Loaded,
    flags::{Definition, definitions},
    metrics::{Attribute, Instrument, Kind, TABLE, Values, label_name},
};

/// The text of `docs/catalog.json`.
#[must_use]
pub fn catalog() -> String {
    let catalog = json!({
        "instruments": TABLE.iter().map(instrument).collect::<Vec<_>>(),
        "flags": definitions().map(flag).collect::<Vec<_>>(),
        "config": Loaded::default().shown().map(|(key, default, _)| json!({
            "key": key.name,
            "default": default,
            "allowed": key.allowed,
            "about": key.about,
        })).collect::<Vec<_>>(),
    });
    // A space before each level: lines that differ are lines of a diff.
    format!("{catalog:#}\n")
}

fn instrument(instrument: &Instrument) -> Value {
    let name = instrument.prometheus_name();
    json!({
        "name": instrument.name,
        "prometheus": match instrument.kind {
            Kind::Counter => format!("{name}_total"),
            _ => name.into_owned(),
        },
        "kind": instrument.kind.name(),
        "unit": instrument.unit,
        "description": instrument.description,
        "bounds": match instrument.kind {
            Kind::Histogram(bounds) => json!(bounds),
            _ => Value::Null,
        },
        "labels": instrument.attributes.iter().map(label).collect::<serde_json::Map<_, _>>(),
    })
}

/// The values that a label can have, or none when they are open.
fn label(attribute: &Attribute) -> (String, Value) {
    let values = match attribute.values {
        Values::Closed(values) => json!(values),
        _ => Value::Null,
    };
    (label_name(attribute.name), values)
}

fn flag(definition: &Definition) -> Value {
    json!({
        "code": definition.code,
        "family": definition.family,
        "title": definition.title,
        "meaning": definition.meaning,
        "advice": definition.advice,
        "severity": definition.severity,
        "unit": definition.threshold.unit.to_string(),
        "warn": definition.threshold.warn,
        "critical": definition.threshold.critical,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_in_the_repository_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/catalog.json");
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            there == catalog(),
            "docs/catalog.json is stale: run `cargo xtask docs`, then `cargo xtask dashboards` and \
             `cargo xtask deploy`, and commit what they write"
        );
    }
}
