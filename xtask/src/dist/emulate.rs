//! `cargo xtask emulate`: how far the aarch64 binary goes without such a machine. Emulation in user mode has this
//! machine's kernel below it, so what loads eBPF programs is left out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};

use super::{Arch, Cross, STATIC};
use crate::{apt, build, repo, sh};

const ARCH: Arch = Arch::Arm;

/// Runs the aarch64 binary and the tests of mcp-proto for aarch64 in user-mode emulation
///
/// The binary is that of `cargo xtask dist --arch aarch64`. It has to say of itself, and of recordings that it replays,
/// what this machine's own says, byte for byte. As that takes minutes, a second compiler and a second build of
/// everything, it is no part of `cargo xtask test` nor of CI.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Replay this recording, and make none, for which root is needed; may be repeated
    #[arg(long, value_name = "FILE")]
    recording: Vec<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    ensure!(
        Arch::here()? != ARCH,
        "this machine is {}: `cargo xtask test` runs everything here, without emulation",
        ARCH.name()
    );
    ensure!(
        !args.recording.is_empty() || sh::is_root(),
        "to make a recording takes root: run `sudo -E cargo xtask emulate`, or name one with --recording"
    );
    let folder = repo::target().join("emulate");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    build::agent(true)?;
    let recordings = if args.recording.is_empty() {
        build::fixtures()?;
        record(&folder)?
    } else {
        args.recording.clone()
    };
    let cross = Cross::prepare(ARCH)?;
    let emulator = emulator()?;
    let both = Both {
        emulated: super::binary(ARCH, Some(&cross), &folder)?,
        native: repo::release("mcpsonar"),
        emulator: &emulator,
    };
    sh::say("what the two binaries say");
    both.same("--version".as_ref(), &[])?;
    both.same("--help".as_ref(), &[])?;
    for recording in &recordings {
        both.same(recording, &["replay"])?;
        both.same(recording, &["replay", "--json"])?;
    }
    protocol(&cross, &emulator)
}

/// A program that runs those of the other architecture.
fn emulator() -> Result<PathBuf> {
    let names = ["", "-static"].map(|end| format!("qemu-{}{end}", ARCH.name()));
    let find = || names.iter().find_map(|name| sh::which(name));
    if find().is_none() {
        // Newer releases of Debian have no qemu-user-static any more: this one is static there.
        apt::install(&["qemu-user"])?;
    }
    find().with_context(|| format!("qemu-user was installed and {} is not on PATH", names[0]))
}

/// Records all that the fixture's client asks, over stdio and over HTTP, and cuts one recording off.
fn record(folder: &Path) -> Result<Vec<PathBuf>> {
    let [stdio, http, cut] = ["stdio.rec", "http.rec", "cut.rec"].map(|name| folder.join(name));
    let fixture = repo::release("mcp-fixture");
    let agent = |to: &Path| {
        let mut agent = sh::cmd(repo::release("mcpsonar"));
        agent.args(["record", "--output"]).arg(to).arg("--").arg(&fixture);
        agent
    };
    let client = ["--truth", "/dev/null", "--script", "all"];
    sh::say("recording a session over stdio and one over HTTP");
    let mut local = agent(&stdio);
    sh::run(local.arg("client").args(client).arg("--").arg(&fixture).arg("server"))?;
    let mut web = agent(&http);
    web.args(["pair", "--"]).arg(&fixture);
    web.args(["http-server", "--listen", "127.0.0.1:{port}", "---"])
        .arg(&fixture);
    sh::run(web.arg("http-client").args(client).arg("http://localhost:{port}/mcp"))?;
    let whole = fs::read(&stdio).with_context(|| format!("cannot read {}", stdio.display()))?;
    fs::write(&cut, &whole[..whole.len() / 2]).with_context(|| format!("cannot write {}", cut.display()))?;
    Ok(vec![stdio, http, cut])
}

/// The agent for this machine and that for the other architecture.
struct Both<'a> {
    native: PathBuf,
    emulated: PathBuf,
    emulator: &'a Path,
}

impl Both<'_> {
    /// Runs both with these `words` and with `last`; they have to end in the same way and to write the same.
    fn same(&self, last: &Path, words: &[&str]) -> Result<()> {
        let run = |mut command: Command| -> Result<(String, Output)> {
            command.args(words).arg(last);
            let shown = sh::show(&command);
            let output = command.output().with_context(|| format!("cannot start `{shown}`"))?;
            Ok((shown, output))
        };
        let (shown, native) = run(sh::cmd(&self.native))?;
        ensure!(
            native.status.success() && !native.stdout.is_empty(),
            "`{shown}` ended with {} and {} bytes: there is nothing to compare with",
            native.status,
            native.stdout.len()
        );
        let mut command = sh::cmd(self.emulator);
        command.arg(&self.emulated);
        let (shown, emulated) = run(command)?;
        let lines = native.stdout.iter().filter(|byte| **byte == b'\n').count();
        eprintln!("    $ {shown}: {lines} lines");
        if native.status != emulated.status {
            bail!(
                "`{shown}` ended with {}, and natively with {}:\n{}",
                emulated.status,
                native.status,
                String::from_utf8_lossy(&emulated.stderr).trim_end()
            );
        }
        for (native, emulated) in [(&native.stdout, &emulated.stdout), (&native.stderr, &emulated.stderr)] {
            if native != emulated {
                bail!(
                    "`{shown}` writes\n{}\nand natively\n{}",
                    first_other(emulated, native),
                    first_other(native, emulated)
                );
            }
        }
        Ok(())
    }
}

/// The first line of `one` that is not as in `other`.
fn first_other(one: &[u8], other: &[u8]) -> String {
    let (one, other) = (String::from_utf8_lossy(one), String::from_utf8_lossy(other));
    let mut others = other.lines();
    let found = one.lines().find(|line| others.next() != Some(line));
    found.unwrap_or("(nothing more)").to_owned()
}

/// Builds the tests of the protocol's package for the other architecture, and runs them.
fn protocol(cross: &Cross, emulator: &Path) -> Result<()> {
    sh::say(format!(
        "the tests of mcp-proto for {}, which take minutes",
        ARCH.name()
    ));
    let mut cargo = cross.cargo(STATIC);
    cargo
        .env(cross.variable("RUNNER"), emulator)
        // Without those of the documentation: rustdoc knows nothing of the other standard library.
        .args([
            "test",
            "--quiet",
            "--locked",
            "-p",
            "mcp-proto",
            "--tests",
            "--target",
            &ARCH.target(),
        ]);
    sh::run(&mut cargo).context("mcp-proto does not hold there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs() {
        assert_eq!(first_other(b"a\nb\nc\n", b"a\nx\nc\n"), "b");
        assert_eq!(first_other(b"a\n", b"a\nx\n"), "(nothing more)");
        assert_eq!(first_other(b"a\nx\n", b"a\n"), "x");
    }
}
