//! The agent as a service: started as systemd starts it, asked over its socket, ended by signals.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{Guard, agent, fixture, output_within, text, wait_within};
use crate::fixture::{sys, truth};

/// How long anything may take: the machine may be busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// Where one service lives: its socket, history, configuration and log.
#[derive(Debug)]
pub struct Service {
    folder: PathBuf,
    port: u16,
    /// What its servers call themselves: other tests' calls on this host are not counted.
    server: String,
}

/// A service that runs.
#[derive(Debug)]
pub struct Running<'a> {
    /// The process.
    pub agent: Guard,
    /// What systemd would be told. A thread reads it: who is not read from waits.
    notified: Receiver<String>,
    service: &'a Service,
}

impl Service {
    /// An empty folder of this name under the temporary directory, where every user may look.
    pub fn new(name: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("mcpsonar-{name}-{}", std::process::id()));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let server = format!("mcp-fixture-{name}");
        Ok(Self { folder, port, server })
    }

    /// A file of this service.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What its servers call themselves.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The port of its metrics.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Writes its configuration, `more` besides what every test needs.
    pub fn configure(&self, more: &str) -> Result<()> {
        let config = format!(
            "socket.path = {:?}\nprometheus.address = \"127.0.0.1:{}\"\nhistory.path = {:?}\n{more}\n",
            self.file("a.sock"),
            self.port,
            self.file("history/history.db"),
        );
        fs::write(self.file("config.toml"), config).map_err(Into::into)
    }

    /// The agent's command line, in its folder.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(agent());
        command.args(["agent", "--config"]).arg(self.file("config.toml"));
        if let Ok(tier) = std::env::var("MCPSONAR_TIER") {
            command.args(["--tier", &tier]);
        }
        command
    }

    /// Starts it and waits until it says that it is ready.
    pub fn start(&self) -> Result<Running<'_>> {
        self.start_by(self.command())
    }

    /// As [`Service::start`], by another command line that becomes the agent.
    pub fn start_by(&self, mut command: Command) -> Result<Running<'_>> {
        let socket = self.file("notify");
        drop(fs::remove_file(&socket));
        let notified = listen(UnixDatagram::bind(&socket)?);
        let log = File::options().create(true).append(true).open(self.file("log"))?;
        command
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut running = Running {
            agent: Guard::spawn(&mut command)?,
            notified,
            service: self,
        };
        running.notified("READY=1").with_context(|| self.log())?;
        Ok(running)
    }

    /// What it has logged, over all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// Runs a fixture client with a fixture server, and gives what really happened.
    pub fn client(&self, client: &[&str]) -> Result<Vec<truth::Line>> {
        let truth = self.file("truth.jsonl");
        drop(fs::remove_file(&truth));
        let fixture = fixture();
        let mut command = Command::new(&fixture);
        command.env("MCP_FIXTURE_NAME", &self.server);
        command.args(client).arg("--truth").arg(&truth);
        command.args(["--", &fixture, "server"]);
        let output = output_within(&mut command, PATIENCE)?;
        ensure!(
            output.status.success(),
            "the client ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        truth::load(&truth)
    }

    /// Asks by the command line: `mcpsonar COMMAND --json`, parsed line by line.
    pub fn ask(&self, command: &[&str]) -> Result<Vec<Value>> {
        let output = self.run(&agent(), command)?;
        ensure!(
            output.status.success(),
            "{command:?} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let lines = String::from_utf8(output.stdout)?;
        lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    fn run(&self, program: &Path, command: &[&str]) -> Result<Output> {
        let socket = text(&self.file("a.sock"));
        let mut line = Command::new(program);
        output_within(line.args(command).args(["--json", "--socket", &socket]), PATIENCE)
    }

    /// Asks over the socket, as `curl --unix-socket` would: the status and the answer.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = UnixStream::connect(self.file("a.sock"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        exchange(&mut stream, path)
    }

    /// The status.
    pub fn status(&self) -> Result<Value> {
        let (code, body) = self.get("/v1/status")?;
        ensure!(code == 200, "the status is {code}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// The metrics, as Prometheus fetches them.
    pub fn metrics(&self) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        exchange(&mut stream, "/metrics").map(|(_, body)| body)
    }

    /// Calls of its servers that the report of the last hour knows of.
    pub fn reported(&self) -> Result<u64> {
        let report = self.ask(&["report", "--since", "1h"])?;
        let servers = report.first().and_then(|it| it["servers"].as_array());
        let own = servers
            .into_iter()
            .flatten()
            .find(|it| it["server"] == self.server.as_str());
        Ok(own.and_then(|it| it["calls"].as_u64()).unwrap_or(0))
    }

    /// Waits until `what` is so.
    pub fn wait(&self, what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !is_so()? {
            if Instant::now() > end {
                bail!("{what}: not within {} s\n{}", PATIENCE.as_secs(), self.log());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // What a failed test has left is for whoever looks into it.
        if !std::thread::panicking() {
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}

impl Running<'_> {
    /// Waits until systemd would be told this.
    pub fn notified(&mut self, wanted: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match self.notified.recv_timeout(POLL) {
                Ok(said) if said.lines().any(|line| line == wanted) => return Ok(()),
                Ok(_) => {}
                Err(_) => {
                    if let Some(status) = self.agent.try_wait()? {
                        bail!("the agent ended ({status}) without saying {wanted}");
                    }
                }
            }
        }
        bail!("the agent has not said {wanted}")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) -> Result<()> {
        sys::kill(self.agent.id(), signal).map_err(Into::into)
    }

    /// Ends it by SIGTERM; how long that took.
    pub fn end(mut self) -> Result<Duration> {
        let began = Instant::now();
        self.signal(libc::SIGTERM)?;
        self.notified("STOPPING=1")?;
        let status = wait_within(&mut self.agent, PATIENCE)?;
        ensure!(
            status.success(),
            "the agent ended with {status}:\n{}",
            self.service.log()
        );
        Ok(began.elapsed())
    }
}

/// Messages as they come, until nobody wants them.
fn listen(socket: UnixDatagram) -> Receiver<String> {
    let (told, heard) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer) {
            let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if told.send(said).is_err() {
                return;
            }
        }
    });
    heard
}

fn exchange(stream: &mut (impl std::io::Read + std::io::Write), path: &str) -> Result<(u16, String)> {
    // HTTP/1.0: the answer ends with the connection, and has no chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nhost: agent\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no head")?;
    let code = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .context("no status")?;
    Ok((code, body.to_owned()))
}
