//! `cargo xtask setup`: installs what is missing, and only that.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::compiler::{self, Compiler};
use crate::{apt, dashboards, python, sh};

/// The linker of the eBPF programs.
const BPF_LINKER: &str = "0.13.0";
/// The checker of licences and sources.
const CARGO_DENY: &str = "0.20.2";
/// Long enough for a slow network, short enough not to look dead.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);

/// Installs what a build needs, or a test as well
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also what `cargo xtask test` needs: cargo-deny, and the virtual machine's programs
    #[arg(long)]
    test: bool,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let (compiler, linker) = for_build()?;
    sh::say(format!("eBPF compiler: {compiler}"));
    sh::say(format!(
        "eBPF linker: bpf-linker {} ({})",
        linker.version,
        linker.path.display()
    ));
    if args.test {
        for_test()?;
        for_vm()?;
        sh::say("cargo-deny and the virtual machine's programs are in place");
    }
    Ok(())
}

/// What `cargo xtask build` needs: a compiler and a linker for the eBPF programs that fit together.
pub(crate) fn for_build() -> Result<(Compiler, compiler::Linker)> {
    if let Some(pair) = pair() {
        return Ok(pair);
    }
    if compiler::compilers().is_empty() {
        install_compiler()?;
    }
    let mut last = None;
    for compiler in compiler::compilers() {
        match install_linker(&compiler) {
            Ok(()) => {
                return pair().context(
                    "bpf-linker was installed and is still not found: is cargo's bin folder what `cargo install` uses?",
                );
            }
            Err(error) => {
                eprintln!("    no linker for {compiler}: {error:#}");
                last = Some(error);
            }
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no compiler for the eBPF programs was found after installing one")))
}

/// What the checks of `cargo xtask test` need.
pub(crate) fn for_test() -> Result<()> {
    for (component, program) in [("rustfmt", "cargo-fmt"), ("clippy", "cargo-clippy")] {
        if sh::which(program).is_none() {
            sh::say(format!("adding rustup's component {component}"));
            sh::run_within(sh::cmd("rustup").args(["component", "add", component]), RUSTUP_LIMIT)
                .with_context(|| format!("install {program} by hand, then run this again"))?;
        }
    }
    if sh::which("cargo-deny").is_none() {
        sh::say(format!("installing cargo-deny {CARGO_DENY}: takes some minutes, once"));
        let package = format!("cargo-deny@{CARGO_DENY}");
        sh::run(compiler::clean("cargo").args(["install", "--locked", "--quiet", "--no-default-features", &package]))?;
    }
    dashboards::for_test()?;
    python::need()?;
    install_missing(&[
        // The SDK for TypeScript.
        ("node", "nodejs"),
        ("npm", "npm"),
        // The fuzzing engine.
        ("c++", "g++"),
        // Certificates of test servers are made when they are needed.
        ("openssl", "openssl"),
        // Network namespaces, and requests that are not MCP.
        ("ip", "iproute2"),
        ("curl", "curl"),
        // What containers are made with.
        ("bwrap", "bubblewrap"),
    ])
}

/// What asks for answers on real data, and what it asks about.
pub(crate) fn for_stage() -> Result<()> {
    install_missing(&[("curl", "curl"), ("python3", "python3")])
}

/// What the plotting library comes by.
pub(crate) fn for_pictures() -> Result<()> {
    install_missing(&[("npm", "npm")])
}

/// What a virtual machine needs.
pub(crate) fn for_vm() -> Result<()> {
    install_missing(&[
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("busybox", "busybox-static"),
        ("cpio", "cpio"),
    ])
}

/// Installs the packages of programs that are not there.
fn install_missing(wanted: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(program, _)| sh::which(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        apt::install(&missing)
    }
}

/// The best compiler for which the installed linker is good.
fn pair() -> Option<(Compiler, compiler::Linker)> {
    let linker = compiler::linker()?;
    let compiler = compiler::compilers()
        .into_iter()
        .find(|compiler| linker.fits(compiler))?;
    Some((compiler, linker))
}

fn install_compiler() -> Result<()> {
    if compiler::nightly_folder().is_some() {
        sh::say("adding the standard library's source to rustup's nightly");
        let mut rustup = sh::cmd("rustup");
        rustup.args(["component", "add", "rust-src", "--toolchain", compiler::NIGHTLY]);
        match sh::run_within(&mut rustup, RUSTUP_LIMIT) {
            Ok(()) => return Ok(()),
            Err(error) => eprintln!("    {error:#}; trying Debian's compiler instead"),
        }
    }
    apt::install(&["rustc-web", "cargo-web", "rust-web-src"]).context(
        "no compiler for the eBPF programs: either `rustup toolchain install nightly --component rust-src`, \
         or Debian's rustc-web, cargo-web and rust-web-src",
    )
}

/// Builds bpf-linker against the LLVM that `compiler` uses.
fn install_linker(compiler: &Compiler) -> Result<()> {
    let llvm = compiler.facts().llvm;
    let prefix = format!("/usr/lib/llvm-{llvm}");
    if !std::path::Path::new(&prefix).join("include/llvm-c").is_dir() {
        apt::install(&[&format!("llvm-{llvm}-dev"), &format!("libpolly-{llvm}-dev")])?;
    }
    if !std::path::Path::new(&prefix).is_dir() {
        bail!("LLVM {llvm} did not land in {prefix}: install its development files there");
    }
    sh::say(format!(
        "building bpf-linker {BPF_LINKER} with LLVM {llvm}: takes about 3 minutes, once"
    ));
    // Its build asks the first llvm-config on PATH, which may be of another LLVM, or not be there.
    let mut path = std::ffi::OsString::from(format!("{prefix}/bin:"));
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut cargo = compiler::clean("cargo");
    cargo
        .env("PATH", path)
        .env(format!("LLVM_SYS_{llvm}1_PREFIX"), &prefix)
        .env("RUSTFLAGS", format!("-L native={prefix}/lib"))
        .args(["install", "--locked", "--quiet", "--force", "--no-default-features"])
        .args([
            "--features",
            &format!("llvm-{llvm}"),
            &format!("bpf-linker@{BPF_LINKER}"),
        ]);
    sh::run(&mut cargo)
}
