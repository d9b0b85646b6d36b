//! Packages of other releases of Debian, without touching this machine's own apt configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::mirrors;
use crate::sh;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An apt of its own: lists, cache and configuration are under its home.
pub(crate) struct Release {
    home: PathBuf,
    config: PathBuf,
}

impl Release {
    /// One that knows the packages of these suites, and has this folder to itself.
    pub(crate) fn open(home: PathBuf, suites: &[&str]) -> Result<Self> {
        ensure!(
            Path::new(KEYRING).exists(),
            "{KEYRING} is missing: install the package debian-archive-keyring"
        );
        for part in ["none", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(home.join(part)).with_context(|| format!("cannot make {}", home.display()))?;
        }
        let (main, security) = mirrors::of_this_machine()?;
        let lines: String = suites
            .iter()
            .map(|suite| {
                let mirror = if suite.ends_with("-security") { &security } else { &main };
                format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n")
            })
            .collect();
        fs::write(home.join("sources.list"), lines)?;
        let at = home.display();
        let config = home.join("apt.conf");
        fs::write(
            &config,
            format!(
                "Dir::Etc::sourcelist \"{at}/sources.list\"; Dir::Etc::sourceparts \"{at}/none\";\n\
                 Dir::Etc::preferencesparts \"{at}/none\"; Dir::State::lists \"{at}/lists\";\n\
                 Dir::Cache \"{at}/cache\"; Acquire::Languages \"none\";\n\
                 Acquire::Check-Valid-Until \"false\"; APT::Sandbox::User \"root\";\n"
            ),
        )?;
        let release = Self { home, config };
        // One release that cannot be had (too old, too new) must not keep the others from being read.
        if let Err(error) = sh::read(release.command("apt-get").args(["update", "--quiet=2"])) {
            eprintln!("    {error:#}");
        }
        Ok(release)
    }

    /// Its folder.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// One of apt's programs, on these suites.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = sh::cmd(program);
        command.env("APT_CONFIG", &self.config);
        command
    }

    /// Unpacks a package into `folder`, and does not install it.
    pub(crate) fn unpack(&self, package: &str, folder: &Path) -> Result<()> {
        super::unpack_by(self.command("apt-get"), package, folder)
    }

    /// Removes its folder.
    pub(crate) fn close(self) -> Result<()> {
        fs::remove_dir_all(&self.home).with_context(|| format!("cannot clear {}", self.home.display()))
    }
}
