//! `cargo xtask test`: everything that has to hold, in one run, with the time each step took.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{apt, build, chart, dashboards, deploy, dist, fuzz, pictures, repo, setup, sh, tidy, vm};

/// The status with which the agent says that it lacks privilege.
const INSUFFICIENT_PRIVILEGE: i32 = 4;

/// How long every query of the dashboards and rules may be without its answer; most of the time all have
/// one sooner.
const QUERIES: Duration = Duration::from_secs(90);
const QUERIES_LONG: Duration = Duration::from_secs(300);

/// Checks everything: format, lints, licences, tests, this kernel, other kernels
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leaves the virtual machines out
    #[arg(long)]
    no_vm: bool,
    /// Leaves out what needs root: the end-to-end tests on this kernel
    #[arg(long)]
    no_root: bool,
    /// Leaves fuzzing out, a few minutes
    #[arg(long)]
    no_fuzz: bool,
    /// Gives tests that repeat something their full length: a hundred agents for a dozen, and the like
    #[arg(long)]
    long: bool,
    /// Only tests whose name contains this, and neither checks nor virtual machines
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
}

/// What one step came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
}

/// One line of the closing table.
#[derive(Debug)]
struct Done {
    name: String,
    took: Duration,
    counts: Counts,
    error: Option<String>,
}

/// The steps so far.
#[derive(Debug, Default)]
struct Run {
    done: Vec<Done>,
    left_out: Vec<String>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let mut run = Run::default();
    steps(args, &mut run);
    run.close()
}

fn steps(args: &Args, run: &mut Run) {
    let checks = args.filter.is_none();
    if !run.step("setup", || setup_for(args)) {
        return run.leave_out("everything else: the set-up failed");
    }
    if checks {
        run.step("tidy", || tidy::main(&tidy::Args {}).map(nothing_counted));
        run.step("format", || {
            sh::run(sh::cargo().args(["fmt", "--all", "--check"]))
                .context("`cargo fmt --all` puts it right")
                .map(nothing_counted)
        });
    }
    if checks {
        run.step("alert rules", || dashboards::test_rules().map(nothing_counted));
        run.step("Helm chart", || chart::check().map(nothing_counted));
    }
    // The agent embeds the eBPF object, so nothing of it compiles without.
    if !run.step("build eBPF", || build::ebpf().map(nothing_counted)) {
        return run.leave_out("lints, tests and virtual machines: there is no eBPF object to embed");
    }
    if checks {
        run.step("lint eBPF", || build::lint_ebpf().map(nothing_counted));
        run.step("lint", || sh::run(&mut clippy()).map(nothing_counted));
        run.step("licences", || {
            let mut deny = sh::cargo();
            deny.args([
                "deny",
                "--log-level",
                "error",
                "check",
                "--hide-inclusion-graph",
                "licenses",
                "bans",
                "sources",
            ]);
            sh::run(&mut deny).map(nothing_counted)
        });
        run.leave_out("known vulnerabilities: their database comes from the network (`cargo deny check advisories`)");
    }
    run.step("unit tests", || {
        let mut cargo = sh::cargo();
        cargo.args([
            "test",
            "--quiet",
            "--workspace",
            "--exclude",
            "agent-ebpf",
            "--no-fail-fast",
        ]);
        tests(&mut cargo, args, &[])
    });
    if args.no_fuzz {
        run.leave_out("fuzzing: --no-fuzz was given");
    } else if checks {
        run.step("fuzz", || fuzz::short().map(nothing_counted));
    }
    if !run.step("build release", || {
        build::agent(true).and_then(|()| build::fixtures()).map(nothing_counted)
    }) {
        return run.leave_out("end-to-end tests and virtual machines: there is no release build");
    }
    if checks {
        run.step("packages", || {
            deploy::check_unit().and_then(|()| dist::check()).map(nothing_counted)
        });
    }
    if args.no_root {
        run.leave_out("end-to-end tests on this kernel: --no-root was given");
    } else {
        run.step("end to end", || end_to_end(args));
        if checks {
            let patience = if args.long { QUERIES_LONG } else { QUERIES };
            run.step("queries", || {
                pictures::check_queries(&repo::release("mcpsonar"), patience).map(nothing_counted)
            });
        }
    }
    if args.no_vm {
        run.leave_out("virtual machines: --no-vm was given");
    } else if checks {
        for kernel in vm::DEFAULT_KERNELS {
            run.step(&format!("kernel {kernel}"), || {
                vm::test(kernel, false).map(|()| Counts { passed: 1, failed: 0 })
            });
        }
        if args.long {
            run.step("package under systemd", || {
                vm::test_package(vm::DEFAULT_KERNELS[0], false).map(|()| Counts { passed: 1, failed: 0 })
            });
        } else {
            run.leave_out("the .deb under systemd in a virtual machine: `cargo xtask vm-package`, or --long");
        }
    }
}

fn nothing_counted((): ()) -> Counts {
    Counts::default()
}

fn setup_for(args: &Args) -> Result<Counts> {
    setup::for_build()?;
    if args.filter.is_none() {
        setup::for_test()?;
        if !args.no_vm {
            setup::for_vm()?;
        }
    }
    Ok(Counts::default())
}

fn clippy() -> Command {
    let mut cargo = sh::cargo();
    cargo.args([
        "clippy",
        "--quiet",
        "--workspace",
        "--exclude",
        "agent-ebpf",
        "--all-targets",
        "--all-features",
    ]);
    cargo.args(["--", "-D", "warnings"]);
    cargo
}

/// The tests that load the programs into this kernel.
fn end_to_end(args: &Args) -> Result<Counts> {
    ensure!(
        sh::is_root(),
        "the end-to-end tests load eBPF programs into this kernel and so need root: \
         run `sudo -E cargo xtask test`, or leave them out with --no-root"
    );
    let agent = repo::release("mcpsonar");
    let doctor = sh::cmd(&agent)
        .arg("doctor")
        .output()
        .context("cannot ask `mcpsonar doctor`")?;
    if doctor.status.code() == Some(INSUFFICIENT_PRIVILEGE) {
        bail!(
            "this kernel or container refuses eBPF to root, and the end-to-end tests need it. `{} doctor` says:\n{}{}",
            agent.display(),
            String::from_utf8_lossy(&doctor.stdout),
            String::from_utf8_lossy(&doctor.stderr),
        );
    }
    let mut cargo = build::end_to_end();
    // What the report on a fleet asks.
    cargo.env("MCPSONAR_VICTORIA_METRICS", apt::victoria_metrics()?);
    cargo.env("MCPSONAR_PROMETHEUS", apt::program("prometheus", "prometheus")?);
    if args.long {
        cargo.env("MCPSONAR_LONG", "1");
    }
    tests(&mut cargo, args, &["--test-threads=1"])
}

/// Runs `cargo test` and counts by its closing lines.
fn tests(cargo: &mut Command, args: &Args, more: &[&str]) -> Result<Counts> {
    cargo.arg("--").args(&args.filter).args(more);
    let (status, output) = sh::tee(cargo)?;
    let counts = count(&output);
    if status.success() || counts.failed > 0 {
        return Ok(counts);
    }
    bail!(
        "cargo test ended ({status}) with {} passed and none failed: something did not build or crashed, see above",
        counts.passed
    )
}

/// The sum of the lines "test result: ok. 5 passed; 0 failed; ...".
fn count(output: &str) -> Counts {
    let mut sum = Counts::default();
    for line in output.lines().filter(|line| line.starts_with("test result:")) {
        let of = |what: &str| {
            let (before, _) = line.split_once(what)?;
            before.split_whitespace().last()?.parse::<usize>().ok()
        };
        sum.passed += of(" passed").unwrap_or(0);
        sum.failed += of(" failed").unwrap_or(0);
    }
    sum
}

impl Run {
    /// Runs one step and notes how it went. The answer is whether all of it passed.
    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<Counts>) -> bool {
        sh::say(format!("step: {name}"));
        let start = Instant::now();
        let (counts, error) = match work() {
            Ok(counts) if counts.failed > 0 => (counts, Some(format!("{} tests failed", counts.failed))),
            Ok(counts) => (counts, None),
            Err(error) => (Counts { passed: 0, failed: 1 }, Some(format!("{error:#}"))),
        };
        let took = start.elapsed();
        let passed = error.is_none();
        match &error {
            None => sh::say(format!("passed: {name} ({:.1} s)", took.as_secs_f64())),
            Some(error) => sh::say(format!("FAILED: {name} ({:.1} s): {error}", took.as_secs_f64())),
        }
        self.done.push(Done {
            name: name.to_owned(),
            took,
            counts,
            error,
        });
        passed
    }

    fn leave_out(&mut self, what: &str) {
        sh::say(format!("left out: {what}"));
        self.left_out.push(what.to_owned());
    }

    /// The closing table, and the line that machines read.
    fn close(&self) -> Result<()> {
        let mut sum = Counts::default();
        println!("\n{:<16}{:>9}  result", "step", "seconds");
        for Done {
            name,
            took,
            counts,
            error,
        } in &self.done
        {
            sum.passed += counts.passed;
            sum.failed += counts.failed;
            let result = match (error, counts) {
                (Some(error), _) => format!("FAILED: {}", error.lines().next().unwrap_or_default()),
                (None, Counts { passed: 0, .. }) => "passed".to_owned(),
                (None, counts) => format!("passed ({} tests)", counts.passed),
            };
            println!("{name:<16}{:>9.1}  {result}", took.as_secs_f64());
        }
        for what in &self.left_out {
            println!("left out: {what}");
        }
        let took: Duration = self.done.iter().map(|done| done.took).sum();
        println!("{:<16}{:>9.1}", "all", took.as_secs_f64());
        println!("{} passed, {} failed", sum.passed, sum.failed);
        let failed = self.done.iter().filter(|done| done.error.is_some()).count();
        ensure!(
            failed == 0,
            "{failed} of {} steps failed; the table above says which",
            self.done.len()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_of_all_runners_are_summed() {
        let output = "running 3 tests\n\
                      test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
                      test result: FAILED. 10 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(count(output), Counts { passed: 13, failed: 2 });
    }

    #[test]
    fn a_step_that_breaks_counts_as_one_failure() {
        let mut run = Run::default();
        assert!(run.step("good", || Ok(Counts { passed: 2, failed: 0 })));
        assert!(!run.step("bad", || anyhow::bail!("no")));
        assert!(run.close().is_err());
    }
}
