//! `cargo xtask dashboards`: Grafana's dashboards, made from the agent's table of instruments.

mod agent;
mod catalog;
#[cfg(test)]
mod checks;
mod model;
mod overview;
mod pressure;
mod promql;
mod rules;
mod server;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

pub(crate) use self::catalog::Catalog;
pub(crate) use self::model::{Dashboard, Kind, Panel};
pub(crate) use self::promql::{Place, metrics_of, resolve};
pub(crate) use self::rules::{for_test, test as test_rules};
use crate::{repo, sh};

/// Writes Grafana's dashboards from the table of instruments: dashboards/*.json
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Writes nothing; fails when a dashboard is not what would be written
    #[arg(long)]
    check: bool,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let catalog = Catalog::read()?;
    let mut stale = Vec::new();
    for dashboard in all(&catalog)? {
        for query in dashboard.panels().flat_map(|panel| &panel.queries) {
            promql::check(&query.expr, &catalog)?;
        }
        let path = format!("dashboards/{}.json", dashboard.uid);
        let file = repo::root().join(&path);
        let text = format!("{:#}\n", dashboard.json());
        if args.check {
            if fs::read_to_string(&file).unwrap_or_default() != text {
                stale.push(path);
            }
        } else {
            fs::write(&file, text).with_context(|| format!("cannot write {path}"))?;
            sh::say(format!("{path} is written"));
        }
    }
    ensure!(
        stale.is_empty(),
        "{} not what the table of instruments says: run `cargo xtask dashboards` and commit what it writes",
        stale.join(", ")
    );
    Ok(())
}

/// The dashboards' files in the repository.
pub(crate) fn files() -> Result<Vec<PathBuf>> {
    let catalog = Catalog::read()?;
    let uids = all(&catalog)?.into_iter().map(|dashboard| dashboard.uid);
    Ok(uids
        .map(|uid| repo::root().join(format!("dashboards/{uid}.json")))
        .collect())
}

/// The dashboards, in the order of their links.
///
/// # Errors
/// When one needs an instrument, a bucket or a flag that the agent does not have.
pub(crate) fn all(catalog: &Catalog) -> Result<Vec<Dashboard>> {
    Ok(vec![
        overview::dashboard(catalog)?,
        server::dashboard(catalog)?,
        pressure::dashboard(catalog)?,
        agent::dashboard(),
    ])
}
