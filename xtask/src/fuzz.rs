//! `cargo xtask fuzz`: arbitrary bytes for the parsers, guided by what of the code they reach.
//!
//! The engine is libFuzzer. Its instrumentation is a pass that every rustc has; sanitizers, for
//! which a nightly one is needed, would find nothing in a package that forbids unsafe code.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::{repo, sh};

/// The entries of `mcp_proto::fuzzing`.
const TARGETS: [&str; 7] = ["h1", "chunked", "h2", "sse", "body", "websocket", "tracker"];
/// How long each target runs.
const SECONDS: u64 = 60;
/// In a test of everything each target has the same inputs every time: what fails there fails again. New ones are for
/// runs without a seed.
const SHORT_SEED: u32 = 1;
/// So many inputs take the slowest target less than a minute.
const SHORT_RUNS: u64 = 150_000;
/// Beyond its time, a run has to load its corpus and to end.
const GRACE: Duration = Duration::from_secs(60);
/// As `cargo fuzz --sanitizer none` has it.
const INSTRUMENTED: [&str; 7] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];
/// Longest input. The limits under which the parsers are fuzzed are far below it.
const INPUT_BYTES: usize = 4096;

/// Lets arbitrary bytes at the parsers, starting from the seeds in tests/fuzz/seeds
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = SECONDS)]
    seconds: u64,
    /// After how many inputs a target ends, if that is sooner
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// Tries the same inputs as every run with this seed, and leaves alone what earlier runs have collected
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
    /// Only this target
    #[arg(long, value_parser = TARGETS)]
    target: Option<String>,
    /// Runs the target once on each of these files, as after a failure
    #[arg(requires = "target")]
    inputs: Vec<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let engine = build()?;
    if let (Some(target), false) = (&args.target, args.inputs.is_empty()) {
        return sh::run(sh::cmd(&engine).env("FUZZ_TARGET", target).args(&args.inputs));
    }
    let wanted = |name: &&str| args.target.as_deref().is_none_or(|wanted| wanted == *name);
    let targets = Mutex::new(TARGETS.into_iter().filter(wanted));
    let next = || targets.lock().ok()?.next();
    // Each takes a processor.
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    let failures: Vec<String> = thread::scope(|scope| {
        let work = || {
            std::iter::from_fn(next)
                .filter_map(|target| run(&engine, target, args).err())
                .collect()
        };
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(thread::ScopedJoinHandle::join);
        ended
            .flat_map(|found: thread::Result<Vec<_>>| found.unwrap_or_else(|_| vec![anyhow!("a worker panicked")]))
            .map(|error| format!("{error:#}"))
            .collect()
    });
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// Every target for at most some minutes.
pub(crate) fn short() -> Result<()> {
    main(&Args {
        seconds: 5 * SECONDS,
        runs: Some(SHORT_RUNS),
        seed: Some(SHORT_SEED),
        target: None,
        inputs: Vec::new(),
    })
}

/// Builds the engine with the instrumented package; the answer is where it is.
fn build() -> Result<PathBuf> {
    ensure!(
        sh::which("c++").is_some(),
        "the fuzzing engine is compiled from C++ and there is no c++: install a C++ compiler"
    );
    let host = host()?;
    let target = repo::target().join("fuzz");
    let mut cargo = sh::cargo();
    cargo
        .current_dir(repo::root().join("tests/fuzz"))
        // Naming the target keeps the instrumentation out of build scripts.
        .args(["build", "--quiet", "--locked", "--release", "--target", &host])
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTED.join("\x1f"));
    sh::run(&mut cargo).context("cannot build the fuzzing engine")?;
    Ok(target.join(host).join("release/mcpsonar-fuzz"))
}

/// The target triple of this machine.
fn host() -> Result<String> {
    let version = sh::read(sh::cmd("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .context("`rustc -vV` does not say for which host it is")
}

/// What is found goes to a corpus under the target folder, so the next run without a seed begins with it.
fn run(engine: &Path, target: &str, args: &Args) -> Result<()> {
    let Args {
        seconds, runs, seed, ..
    } = *args;
    let kept = if seed.is_some() { "seeded" } else { "corpus" };
    let corpus = repo::target().join("fuzz").join(kept).join(target);
    if seed.is_some() && corpus.exists() {
        fs::remove_dir_all(&corpus).with_context(|| format!("cannot remove {}", corpus.display()))?;
    }
    let failures = repo::target().join("fuzz/failures").join(target);
    for folder in [&corpus, &failures] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let seeds = repo::root().join("tests/fuzz/seeds").join(target);
    let mut command: Command = sh::cmd(engine);
    command
        .env("FUZZ_TARGET", target)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES}"))
        .args(runs.map(|runs| format!("-runs={runs}")))
        .args(seed.map(|seed| format!("-seed={seed}")))
        .arg(format!("-artifact_prefix={}/", failures.display()))
        .args([
            // By the clock on the wall, of a machine that may have other work.
            "-timeout=60",
            "-rss_limit_mb=1024",
            "-print_final_stats=1",
            "-verbosity=0",
        ])
        .args([corpus, seeds]);
    sh::run_within(&mut command, Duration::from_secs(seconds) + GRACE).with_context(|| {
        format!(
            "the target {target} does not hold. The input is in {}: `cargo xtask fuzz --target {target} FILE` tries it \
             again; with the repair, put it among the seeds in tests/fuzz/seeds/{target}",
            failures.display()
        )
    })
}
