//! The command line is a contract with scripts.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::fixture::sys;
use mcpsonar_tests::harness::{
    Guard, Trace, agent, check_lines, check_perfect, fixture, output_within, text, wait_within,
};
use serde_json::Value;

const SHORT: Duration = Duration::from_secs(30);
/// Nobody's user and group.
const NOBODY: u32 = 65534;

fn said(output: &std::process::Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn without_privilege() -> Result<()> {
    ensure!(sys::is_root(), "this test drops privileges and so needs root");
    // Where nobody may go, too.
    let folder = std::env::temp_dir().join(format!("mcpsonar-test-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let copy = folder.join("mcpsonar");
    std::fs::copy(agent(), &copy)?;
    for path in [&folder, &copy] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    let run = |words: &[&str]| {
        output_within(
            Command::new(&copy).args(words).current_dir("/").uid(NOBODY).gid(NOBODY),
            SHORT,
        )
    };
    let outputs = [
        run(&["trace"]),
        run(&["trace", "--json", "--", "true"]),
        run(&["record", "-o", "/dev/null", "--", "true"]),
    ];
    let doctor = run(&["doctor"]);
    std::fs::remove_dir_all(&folder)?;
    for output in outputs {
        let output = output?;
        ensure!(
            output.status.code() == Some(4),
            "the status was {}: {}",
            output.status,
            said(&output)
        );
        let message = String::from_utf8_lossy(&output.stderr);
        ensure!(
            message.contains("root") || message.contains("CAP_"),
            "the message does not say what is needed: {message}"
        );
        ensure!(!message.contains("panicked"), "{message}");
    }
    ensure!(!said(&doctor?).is_empty(), "the doctor has nothing to say to nobody");
    Ok(())
}

#[test]
fn wrong_usage() -> Result<()> {
    let wrong: [&[&str]; 6] = [
        &[],
        &["--no-such-flag"],
        &["no-such-verb"],
        &["trace", "--tier", "3"],
        &["trace", "-p", "x"],
        &["replay"],
    ];
    for words in wrong {
        let output = output_within(Command::new(agent()).args(words), SHORT)?;
        ensure!(
            output.status.code() == Some(2),
            "{words:?}: the status was {}",
            output.status
        );
        ensure!(!output.stderr.is_empty(), "{words:?}: no message");
    }
    Ok(())
}

#[test]
fn help_and_version() -> Result<()> {
    for words in [["--help"], ["--version"], ["help"]] {
        let output = output_within(Command::new(agent()).args(words), SHORT)?;
        ensure!(
            output.status.success() && !output.stdout.is_empty(),
            "{words:?}: {}",
            said(&output)
        );
    }
    Ok(())
}

#[test]
fn what_does_not_exist() -> Result<()> {
    let trace = Trace::new("not_there")?;
    let run = trace.run(&["/no/such/program"])?;
    ensure!(
        matches!(run.status.code(), Some(1 | 127)),
        "no such command: the status was {}",
        run.status
    );
    ensure!(
        run.stderr.contains("/no/such/program"),
        "the message does not name it: {}",
        run.stderr
    );
    let output = output_within(Command::new(agent()).args(["replay", "/no/such/file"]), SHORT)?;
    ensure!(
        output.status.code() == Some(1),
        "no such recording: the status was {}",
        output.status
    );
    // The largest id that a kernel gives, and hardly ever does.
    let output = output_within(Command::new(agent()).args(["trace", "-p", "4194304"]), SHORT)?;
    ensure!(
        matches!(output.status.code(), Some(1 | 2)),
        "no such process: the status was {}",
        output.status
    );
    Ok(())
}

#[test]
fn the_doctor() -> Result<()> {
    Trace::new("doctor")?;
    let output = output_within(Command::new(agent()).arg("doctor"), SHORT)?;
    ensure!(
        output.status.success() && output.stdout.len() > 100,
        "{}: {}",
        output.status,
        said(&output)
    );
    let output = output_within(Command::new(agent()).args(["doctor", "--json"]), SHORT)?;
    let report: Value = serde_json::from_slice(&output.stdout).context("doctor --json")?;
    ensure!(report.is_object(), "{report}");
    Ok(())
}

/// Records a session of the project's own client and server.
fn record(trace: &Trace, recording: &Path, script: &str) -> Command {
    let mut record = Command::new(agent());
    record
        .args(["record", "-o"])
        .arg(recording)
        .arg("--")
        .args(trace.client_line(&["--script", script], &[]));
    record
}

#[test]
fn a_recording_holds_the_same_calls() -> Result<()> {
    let trace = Trace::new("recording")?;
    let recording = trace.file("recording");
    let mut record = record(&trace, &recording, "all");
    let output = output_within(&mut record, Duration::from_secs(60))?;
    ensure!(output.status.success(), "{}: {}", output.status, said(&output));
    let mode = std::fs::metadata(&recording)?.permissions().mode();
    ensure!(
        mode & 0o077 == 0,
        "a recording holds payloads and others may read it: {mode:o}"
    );
    let replay = || -> Result<Vec<Value>> {
        let output = output_within(Command::new(agent()).args(["replay", "--json"]).arg(&recording), SHORT)?;
        ensure!(output.status.success(), "{}: {}", output.status, said(&output));
        let lines = String::from_utf8(output.stdout)?;
        lines
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    };
    let calls = replay()?;
    let truth = mcpsonar_tests::fixture::truth::load(&trace.file("truth.jsonl"))?;
    let score = mcpsonar_tests::fixture::score::score(&truth, &calls);
    ensure!(score.perfect(), "{}", serde_json::to_string_pretty(&score)?);
    check_lines(&calls)?;
    ensure!(calls == replay()?, "a second replay is another");
    Ok(())
}

#[test]
fn a_recording_that_is_cut_or_garbled() -> Result<()> {
    let trace = Trace::new("garbled")?;
    let recording = trace.file("recording");
    let mut record = record(&trace, &recording, "basic");
    ensure!(output_within(&mut record, SHORT)?.status.success(), "record");
    let whole = std::fs::read(&recording)?;
    let mut noise = whole.clone();
    for (n, byte) in noise.iter_mut().enumerate() {
        *byte = if n % 97 == 0 {
            byte.wrapping_mul(31) ^ 0x5a
        } else {
            *byte
        };
    }
    for bytes in [
        &[][..],
        &whole[..10],
        &whole[..whole.len() / 2],
        &whole[..whole.len() - 1],
        &noise,
    ] {
        let file = trace.file("broken");
        std::fs::write(&file, bytes)?;
        let output = output_within(Command::new(agent()).args(["replay", "--json"]).arg(&file), SHORT)?;
        ensure!(
            matches!(output.status.code(), Some(0 | 1)),
            "{} bytes: the status was {}",
            bytes.len(),
            output.status
        );
        ensure!(
            !said(&output).contains("panicked"),
            "{} bytes: {}",
            bytes.len(),
            said(&output)
        );
    }
    Ok(())
}

#[test]
fn nobody_reads_the_calls() -> Result<()> {
    // With a command, calls go to the standard error.
    let trace = Trace::new("closed_stderr")?;
    let mut command = Command::new(agent());
    command
        .args(["trace", "--json", "--"])
        .args(trace.client_line(&["--script", "all"], &[]));
    let mut agent = Guard::spawn(command.stdout(Stdio::null()).stderr(Stdio::piped()))?;
    drop(agent.stderr.take());
    let status = wait_within(&mut agent, SHORT)?;
    ensure!(status.success(), "the command's status is lost: {status}");
    Ok(())
}

#[test]
fn the_reader_goes_away() -> Result<()> {
    // As `mcpsonar trace --json | head -1` does.
    let trace = Trace::new("closed_stdout")?;
    let mut command = Command::new(agent());
    let mut agent = Guard::spawn(
        command
            .args(["trace", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )?;
    let mut stdout = agent.stdout.take().context("no output")?;
    std::thread::sleep(Duration::from_secs(2));
    let line = trace.client_line(&["--script", "calls", "--calls", "3000"], &[]);
    let mut client = Guard::spawn(Command::new(&line[0]).args(&line[1..]))?;
    let mut first = [0; 100];
    stdout.read_exact(&mut first)?;
    ensure!(
        first.starts_with(b"{\"call\":"),
        "not a call: {}",
        String::from_utf8_lossy(&first)
    );
    drop(stdout);
    ensure!(wait_within(&mut client, SHORT)?.success(), "the client was harmed");
    let status = wait_within(&mut agent, Duration::from_secs(10))?;
    ensure!(status.code() == Some(0), "the status was {status}");
    let mut told = String::new();
    agent.stderr.take().context("no errors")?.read_to_string(&mut told)?;
    ensure!(!told.contains("panicked"), "{told}");
    Ok(())
}

#[test]
fn the_output_cannot_be_written() -> Result<()> {
    Trace::new("bad_output")?;
    let mut command = Command::new(agent());
    let output = output_within(
        command.args(["trace", "--json", "-o", "/no/such/folder/x", "--", "true"]),
        SHORT,
    )?;
    ensure!(
        output.status.code() == Some(1),
        "the status was {}: {}",
        output.status,
        said(&output)
    );
    Ok(())
}

#[test]
fn beside_another_tracer() -> Result<()> {
    let trace = Trace::new("beside_strace")?;
    let strace = Command::new("strace").arg("--version").output();
    ensure!(strace.is_ok(), "strace is not installed, and this test needs it");
    let log = text(&trace.file("strace"));
    let mut line = ["strace", "-f", "-o", &log].map(str::to_owned).to_vec();
    line.extend(trace.client_line(&["--script", "all"], &[]));
    let run = trace.run(&line)?;
    ensure!(run.status.success(), "{}: {}", run.status, run.stderr);
    check_perfect(&run).map(drop)
}

#[test]
fn beside_another_agent() -> Result<()> {
    let (first, second) = (Trace::new("beside_agent_1")?, Trace::new("beside_agent_2")?);
    let host = first.attach(&[])?;
    let run = second.client(&["--script", "all"], &[])?;
    check_perfect(&run)?;
    let seen = host.stop()?.calls;
    let score = mcpsonar_tests::fixture::score::score(&run.truth, &seen);
    ensure!(score.perfect(), "{}", serde_json::to_string_pretty(&score)?);
    Ok(())
}

#[test]
fn a_ring_that_is_too_small_says_so() -> Result<()> {
    let trace = Trace::new("tiny_ring")?.options(&["--ring-kib", "64"]);
    let (fixture, truth) = (fixture(), trace.truth());
    let load = [
        &fixture, "load", "-n", "20000", "-c", "64", "-k", "4", "--mix", "mixed", "--truth", &truth, "--", &fixture,
        "server",
    ];
    let run = trace.run(&load)?;
    ensure!(run.status.success(), "{}: {}", run.status, run.stderr);
    let dropped = run.stats["counters"]["ring_dropped"]
        .as_u64()
        .context("no ring_dropped in the figures")?;
    let score = mcpsonar_tests::fixture::score::score(&run.truth, &run.calls);
    ensure!(
        score.matched == score.truth || dropped > 0,
        "calls are missing and no loss is told: {score:?}"
    );
    ensure!(
        score.silently_wrong == 0,
        "calls are wrong and do not say that they were touched by a loss: {score:?}"
    );
    ensure!(score.extra == 0, "calls that never were: {score:?}");
    if dropped > 0 {
        ensure!(
            run.stderr.contains("lost") || run.stderr.contains("dropped"),
            "the summary hides the loss: {}",
            run.stderr
        );
    }
    check_lines(&run.calls)
}

#[test]
fn the_figures_at_the_end() -> Result<()> {
    let run = Trace::new("figures")?.client(&["--script", "calls", "--calls", "500"], &[])?;
    for key in [
        "/counters/ring_dropped",
        "/counters/records",
        "/usage/cpu_ms",
        "/usage/rss_kib",
    ] {
        ensure!(
            run.stats.pointer(key).is_some_and(serde_json::Value::is_number),
            "{key} is missing in {}",
            run.stats
        );
    }
    let messages = |kind: &str| run.stats["protocol"][kind].as_u64().unwrap_or(0);
    ensure!(messages("requests") + messages("responses") >= 1000, "{}", run.stats);
    ensure!(
        run.stats["usage"]["rss_kib"].as_u64() < Some(60 * 1024),
        "{}",
        run.stats
    );
    Ok(())
}

#[test]
fn for_people() -> Result<()> {
    let trace = Trace::new("for_people")?;
    let mut command = Command::new(agent());
    command
        .args(["trace", "--"])
        .args(trace.client_line(&["--script", "basic"], &[]));
    let output = output_within(&mut command, SHORT)?;
    let told = String::from_utf8_lossy(&output.stderr);
    for word in ["echo", "no_such_tool", "-32602", "tool_error"] {
        ensure!(told.contains(word), "{word} is not in what people read:\n{told}");
    }
    ensure!(!told.contains('\u{1b}'), "colours, and no terminal:\n{told}");
    ensure!(
        !told.contains("hello 0"),
        "arguments are payload and must not be shown:\n{told}"
    );
    Ok(())
}
