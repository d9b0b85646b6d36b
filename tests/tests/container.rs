//! The agent as its container runs it: the image's files and no others, the capabilities, arguments
//! and mounts of the DaemonSet; it sees the calls of processes in namespaces of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::fixture::{sys, truth};
use mcpsonar_tests::harness::{Service, agent, fixture, output_within, text, wait_within};

const LIMIT: Duration = Duration::from_secs(60);
const IMAGE: &str = include_str!("../../deploy/Containerfile");
const MANIFEST: &str = include_str!("../../deploy/kubernetes/mcpsonar.yaml");

/// What the DaemonSet adds to no capabilities at all.
fn capabilities() -> Result<Vec<String>> {
    let (_, rest) = MANIFEST
        .split_once("              add:\n")
        .context("the manifest adds no capabilities")?;
    let lines = rest.lines().map(str::trim);
    let list = lines.take_while(|line| line.starts_with(['-', '#']));
    Ok(list
        .filter_map(|line| line.strip_prefix("- "))
        .map(|name| format!("CAP_{name}"))
        .collect())
}

/// The image: what the Containerfile copies, and the libraries of a binary that is not static.
fn image(root: &Path) -> Result<()> {
    let (from, to) = IMAGE
        .lines()
        .find_map(|line| line.strip_prefix("COPY ")?.split_once(' '))
        .context("the image has no files")?;
    ensure!(
        from == "mcpsonar" && IMAGE.contains("FROM scratch\n"),
        "another image:\n{IMAGE}"
    );
    let put = |from: &Path, to: &str| -> Result<()> {
        let to = root.join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().context("no folder")?)?;
        fs::copy(from, to).map(|_| ()).map_err(Into::into)
    };
    put(&agent(), to)?;
    let libraries = Command::new("ldd").arg(agent()).output()?;
    for word in String::from_utf8_lossy(&libraries.stdout).split_whitespace() {
        if word.starts_with('/') {
            put(Path::new(word), word)?;
        }
    }
    for folder in ["proc", "sys", "dev", "tmp"] {
        fs::create_dir_all(root.join(folder))?;
    }
    Ok(())
}

/// The command line of a container with this root: read-only, the host's processes, its own IPC and
/// name, what its service writes, and no other capabilities than the manifest's.
fn contained(service: &Service, root: &Path) -> Result<Command> {
    let folder = service.file("");
    // Where it is mounted: the root cannot be written to.
    fs::create_dir_all(root.join(folder.strip_prefix("/")?))?;
    let mut command = Command::new("bwrap");
    command
        .arg("--die-with-parent")
        .args(["--ro-bind", &text(root), "/"])
        .args(["--proc", "/proc", "--dev", "/dev"])
        .args(["--ro-bind", "/sys", "/sys"])
        .args(["--bind", &text(&folder), &text(&folder)])
        .args([
            "--unshare-ipc",
            "--unshare-uts",
            "--uid",
            "0",
            "--gid",
            "0",
            "--cap-drop",
            "ALL",
        ]);
    for capability in capabilities()? {
        command.args(["--cap-add", &capability]);
    }
    command.args(["/usr/bin/mcpsonar", "agent", "--config"]);
    command.arg(service.file("config.toml"));
    Ok(command)
}

/// A client and its server with their own processes, mounts, IPC and name; what really happened.
fn in_another_container(service: &Service) -> Result<Vec<truth::Line>> {
    let told = service.file("truth.jsonl");
    let program = fixture();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--mount-proc", "--uts", "--ipc", &program])
        .args(["client", "--script", "all", "--truth"])
        .arg(&told)
        .args(["--", &program, "server"])
        .env("MCP_FIXTURE_NAME", service.server());
    let output = output_within(&mut command, LIMIT)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    truth::load(&told)
}

#[test]
fn a_container_sees_the_calls_of_another() -> Result<()> {
    let service = Service::new("container")?;
    service.configure("")?;
    let root: PathBuf = service.file("image");
    image(&root)?;
    ensure!(capabilities()?.len() == 3, "{:?}", capabilities()?);
    ensure!(MANIFEST.contains("hostPID: true") && MANIFEST.contains("readOnlyRootFilesystem: true"));
    let mut running = service.start_by(contained(&service, &root)?)?;
    let all = in_another_container(&service)?.len() as u64;
    service.wait("every call is counted", || Ok(service.reported()? == all))?;
    let calls = service.ask(&["calls", "--limit", "1000", "--server", service.server()])?;
    let named = calls.iter().filter(|call| call["server"]["exe"].is_string()).count() as u64;
    ensure!(
        named == all,
        "{named} of {all} calls have a program: facts of processes are not read"
    );
    // The container's first process is not the agent's parent here: it is told itself.
    let pid = service.status()?["pid"].as_u64().context("no pid")?;
    sys::kill(u32::try_from(pid)?, libc::SIGTERM)?;
    let status = wait_within(&mut running.agent, LIMIT)?;
    ensure!(status.success(), "{status}:\n{}", service.log());
    Ok(())
}
