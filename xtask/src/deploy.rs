//! `cargo xtask deploy`: what is made of the files in deploy/ from others.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, ensure};

use crate::dashboards::Catalog;
use crate::{apt, repo, sh};

/// Writes what in deploy/ is made from code: the example configuration
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Writes nothing; fails when a file is not what would be written
    #[arg(long)]
    check: bool,
}

/// The example configuration, as packages install it.
pub(crate) const EXAMPLE: &str = "deploy/config.toml";

pub(crate) fn main(args: &Args) -> Result<()> {
    let text = example(&Catalog::read()?);
    let file = repo::root().join(EXAMPLE);
    if args.check {
        ensure!(
            fs::read_to_string(&file).unwrap_or_default() == text,
            "{EXAMPLE} is not what the configuration's keys say: run `cargo xtask deploy` and commit what it writes"
        );
    } else {
        fs::write(&file, text).with_context(|| format!("cannot write {EXAMPLE}"))?;
        sh::say(format!("{EXAMPLE} is written"));
    }
    Ok(())
}

/// How exposed systemd may find the unit, in tenths: 0 is best, 100 worst.
const EXPOSURE: u32 = 40;

/// Whether systemd understands the unit and finds it well fenced in.
pub(crate) fn check_unit() -> Result<()> {
    if sh::which("systemd-analyze").is_none() {
        apt::install(&["systemd"])?;
    }
    let mut analyze = sh::cmd("systemd-analyze");
    analyze
        .current_dir(repo::root())
        .args(["security", "--offline=true", "--no-pager"])
        .arg(format!("--threshold={EXPOSURE}"))
        .arg("deploy/systemd/mcpsonar.service");
    let report = sh::read(&mut analyze).context("deploy/systemd/mcpsonar.service is too exposed, or not understood")?;
    if let Some(verdict) = report.lines().rfind(|line| line.contains("exposure level")) {
        sh::say(verdict.trim_start_matches(|c: char| !c.is_ascii()).trim());
    }
    Ok(())
}

/// Every key with its default, all of them commented out: the file changes nothing until it is edited.
fn example(catalog: &Catalog) -> String {
    let mut text = String::from(
        "# Configuration of `mcpsonar agent`. All keys have their default here, and all are comments.\n\
         # `mcpsonar config check` names every mistake, `mcpsonar config show` every value and where it comes from.\n\
         # Made from the agent's keys by `cargo xtask deploy`.\n",
    );
    let mut table = "";
    for key in &catalog.config {
        let (of, name) = key.key.split_once('.').unwrap_or(("", &key.key));
        if of != table {
            table = of;
            // Writing to a string does not fail.
            write!(text, "\n[{table}]\n").unwrap_or_default();
        }
        let about = format!("{} ({})", key.about.trim_end_matches('.'), key.allowed);
        writeln!(text, "# {about}\n# {name} = {}", literal(&key.default)).unwrap_or_default();
    }
    text
}

/// A value as TOML has it: the agent takes its numbers and switches as such, everything else as text.
fn literal(value: &str) -> String {
    match value.parse::<f64>() {
        Ok(_) => value.to_owned(),
        Err(_) if matches!(value, "true" | "false") => value.to_owned(),
        Err(_) => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_repository_is_fresh() {
        main(&Args { check: true }).unwrap();
    }
}
