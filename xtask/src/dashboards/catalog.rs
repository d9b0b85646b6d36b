//! What the agent offers: docs/catalog.json, which the agent prints and a test of its own keeps fresh.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::repo;

/// Every instrument, flag and key of the configuration.
#[derive(Debug, Deserialize)]
pub(crate) struct Catalog {
    pub(crate) instruments: Vec<Instrument>,
    pub(crate) flags: Vec<Flag>,
    pub(crate) config: Vec<Key>,
}

/// One instrument, as Prometheus sees it.
#[derive(Debug, Deserialize)]
pub(crate) struct Instrument {
    /// With `_total` for counters.
    pub(crate) prometheus: String,
    /// Of a histogram: the upper bounds of its buckets, in its unit.
    pub(crate) bounds: Option<Vec<f64>>,
    /// Labels, with their values where those are closed.
    pub(crate) labels: BTreeMap<String, Option<Vec<String>>>,
}

/// One flag.
#[derive(Debug, Deserialize)]
pub(crate) struct Flag {
    pub(crate) code: String,
    pub(crate) family: String,
    pub(crate) title: String,
    pub(crate) advice: String,
    /// From here on it is bad, in its unit.
    pub(crate) warn: f64,
    /// From here on it is critical.
    pub(crate) critical: Option<f64>,
}

/// One key of the configuration.
#[derive(Debug, Deserialize)]
pub(crate) struct Key {
    pub(crate) key: String,
    pub(crate) default: String,
    pub(crate) allowed: String,
    pub(crate) about: String,
}

impl Catalog {
    /// The one in the repository.
    pub(crate) fn read() -> Result<Self> {
        let path = repo::root().join("docs/catalog.json");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).context("docs/catalog.json is not what `cargo xtask docs` writes: run it again")
    }

    /// The instrument that has samples of this name.
    pub(crate) fn instrument(&self, sample: &str) -> Option<&Instrument> {
        self.instruments.iter().find(|instrument| {
            let rest = sample.strip_prefix(instrument.prometheus.as_str());
            matches!(
                (rest, &instrument.bounds),
                (Some(""), None) | (Some("_bucket" | "_sum" | "_count"), Some(_))
            )
        })
    }

    /// The flag of this code.
    pub(crate) fn flag(&self, code: &str) -> Result<&Flag> {
        let found = self.flags.iter().find(|flag| flag.code == code);
        found.with_context(|| format!("there is no flag {code}: did its code change?"))
    }

    /// The codes of a family of flags, as a regular expression.
    pub(crate) fn codes(&self, family: &str) -> String {
        let codes: Vec<_> = self.family(family).map(|flag| flag.code.as_str()).collect();
        codes.join("|")
    }

    /// The flags of a family with what to do about each, as a Markdown table.
    pub(crate) fn advice(&self, family: &str) -> String {
        let mut table = String::from("| flag | what to do |\n| --- | --- |\n");
        for Flag {
            code, title, advice, ..
        } in self.family(family)
        {
            // Writing to a string does not fail.
            writeln!(table, "| **{code}** {title} | {advice} |").unwrap_or_default();
        }
        table
    }

    fn family(&self, family: &str) -> impl Iterator<Item = &Flag> {
        self.flags.iter().filter(move |flag| flag.family == family)
    }

    /// The bucket of `histogram` (its name in Prometheus) that ends at the threshold of a flag in
    /// milliseconds, as the value of its label `le`.
    pub(crate) fn bucket(&self, histogram: &str, code: &str) -> Result<String> {
        let target = self.flag(code)?.warn / 1e3;
        let bounds = self
            .instruments
            .iter()
            .find(|instrument| instrument.prometheus == histogram);
        let bounds = bounds.and_then(|instrument| instrument.bounds.as_ref());
        let bounds = bounds.with_context(|| format!("there is no histogram {histogram}"))?;
        let bound = bounds.iter().find(|bound| (**bound - target).abs() < 1e-9);
        let bound = bound
            .with_context(|| format!("{histogram} has no bucket that ends at {target} s, the target of {code}"))?;
        Ok(bound.to_string())
    }
}
