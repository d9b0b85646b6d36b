//! Debian's packages.

use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::sh;

/// Whether the package lists were brought up to date in this run, and if not, why.
static UPDATED: OnceLock<Result<(), String>> = OnceLock::new();

/// Installs `packages`, without what they merely recommend.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if sh::which("apt-get").is_none() {
        bail!(
            "this needs the Debian packages {names} (or what your system calls them) and there is no apt-get here: install them by hand, then run this again"
        );
    }
    if !sh::is_root() {
        bail!(
            "the Debian packages {names} are missing and only root may install them: run `sudo apt-get install --no-install-recommends {names}`, then run this again"
        );
    }
    if !packages.iter().all(|package| has(package)) {
        update()?;
    }
    sh::say(format!("installing the Debian packages {names}"));
    sh::run(
        sh::cmd("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
            .args(packages),
    )
    .with_context(|| format!("cannot install {names}: if the package lists are old, `apt-get update` may help"))
}

/// Whether the package lists of this machine name `package` with a version to install.
pub(crate) fn has(package: &str) -> bool {
    sh::ask(sh::cmd("apt-cache").args(["policy", package])).is_some_and(|text| {
        text.lines()
            .any(|l| l.trim().starts_with("Candidate: ") && !l.contains("(none)"))
    })
}

/// Brings the package lists up to date, once in a run.
pub(crate) fn update() -> Result<()> {
    let done = UPDATED.get_or_init(|| {
        sh::say("bringing the package lists up to date");
        sh::run(sh::cmd("apt-get").args(["update", "--quiet=2"])).map_err(|e| format!("{e:#}"))
    });
    done.clone().map_err(anyhow::Error::msg)
}
