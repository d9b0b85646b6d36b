//! `cargo xtask build`: the eBPF programs with their own compiler, then the agent that embeds them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::compiler::{Compiler, Linker};
use crate::{repo, setup, sh};

const TARGET: &str = "bpfel-unknown-none";

/// Builds the eBPF programs and the agent: target/{debug,release}/mcpsonar
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Optimised, as it is shipped
    #[arg(long)]
    release: bool,
    /// Only the eBPF programs: target/bpf/mcpsonar.bpf.o
    #[arg(long)]
    ebpf: bool,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    ebpf()?;
    if !args.ebpf {
        agent(args.release)?;
    }
    Ok(())
}

/// Builds the eBPF object and puts it where the agent's build looks for it.
pub(crate) fn ebpf() -> Result<()> {
    ebpf_for(std::env::consts::ARCH)
}

/// The same for kernels of architecture `arch`.
pub(crate) fn ebpf_for(arch: &str) -> Result<()> {
    let (compiler, linker) = setup::for_build()?;
    sh::say(format!(
        "building the eBPF programs ({compiler}, bpf-linker {})",
        linker.version
    ));
    let mut cargo = cargo(&compiler, &linker, arch, "build");
    sh::run(cargo.arg("--quiet")).context("the eBPF programs do not build")?;
    publish(arch)
}

/// Builds the agent around the eBPF object.
pub(crate) fn agent(release: bool) -> Result<()> {
    let profile = if release { "release" } else { "debug" };
    sh::say(format!("building the agent ({profile})"));
    let mut cargo = sh::cargo();
    cargo.args(["build", "--quiet", "-p", "mcpsonar"]);
    if release {
        cargo.arg("--release");
    }
    sh::run(&mut cargo).context("the agent does not build")?;
    sh::say(format!(
        "built {}",
        repo::target().join(profile).join("mcpsonar").display()
    ));
    Ok(())
}

/// Lints the eBPF programs with whatever their compiler has: clippy, else its own warnings.
pub(crate) fn lint_ebpf() -> Result<()> {
    let (compiler, linker) = setup::for_build()?;
    let verb = if compiler.has_clippy() { "clippy" } else { "check" };
    if verb == "check" {
        eprintln!("    note: {compiler} has no clippy, so only its own warnings are seen");
    }
    let mut cargo = cargo(&compiler, &linker, std::env::consts::ARCH, verb);
    cargo.args(["--quiet", "-Z", "warnings", "--config", "build.warnings=\"deny\""]);
    sh::run(&mut cargo).context("the eBPF programs have warnings")
}

/// Builds the programs that the tests, the demonstration and the benchmarks talk to.
pub(crate) fn fixtures() -> Result<()> {
    sh::say("building the test programs (release)");
    sh::run(sh::cargo().args([
        "build",
        "--quiet",
        "--release",
        "-p",
        "mcpsonar-tests",
        "--features",
        "e2e",
        "--bins",
    ]))
    .context("the test programs do not build")
}

/// A cargo command that runs the end-to-end tests, all of them and however many fail.
pub(crate) fn end_to_end() -> Command {
    let mut cargo = sh::cargo();
    cargo.args([
        "test",
        "--quiet",
        "-p",
        "mcpsonar-tests",
        "--features",
        "e2e",
        "--release",
        "--no-fail-fast",
    ]);
    cargo
}

/// A cargo command on the eBPF package. The profile is given here and not in Cargo.toml, where it
/// is the agent's: the kernel's BTF needs debug information of every function, and core is built
/// along.
pub(crate) fn cargo(compiler: &Compiler, linker: &Linker, arch: &str, verb: &str) -> Command {
    let flags = [
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ];
    let mut cargo = compiler.cargo();
    cargo
        .current_dir(repo::root())
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &linker.path)
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "2")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .arg(verb)
        .args([
            "--release",
            "-p",
            "agent-ebpf",
            "--target",
            TARGET,
            "-Z",
            "build-std=core",
            "--target-dir",
        ])
        .arg(build_dir());
    cargo
}

fn build_dir() -> PathBuf {
    repo::target().join("bpf-build")
}

/// Copies the object only when its bytes changed, so that the agent is not built again for nothing.
fn publish(arch: &str) -> Result<()> {
    let from = build_dir().join(TARGET).join("release/agent-ebpf");
    let to = repo::bpf_object(arch);
    let new = std::fs::read(&from)
        .with_context(|| format!("cargo built the eBPF programs but left no {}", from.display()))?;
    if std::fs::read(&to).is_ok_and(|old| old == new) {
        sh::say(format!("{} is up to date ({} KiB)", to.display(), new.len() / 1024));
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::write(&to, &new).with_context(|| format!("cannot write {}", to.display()))?;
    sh::say(format!("wrote {} ({} KiB)", to.display(), new.len() / 1024));
    Ok(())
}
