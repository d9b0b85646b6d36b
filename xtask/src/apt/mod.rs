//! Debian's packages.

mod mirrors;
mod release;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::{repo, sh};

pub(crate) use release::Release;

/// Where a package has its programs.
const PROGRAMS: &str = "usr/bin";

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

/// A program: the system's, else the one in Debian's `package`, which is unpacked into the cache and
/// not installed: packages of servers would start them.
pub(crate) fn program(name: &str, package: &str) -> Result<PathBuf> {
    if let Some(found) = sh::which(name) {
        return Ok(found);
    }
    let folder = cache().join(package);
    let unpacked = folder.join(PROGRAMS).join(name);
    if unpacked.is_file() {
        return Ok(unpacked);
    }
    if sh::which("dpkg-deb").is_none() {
        bail!("there is neither a program {name} here nor a way to unpack Debian's package {package}");
    }
    if !has(package) {
        update()?;
    }
    unpack(package, &folder)?;
    Ok(unpacked)
}

/// VictoriaMetrics, of the first release of Debian in which it takes metrics over OTLP.
pub(crate) fn victoria_metrics() -> Result<PathBuf> {
    program_of("trixie", "victoria-metrics", "victoria-metrics")
}

/// A program as it is in another release of Debian, whichever there is here: that may be too old.
fn program_of(release: &str, name: &str, package: &str) -> Result<PathBuf> {
    let home = cache().join(release);
    let folder = home.join(package);
    let unpacked = folder.join(PROGRAMS).join(name);
    if !unpacked.is_file() {
        let of = Release::open(home.join("apt"), &[release])?;
        of.unpack(package, &folder)
            .with_context(|| format!("cannot get {package} of Debian's {release}"))?;
        of.close()?;
    }
    Ok(unpacked)
}

/// Where packages are unpacked.
fn cache() -> PathBuf {
    repo::cache().join("debian")
}

/// Makes the package lists those of another architecture as well.
pub(crate) fn know_architecture(debian: &str) -> Result<()> {
    let known = sh::read(sh::cmd("dpkg").arg("--print-foreign-architectures"))?;
    if known.lines().any(|line| line == debian) {
        return Ok(());
    }
    if !sh::is_root() {
        bail!("only root may add the package lists of {debian}: run `sudo dpkg --add-architecture {debian}`");
    }
    sh::run(sh::cmd("dpkg").args(["--add-architecture", debian]))?;
    sh::run(sh::cmd("apt-get").args(["update", "--quiet=2"]))
}

/// Unpacks a package, as apt-get names it, into `folder`, and does not install it.
pub(crate) fn unpack(package: &str, folder: &Path) -> Result<()> {
    unpack_by(sh::cmd("apt-get"), package, folder)
}

fn unpack_by(mut apt_get: Command, package: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    sh::say(format!(
        "unpacking the Debian package {package} into {}",
        folder.display()
    ));
    sh::run(apt_get.current_dir(folder).args(["download", "--quiet=2", package]))?;
    let archive = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|is| is == "deb"))
        .with_context(|| format!("apt-get downloaded no {package} into {}", folder.display()))?;
    sh::run(sh::cmd("dpkg-deb").arg("--extract").arg(&archive).arg(folder))?;
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))
}
