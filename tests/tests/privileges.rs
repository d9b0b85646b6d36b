//! The agent with the privileges that its unit declares, and without each of them: as a user of its own,
//! watching processes of another.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use mcpsonar_tests::fixture::sys;
use mcpsonar_tests::harness::{Guard, agent, fixture, need_agent, output_within, wait_within};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
/// The agent's user here, and that of whom it watches.
const OWN: u32 = 64_242;
const NOBODY: u32 = 65_534;
const CALLS: usize = 30;
const UNIT: &str = include_str!("../../deploy/systemd/mcpsonar.service");

/// What the unit gives, as setpriv spells it.
fn declared() -> Result<Vec<String>> {
    let line = UNIT.lines().find_map(|line| line.strip_prefix("AmbientCapabilities="));
    let names = line.context("the unit gives no capabilities")?.split_whitespace();
    Ok(names
        .map(|name| name.trim_start_matches("CAP_").to_lowercase())
        .collect())
}

/// Places where everybody may go: the build's folder may be closed to others.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("mcpsonar-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let place = Self(folder);
        for (from, to) in [(agent(), "mcpsonar"), (fixture().into(), "mcp-fixture")] {
            let to = place.0.join(to);
            fs::copy(from, &to)?;
            fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
        }
        fs::create_dir_all(place.0.join("own"))?;
        chown(place.0.join("own"), Some(OWN), Some(OWN))?;
        fs::create_dir_all(place.0.join("theirs"))?;
        chown(place.0.join("theirs"), Some(NOBODY), Some(NOBODY))?;
        fs::set_permissions(&place.0, fs::Permissions::from_mode(0o755))?;
        Ok(place)
    }

    /// A command of a user with these capabilities and no way to get more.
    fn as_user(&self, user: u32, capabilities: &[String], program: &str) -> Command {
        let list = capabilities.iter().map(|name| format!(",+{name}")).collect::<String>();
        let mut command = Command::new("setpriv");
        command
            .args([format!("--reuid={user}"), format!("--regid={user}")])
            .args(["--clear-groups", "--no-new-privs"])
            .arg(format!("--inh-caps=-all{list}"))
            .arg(format!("--ambient-caps=-all{list}"))
            .arg(format!("--bounding-set=-all{list}"))
            .arg(self.0.join(program))
            .env("MCPSONAR_SOCKET_PATH", self.0.join("own/agent.sock"))
            .env("MCPSONAR_HISTORY_PATH", self.0.join("own/history.db"))
            .stdin(Stdio::null());
        command
    }

    /// The agent, once it says to `supervisor` that it is ready.
    fn start(&self, capabilities: &[String], supervisor: &UnixDatagram) -> Result<Guard> {
        let log = fs::File::create(self.0.join("log"))?;
        let agent = Guard::spawn(
            self.as_user(OWN, capabilities, "mcpsonar")
                .arg("agent")
                .env("NOTIFY_SOCKET", self.0.join("notify"))
                .env("WATCHDOG_USEC", "2000000")
                .stdout(Stdio::null())
                .stderr(log),
        )?;
        hear(supervisor, "READY=1").with_context(|| self.log())?;
        Ok(agent)
    }

    /// A client with its server, both of another user. The answer is every call that the agent then knows.
    fn watch(&self) -> Result<Vec<Value>> {
        let server = self.0.join("mcp-fixture");
        let truth = self.0.join("theirs/truth.jsonl");
        let output = output_within(
            self.as_user(NOBODY, &[], "mcp-fixture")
                .args(["client", "--script", "calls", "--calls", &CALLS.to_string(), "--truth"])
                .arg(&truth)
                .arg("--")
                .arg(server)
                .arg("server"),
            LIMIT,
        )?;
        ensure!(
            output.status.success(),
            "the client ended with {}: {output:?}",
            output.status
        );
        let expected = fs::read_to_string(truth)?.lines().count();
        let end = Instant::now() + LIMIT;
        loop {
            let calls = self.calls()?;
            if calls.len() >= expected {
                return Ok(calls);
            }
            if Instant::now() > end {
                bail!("{} of {expected} calls are known\n{}", calls.len(), self.log());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn calls(&self) -> Result<Vec<Value>> {
        let mut ask = Command::new(self.0.join("mcpsonar"));
        ask.args(["calls", "--json", "--limit", "1000", "--server", "mcp-fixture"])
            .env("MCPSONAR_SOCKET_PATH", self.0.join("own/agent.sock"));
        let output = output_within(&mut ask, LIMIT)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.0.join("log")).unwrap_or_default()
    }

    /// Where the agent says how it is, as to systemd.
    fn supervisor(&self) -> Result<UnixDatagram> {
        let path = self.0.join("notify");
        let socket = UnixDatagram::bind(&path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok(socket)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Waits until the supervisor is told `word`.
fn hear(supervisor: &UnixDatagram, word: &str) -> Result<()> {
    let mut message = [0; 512];
    loop {
        let length = supervisor
            .recv(&mut message)
            .with_context(|| format!("nobody said {word}"))?;
        let text = String::from_utf8_lossy(message.get(..length).unwrap_or_default()).into_owned();
        if text.lines().any(|line| line == word) {
            return Ok(());
        }
    }
}

fn programs(calls: &[Value]) -> usize {
    calls.iter().filter(|call| call["server"]["exe"].is_string()).count()
}

/// As systemd runs it: ready, alive, and gone when it is asked to.
#[test]
fn those_of_the_unit_suffice() -> Result<()> {
    need_agent()?;
    let place = Place::new("unit")?;
    let supervisor = place.supervisor()?;
    let mut agent = place.start(&declared()?, &supervisor)?;
    hear(&supervisor, "WATCHDOG=1")?;
    let calls = place.watch()?;
    ensure!(
        programs(&calls) == calls.len(),
        "of some calls the server's program is unknown: {calls:?}"
    );
    ensure!(!place.log().contains("Permission denied"), "{}", place.log());
    sys::kill(agent.id(), libc::SIGTERM)?;
    let status = wait_within(&mut agent, LIMIT)?;
    ensure!(status.success(), "the agent ended with {status}\n{}", place.log());
    Ok(())
}

/// Who cannot see programs still sees calls.
#[test]
fn without_ptrace_only_the_programs_are_unknown() -> Result<()> {
    need_agent()?;
    let place = Place::new("ptrace")?;
    let supervisor = place.supervisor()?;
    let fewer: Vec<_> = declared()?.into_iter().filter(|name| name != "sys_ptrace").collect();
    let _agent = place.start(&fewer, &supervisor)?;
    let calls = place.watch()?;
    ensure!(
        programs(&calls) == 0,
        "sys_ptrace is not needed for programs any more: {calls:?}"
    );
    Ok(())
}

/// What docs/security.md gives in place of CAP_SYS_ADMIN.
#[test]
fn without_tls_two_small_ones_stand_in_for_the_big_one() -> Result<()> {
    need_agent()?;
    let place = Place::new("small")?;
    let supervisor = place.supervisor()?;
    let small = ["bpf", "perfmon", "sys_ptrace"].map(str::to_owned);
    let _agent = place.start(&small, &supervisor)?;
    let calls = place.watch()?;
    ensure!(
        programs(&calls) == calls.len(),
        "of some calls the server's program is unknown: {calls:?}"
    );
    for missing in ["bpf", "perfmon"] {
        let fewer: Vec<_> = small.iter().filter(|name| *name != missing).cloned().collect();
        let trace = output_within(
            place
                .as_user(OWN, &fewer, "mcpsonar")
                .args(["trace", "--no-tls", "--", "true"]),
            LIMIT,
        )?;
        ensure!(!trace.status.success(), "{missing} is not needed any more");
    }
    Ok(())
}

/// The unit is as docs/security.md says.
#[test]
fn the_unit_bounds_what_it_gives() -> Result<()> {
    let bound = UNIT
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let given = UNIT.lines().find_map(|line| line.strip_prefix("AmbientCapabilities="));
    ensure!(
        bound.is_some() && bound == given,
        "what is given is not what is bounded"
    );
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security.md"))?;
    for name in given.unwrap_or_default().split_whitespace() {
        ensure!(
            docs.contains(&format!("| `{name}`")),
            "docs/security.md does not say what {name} is for"
        );
    }
    Ok(())
}
