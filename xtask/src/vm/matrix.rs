//! `cargo xtask vm-test`: the release build on several kernels. On each, the same conversation is
//! traced by both tiers of hooks; what each saw is scored against what was said, and against each
//! other.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{Guest, Outcome, kernels};
use crate::{build, repo, setup, sh};

/// The kernels of an ordinary test run: what stable distributions ship now.
pub(crate) const DEFAULT: [&str; 2] = ["6.1", "6.12"];
/// What the guest runs.
const SCRIPT: &str = include_str!("../../assets/guest-tiers.sh");
/// The part of it that speaks HTTP.
const HTTP: &str = include_str!("../../assets/guest-http.sh");
/// Emulated, a kernel boots in seconds and the conversation takes some more.
const LIMIT: Duration = Duration::from_secs(600);
/// The facts of a call in which the tiers must agree.
const SAME: [&str; 6] = ["direction", "method", "tool", "request_id", "outcome", "error_code"];

/// Tests the release build on several kernels, in virtual machines
#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    /// A version (5.10, 6.1, 6.12, 6.18, 7.2) or a vmlinuz file; may be repeated [default: 6.1 6.12]
    #[arg(long = "kernel")]
    kernels: Vec<String>,
    /// All supported kernels
    #[arg(long, conflicts_with = "kernels")]
    all: bool,
    /// Takes the release build as it is
    #[arg(long)]
    no_build: bool,
    /// Keeps the guests' consoles and outputs, and says where
    #[arg(long)]
    keep: bool,
}

pub(crate) fn test_main(args: &TestArgs) -> Result<()> {
    setup::for_vm()?;
    if !args.no_build {
        build::ebpf()?;
        build::agent(true)?;
        build::fixtures()?;
    }
    let wanted = if args.all {
        kernels::all()
    } else if args.kernels.is_empty() {
        DEFAULT.map(str::to_owned).to_vec()
    } else {
        args.kernels.clone()
    };
    let mut failed = Vec::new();
    for kernel in &wanted {
        if let Err(error) = test(kernel, args.keep) {
            eprintln!("error: kernel {kernel}: {error:#}");
            failed.push(kernel.as_str());
        }
    }
    println!("{} passed, {} failed", wanted.len() - failed.len(), failed.len());
    ensure!(
        failed.is_empty(),
        "failed on kernel {}; what the guests printed is above",
        failed.join(", ")
    );
    Ok(())
}

/// Runs both tiers on one kernel.
pub(crate) fn test(kernel: &str, keep: bool) -> Result<()> {
    let start = Instant::now();
    let mut files = Vec::new();
    for program in ["mcpsonar", "mcp-fixture"] {
        let from = repo::release(program);
        ensure!(
            from.is_file(),
            "{} is missing: run `cargo xtask vm-test` without --no-build",
            from.display()
        );
        files.push((from, PathBuf::from("/usr/bin").join(program)));
    }
    let made = repo::target().join("vm").join("https");
    fs::create_dir_all(&made).with_context(|| format!("cannot make {}", made.display()))?;
    fs::write(made.join("guest-http.sh"), HTTP).context("cannot write the guest's script")?;
    certificate(&made)?;
    for name in ["guest-http.sh", "cert.pem", "key.pem"] {
        files.push((made.join(name), PathBuf::from("/root").join(name)));
    }
    let openssl = sh::which("openssl").context("openssl is missing: run `cargo xtask setup --test`")?;
    files.push((openssl, PathBuf::from("/usr/bin/openssl")));
    let guest = Guest {
        kernel: kernel.to_owned(),
        files,
        script: SCRIPT.to_owned(),
        memory: 768,
        limit: LIMIT,
        kvm: false,
        keep,
        show: false,
        root: None,
    };
    let outcome = guest.run()?;
    match judge(&outcome) {
        Ok(calls) => {
            sh::say(format!(
                "kernel {kernel}: both tiers saw the same {calls} calls, as they were ({} s)",
                start.elapsed().as_secs()
            ));
            Ok(())
        }
        Err(error) => {
            eprintln!("{}", outcome.output);
            Err(error)
        }
    }
}

/// A certificate and its key, for a server that nobody checks.
fn certificate(folder: &Path) -> Result<()> {
    let mut openssl = sh::cmd("openssl");
    openssl
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
        .args([
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ])
        .current_dir(folder);
    let made = openssl.output().context("cannot run openssl")?;
    ensure!(
        made.status.success(),
        "openssl made no certificate:\n{}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(())
}

fn judge(outcome: &Outcome) -> Result<usize> {
    match outcome.status {
        None => bail!(
            "the guest reported no status within {} s; the end of its console:\n{}",
            LIMIT.as_secs(),
            outcome.console
        ),
        Some(0) => {}
        Some(_) => bail!("tracing or scoring failed in the guest; what it printed is above"),
    }
    let first = calls(section(&outcome.output, "tier 1")?)?;
    let second = calls(section(&outcome.output, "tier 2")?)?;
    ensure!(!first.is_empty(), "tier 1 saw no call");
    if first != second {
        bail!(
            "the tiers differ.\nonly tier 1:\n{}only tier 2:\n{}",
            without(&first, &second),
            without(&second, &first)
        );
    }
    Ok(first.len())
}

/// The lines between `--- NAME` and `--- end`.
fn section<'a>(output: &'a str, name: &str) -> Result<&'a str> {
    let begin = format!("--- {name}\n");
    let (_, rest) = output
        .split_once(&begin)
        .with_context(|| format!("the guest printed no section {name:?}"))?;
    let (section, _) = rest
        .split_once("--- end")
        .with_context(|| format!("the guest's section {name:?} has no end"))?;
    Ok(section)
}

/// The calls of a trace, one line of the facts in which the tiers must agree for each, sorted.
fn calls(trace: &str) -> Result<Vec<String>> {
    let mut calls = Vec::new();
    for line in trace.lines().filter(|line| !line.is_empty()) {
        let call: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        // A trace may carry lines of other kinds than calls.
        if call.get("call").is_some() {
            calls.push(
                SAME.map(|fact| format!("{fact}={}", call.get(fact).unwrap_or(&Value::Null)))
                    .join(" "),
            );
        }
    }
    calls.sort();
    Ok(calls)
}

/// What `all` has beyond `known`, each as often as it is in excess.
fn without(all: &[String], known: &[String]) -> String {
    let mut rest = known.to_vec();
    let mut text = String::new();
    for line in all {
        match rest.iter().position(|other| other == line) {
            Some(at) => drop(rest.swap_remove(at)),
            None => text.push_str(&format!("  {line}\n")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(second: &str) -> Outcome {
        let call = r#"{"call":"1","direction":"client_to_server","method":"ping","request_id":1,"outcome":"ok"}"#;
        Outcome {
            status: Some(0),
            output: format!("words\n--- tier 1\n{call}\n--- end\n--- tier 2\n{second}\n--- end\n"),
            console: String::new(),
        }
    }

    #[test]
    fn tiers_that_agree_pass() {
        let same = r#"{"call":"x","direction":"client_to_server","method":"ping","request_id":1,"outcome":"ok","latency_us":9}"#;
        assert_eq!(judge(&guest(same)).ok(), Some(1));
    }

    #[test]
    fn a_call_that_one_tier_missed_is_named() {
        let error = judge(&guest("")).map_err(|e| e.to_string());
        assert!(
            error
                .is_err_and(|text| { text.contains("only tier 1:\n  direction=\"client_to_server\" method=\"ping\"") })
        );
    }
}
