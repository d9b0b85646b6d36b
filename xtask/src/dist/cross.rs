//! Building for another architecture: a C compiler that targets it, and Rust's standard library for it, be it rustup's
//! or the one that Debian builds with its own compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Arch;
use crate::compiler::{DEBIAN_CARGO, DEBIAN_RUSTC};
use crate::{apt, repo, setup, sh};

/// Debian's package with the standard library of its newest compiler.
const LIBRARY: &str = "libstd-rust-web-dev";

/// What builds for another architecture.
#[derive(Debug)]
pub(super) struct Cross {
    arch: Arch,
    /// The folder with Debian's standard library; `None` where rustup has one.
    sysroot: Option<PathBuf>,
}

impl Cross {
    /// Finds what is needed, and as root on Debian gets what is missing.
    ///
    /// # Errors
    /// With a list of what is missing.
    pub(super) fn prepare(arch: Arch) -> Result<Self> {
        if !repo::release("mcpsonar").is_file() {
            bail!(
                "the manual pages come from this machine's own release build, which is not there: run `cargo xtask build --release` first"
            );
        }
        if sh::which(&tool(arch, "gcc")).is_none() {
            let name = arch.name().replace('_', "-");
            apt::install(&[
                &format!("gcc-{name}-linux-gnu"),
                &format!("libc6-dev-{}-cross", arch.debian()),
            ])?;
        }
        let sysroot = if has_rustup_library(arch) {
            None
        } else {
            Some(debian_library(arch)?)
        };
        Ok(Self { arch, sysroot })
    }

    /// A cargo that builds for it with these `flags` of the compiler.
    pub(super) fn cargo(&self, flags: &str) -> Command {
        let (target, gcc) = (self.arch.target(), tool(self.arch, "gcc"));
        let mut cargo = match &self.sysroot {
            None => sh::cargo(),
            Some(_) => {
                let mut cargo = sh::cmd(DEBIAN_CARGO);
                // What `cargo xtask` runs under is another toolchain's.
                cargo
                    .current_dir(repo::root())
                    .env_remove("RUSTUP_TOOLCHAIN")
                    .env("RUSTC", DEBIAN_RUSTC);
                cargo
            }
        };
        let sysroot = self
            .sysroot
            .iter()
            .map(|folder| format!(" --sysroot {}", folder.display()));
        cargo.env(
            "RUSTFLAGS",
            [flags.to_owned()].into_iter().chain(sysroot).collect::<String>(),
        );
        cargo.env(self.variable("LINKER"), &gcc);
        cargo.env(format!("CC_{}", target.replace('-', "_")), &gcc);
        cargo
    }

    /// Cargo's environment variable of this name for the target.
    pub(super) fn variable(&self, name: &str) -> String {
        let target = self.arch.target().to_uppercase().replace('-', "_");
        format!("CARGO_TARGET_{target}_{name}")
    }

    /// Its tool of this name.
    pub(super) fn tool(&self, name: &str) -> String {
        tool(self.arch, name)
    }
}

fn tool(arch: Arch, name: &str) -> String {
    format!("{}-linux-gnu-{name}", arch.name())
}

/// Whether the toolchain in use has the standard library for it (`rustup target add`).
fn has_rustup_library(arch: Arch) -> bool {
    let folder = sh::ask(sh::cmd("rustc").args(["--print", "target-libdir", "--target", &arch.target()]));
    folder.is_some_and(|folder| Path::new(folder.trim()).is_dir())
}

/// Debian's standard library for it, unpacked into the cache; the answer is the sysroot.
fn debian_library(arch: Arch) -> Result<PathBuf> {
    let missing = || {
        format!(
            "Rust's standard library for {} is missing: `rustup target add {}` gets it, or Debian's package {LIBRARY}:{}",
            arch.name(),
            arch.target(),
            arch.debian()
        )
    };
    // Of the same build as the compiler: nothing else fits.
    setup::for_build().with_context(missing)?;
    let version =
        sh::ask(sh::cmd("dpkg-query").args(["--show", "--showformat=${Version}", LIBRARY])).with_context(missing)?;
    let folder = repo::cache()
        .join("debian")
        .join(format!("rust-{}-{}", arch.debian(), version.trim()));
    let sysroot = folder.join("usr");
    if sysroot.join("lib/rustlib").join(arch.target()).is_dir() {
        return Ok(sysroot);
    }
    apt::know_architecture(arch.debian()).with_context(missing)?;
    apt::unpack(&format!("{LIBRARY}:{}={}", arch.debian(), version.trim()), &folder).with_context(missing)?;
    Ok(sysroot)
}
