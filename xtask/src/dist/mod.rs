//! `cargo xtask dist`: what is shipped. One tree of files is staged, and the distributions' own tools
//! make the packages from it.

mod cross;
mod emulate;
mod install;
mod packages;
mod sbom;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use self::cross::Cross;
pub(crate) use self::emulate::{Args as EmulateArgs, main as emulate_main};
use crate::{build, repo, sh};

/// The C library becomes a part of the program.
const STATIC: &str = "-C target-feature=+crt-static";

/// Builds what is shipped into target/dist (target/dist-aarch64 for another architecture): a static binary, .deb, .rpm, checksums, bill of materials
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to build for, in place of this machine's architecture
    #[arg(long, value_enum)]
    arch: Option<Arch>,
}

/// What can be built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arch {
    #[value(name = "x86_64")]
    X86,
    #[value(name = "aarch64")]
    Arm,
}

impl Arch {
    /// This machine's.
    fn here() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::X86),
            "aarch64" => Ok(Self::Arm),
            other => bail!("mcpsonar knows x86_64 and aarch64, and this machine is {other}"),
        }
    }

    /// Rust's, rpm's and the kernel's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }

    /// Debian's name.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    /// glibc, linked statically: its resolver needs no plugins from 2.34 on, and the standard library for
    /// musl cannot be had from Debian.
    pub(crate) fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.name())
    }
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let here = Arch::here()?;
    let arch = args.arch.unwrap_or(here);
    let cross = (arch != here).then(|| Cross::prepare(arch)).transpose()?;
    let folder = if arch == here {
        "dist".to_owned()
    } else {
        format!("dist-{}", arch.name())
    };
    let to = repo::target().join(folder);
    fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
    let binary = binary(arch, cross.as_ref(), &to)?;
    let pages = if arch == here {
        binary.clone()
    } else {
        repo::release("mcpsonar")
    };
    let mut made = packages(arch, &binary, &pages, &to)?;
    made.push(sbom::write(arch, &to)?);
    made.push(binary);
    checksums(&to, &made)
}

/// Makes the packages of this machine's ordinary release build and tries them out: all that can be said of
/// them without a second, static build.
pub(crate) fn check() -> Result<()> {
    let to = repo::target().join("dist-tree/check");
    fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
    let binary = repo::release("mcpsonar");
    packages(Arch::here()?, &binary, &binary, &to).map(|_| ())
}

/// A .deb of this machine's ordinary release build.
pub(crate) fn deb_of_release() -> Result<PathBuf> {
    let to = repo::target().join("dist-tree/check");
    fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
    let binary = repo::release("mcpsonar");
    packages::deb(
        Arch::here()?,
        &tree::stage(&binary, &binary, tree::Family::Debian)?,
        &to,
    )
}

fn packages(arch: Arch, binary: &Path, pages: &Path, to: &Path) -> Result<Vec<PathBuf>> {
    let deb = packages::deb(arch, &tree::stage(binary, pages, tree::Family::Debian)?, to)?;
    if arch == Arch::here()? && sh::is_root() {
        install::try_out(&deb)?;
    } else {
        sh::say("the .deb was not tried out: that takes root and its own architecture");
    }
    let rpm = packages::rpm(arch, &tree::stage(binary, pages, tree::Family::Red)?, to)?;
    Ok(vec![deb, rpm])
}

/// Builds the static binary and leaves it, without its debugging symbols, in `to`.
fn binary(arch: Arch, cross: Option<&Cross>, to: &Path) -> Result<PathBuf> {
    let target = arch.target();
    build::ebpf_for(arch.name())?;
    sh::say(format!("building the static agent for {target}"));
    let mut cargo = match cross {
        Some(cross) => cross.cargo(STATIC),
        None => {
            let mut cargo = sh::cargo();
            cargo.env("RUSTFLAGS", STATIC);
            cargo
        }
    };
    // The target is named although it may be this machine's: build scripts and macros stay dynamic so.
    cargo.args([
        "build",
        "--quiet",
        "--locked",
        "--release",
        "-p",
        "mcpsonar",
        "--target",
        &target,
    ]);
    sh::run(&mut cargo).context("the static agent does not build")?;
    let built = repo::target().join(&target).join("release/mcpsonar");
    let binary = to.join("mcpsonar");
    let strip = cross.map_or_else(|| "strip".to_owned(), |cross| cross.tool("strip"));
    sh::run(sh::cmd(strip).arg("--strip-debug").arg("-o").arg(&binary).arg(&built))?;
    let head = sh::read(sh::cmd("readelf").arg("--program-headers").arg(&binary))?;
    if head.contains("INTERP") {
        bail!("{} is not static: it asks for a loader", binary.display());
    }
    Ok(binary)
}

/// SHA256SUMS, as `sha256sum --check` reads it.
fn checksums(folder: &Path, files: &[PathBuf]) -> Result<()> {
    let names = files.iter().filter_map(|file| file.file_name());
    let sums = sh::read(sh::cmd("sha256sum").current_dir(folder).args(names))?;
    fs::write(folder.join("SHA256SUMS"), &sums).context("cannot write SHA256SUMS")?;
    sh::say(format!("in {}:", folder.display()));
    for file in files {
        let size = file.metadata().map_or(0, |about| about.len());
        eprintln!(
            "    {:<40}{:>8} KiB",
            file.file_name().unwrap_or_default().to_string_lossy(),
            size / 1024
        );
    }
    Ok(())
}
