//! Running other programs: every command is shown before it runs, and a failure says which command
//! failed, how, and (from the caller) what to do next.

use std::ffi::OsStr;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a running child is looked at while a time limit is being kept.
const POLL: Duration = Duration::from_millis(20);

/// A command for `program`, with its standard input closed: no step of this project asks questions.
pub(crate) fn cmd(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// The cargo that runs this program, on the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = cmd(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::repo::root());
    command
}

/// One line that says what happens now.
pub(crate) fn say(text: impl AsRef<str>) {
    let text = text.as_ref();
    if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        eprintln!("\x1b[1;36m==>\x1b[0m {text}");
    } else {
        eprintln!("==> {text}");
    }
}

/// Shows and runs `command`; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = show(command);
    eprintln!("    $ {line}");
    let status = command.status().with_context(|| cannot_start(command))?;
    check(&line, status)
}

/// Runs `command` and gives its standard output; anything but success is an error that carries its
/// standard error.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| cannot_start(command))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}):\n{}", show(command), output.status, stderr.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Like [`read`], for a command that may be missing or refuse: nothing is said then.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    command.stderr(Stdio::null());
    let output = command.output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Shows and runs `command` for at most `limit`, then ends it.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let line = show(command);
    eprintln!("    $ {line}");
    let mut child = command.spawn().with_context(|| cannot_start(command))?;
    let status = wait(&mut child, limit)?
        .with_context(|| format!("`{line}` took more than {} s and was ended", limit.as_secs()))?;
    check(&line, status)
}

/// Waits for `child` for at most `limit`. On a time-out the child is killed and the answer is `None`.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// Runs `command`, passes its standard output on as it comes, and gives it back as well with the
/// exit status: for programs whose closing lines are counted.
pub(crate) fn tee(command: &mut Command) -> Result<(ExitStatus, String)> {
    eprintln!("    $ {}", show(command));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| cannot_start(command))?;
    let mut all = Vec::new();
    if let Some(mut from) = child.stdout.take() {
        let mut part = [0; 8192];
        loop {
            let n = from.read(&mut part)?;
            if n == 0 {
                break;
            }
            all.extend_from_slice(&part[..n]);
            std::io::Write::write_all(&mut std::io::stdout(), &part[..n])?;
        }
    }
    let status = child.wait()?;
    Ok((status, String::from_utf8_lossy(&all).into_owned()))
}

/// Where `program` is on `PATH` or in cargo's folder of installed programs.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(crate::repo::cargo_bin())
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Whether this program has root's rights.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // The files of /proc/self belong to the effective user.
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// The command as one would type it.
pub(crate) fn show(command: &Command) -> String {
    let program = command.get_program();
    let ours = std::env::var_os("CARGO").is_some_and(|cargo| cargo == program);
    std::iter::once(if ours { OsStr::new("cargo") } else { program })
        .chain(command.get_args())
        .map(|word| {
            let word = word.to_string_lossy();
            if word.is_empty() || word.contains([' ', '\n', '"', '\'', '$', '\x1f']) {
                format!("{word:?}")
            } else {
                word.into_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn cannot_start(command: &Command) -> String {
    format!(
        "cannot start `{}`: is it installed?",
        command.get_program().to_string_lossy()
    )
}

fn check(line: &str, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{line}` failed ({status}); its own words are above");
    }
    Ok(())
}
