//! `cargo xtask docs`: the pages of the documentation that are made from code.

use std::fs;

use anyhow::{Context, Result};

use crate::{repo, sh};

/// Writes the pages of docs/ that are generated from code
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Pages, and the agent's hidden command that prints each.
const PAGES: [(&str, &str); 3] = [
    ("docs/configuration.md", "configuration-page"),
    ("docs/metrics.md", "metrics-page"),
    ("docs/catalog.json", "catalog"),
];

pub(crate) fn main(_: &Args) -> Result<()> {
    for (path, command) in PAGES {
        let mut cargo = sh::cargo();
        cargo.args(["run", "--quiet", "-p", "mcpsonar", "--", command]);
        let page = sh::read(&mut cargo).with_context(|| format!("the agent prints {path}"))?;
        fs::write(repo::root().join(path), page).with_context(|| format!("cannot write {path}"))?;
        sh::say(format!("{path} is written"));
    }
    Ok(())
}
