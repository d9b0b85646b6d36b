//! `cargo xtask tidy`: the rules of the house that no compiler checks.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::{repo, sh};

/// Checks the rules of the house that no compiler checks: layout, sizes, who may name what
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// The visible things of the top level.
const TOP: [&str; 13] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "agent",
    "agent-ebpf",
    "dashboards",
    "deploy",
    "docs",
    "tests",
    "xtask",
];
/// A source file above this is worth a look,
const LONG: usize = 400;
/// and above this it has to be split.
const TOO_LONG: usize = 600;
/// What `mcp-proto` must not reach: runtimes, the operating system, eBPF, and the rest of this house.
const IMPURE: [&str; 15] = [
    "agent-abi",
    "async-io",
    "aya",
    "aya-obj",
    "futures",
    "getrandom",
    "libc",
    "mcpsonar",
    "mio",
    "nix",
    "procfs",
    "rustix",
    "smol",
    "socket2",
    "tokio",
];
/// What only the machine at hand has, and hosts that every package client knows by itself. Written
/// in two halves so that this file does not break its own rule.
const FOREIGN: [&str; 9] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/."),
    concat!("crates", ".io"),
    concat!("py", "pi.org"),
    concat!("python", "hosted.org"),
    concat!("npm", "js."),
    concat!("deb.deb", "ian.org"),
    concat!("security.deb", "ian.org"),
    concat!("proxy.go", "lang.org"),
];

pub(crate) fn main(_: &Args) -> Result<()> {
    let faults = faults()?;
    for fault in &faults {
        eprintln!("    {fault}");
    }
    if !faults.is_empty() {
        bail!(
            "{} of the house's rules are broken; each line above says which and where",
            faults.len()
        );
    }
    sh::say("tidy: layout, sizes, who names what: all as it should be");
    Ok(())
}

/// What breaks a rule, one sentence each.
fn faults() -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let files = files()?;
    for name in &files {
        let top = name.split('/').next().unwrap_or(name);
        if !top.starts_with('.') && !TOP.contains(&top) {
            let fault = format!("{top} is not among the things that the top level holds: move it into one of them");
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
        // A file that is not text, or was removed and not yet committed, has nothing to check.
        if let Ok(text) = fs::read_to_string(repo::root().join(name)) {
            check_text(name, &text, &mut faults);
        }
    }
    check_proto(&mut faults)?;
    Ok(faults)
}

/// All files that are tracked or would be, by their path from the top.
fn files() -> Result<Vec<String>> {
    let mut git = sh::cmd("git");
    git.current_dir(repo::root())
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let names = sh::read(&mut git).context("tidy looks at what git tracks")?;
    Ok(names.split_terminator('\0').map(str::to_owned).collect())
}

fn check_text(name: &str, text: &str, faults: &mut Vec<String>) {
    if Path::new(name).extension().is_some_and(|e| e == "rs") {
        match text.lines().count() {
            n if n > TOO_LONG => faults.push(format!("{name} has {n} lines, more than {TOO_LONG}: split it")),
            n if n > LONG => {
                eprintln!("    note: {name} has {n} lines, more than {LONG}: think of splitting it");
            }
            _ => {}
        }
        if let Some(line) = names_aya(name, text) {
            faults.push(format!(
                "{name}:{line} names aya: only agent/src/sensor and agent-ebpf may"
            ));
        }
    }
    if name == "agent/proto/src/lib.rs" && !text.contains("#![forbid(unsafe_code)]") {
        faults.push(format!("{name} does not forbid unsafe code"));
    }
    // Cargo writes the registry's address into its lock files.
    if !name.ends_with("Cargo.lock") {
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(found) = FOREIGN.iter().find(|word| line.contains(**word)) {
                faults.push(format!(
                    "{name}:{number} names {found}: a machine's path or a registry's host"
                ));
            }
        }
    }
}

/// The first line that uses aya in a file that may not.
fn names_aya(name: &str, text: &str) -> Option<usize> {
    let outside = name.starts_with("agent/") || name.starts_with("tests/");
    if !outside || name.starts_with("agent/src/sensor") {
        return None;
    }
    (1..)
        .zip(text.lines())
        .find(|(_, line)| uses_aya(line))
        .map(|(number, _)| number)
}

fn uses_aya(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or(line);
    code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|word| word == "aya" || word.starts_with("aya_"))
}

/// `mcp-proto` takes bytes and time: nothing below it may bring a clock, a socket or a runtime.
fn check_proto(faults: &mut Vec<String>) -> Result<()> {
    let mut cargo = sh::cargo();
    cargo.args([
        "tree",
        "--quiet",
        "-p",
        "mcp-proto",
        "--edges",
        "normal",
        "--all-features",
    ]);
    cargo.args(["--prefix", "none", "--format", "{p}"]);
    let tree = sh::read(&mut cargo).context("tidy asks cargo for the dependencies of mcp-proto")?;
    for impure in IMPURE {
        if tree.lines().any(|line| line.split(' ').next() == Some(impure)) {
            faults.push(format!(
                "mcp-proto depends on {impure}: it knows no runtime, operating system or eBPF \
                 (`cargo tree -p mcp-proto -e normal -i {impure}` says by which way)"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        check_text(name, text, &mut faults);
        faults
    }

    #[test]
    fn only_the_sensor_names_aya() {
        assert!(of("agent/src/sensor/load.rs", "use aya::Ebpf;").is_empty());
        assert!(of("agent-ebpf/src/main.rs", "use aya_ebpf::bindings;").is_empty());
        assert!(of("agent/src/cli.rs", "let x = 1; // as aya does").is_empty());
        assert_eq!(of("agent/src/cli.rs", "\nuse aya::Ebpf;").len(), 1);
    }

    #[test]
    fn long_files_and_foreign_words_are_faults() {
        assert_eq!(of("tests/src/a.rs", &"\n".repeat(TOO_LONG + 1)).len(), 1);
        assert!(of("tests/src/a.rs", &"\n".repeat(TOO_LONG)).is_empty());
        assert_eq!(of("docs/a.md", &format!("see {}", FOREIGN[0])).len(), 1);
        assert!(of("Cargo.lock", FOREIGN[2]).is_empty());
    }

    #[test]
    fn proto_must_forbid_unsafe_code() {
        assert_eq!(of("agent/proto/src/lib.rs", "//! words").len(), 1);
        assert!(of("agent/proto/src/lib.rs", "#![forbid(unsafe_code)]").is_empty());
    }
}
