//! TLS libraries are hooked and let go without a connection noticing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::fixture::sys;
use mcpsonar_tests::harness::{Guard, Trace, text, wait_within};

/// A server and clients of Python's `ssl` in one process, which goes on until its input ends and then
/// says how many connections it made. It ends badly at the first one that fails.
const LOAD: &str = r"
import socket, ssl, sys, threading
cert, key = sys.argv[1:3]
done = threading.Event()
count = 0
server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server_side.load_cert_chain(cert, key)
client_side = ssl.create_default_context(cafile=cert)
listener = socket.create_server(('127.0.0.1', 0))
failed = []

def answer(raw):
    try:
        with server_side.wrap_socket(raw, server_side=True) as connection:
            while request := connection.recv(65536):
                connection.sendall(b'answer to ' + request)
    except Exception as error:
        failed.append(error)

def serve():
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

def ask():
    global count
    while not done.is_set() and not failed:
        try:
            with client_side.wrap_socket(socket.create_connection(listener.getsockname()), server_hostname='localhost') as connection:
                for number in range(5):
                    request = b'request %d' % number
                    connection.sendall(request)
                    wanted = b'answer to ' + request
                    got = b''
                    while len(got) < len(wanted):
                        piece = connection.recv(65536)
                        if not piece:
                            raise EOFError(got)
                        got += piece
                    assert got == wanted, got
            count += 1
        except Exception as error:
            failed.append(error)

threading.Thread(target=serve, daemon=True).start()
clients = [threading.Thread(target=ask) for _ in range(2)]
for client in clients:
    client.start()
print('up', flush=True)
sys.stdin.read()
done.set()
for client in clients:
    client.join()
if failed:
    sys.exit(f'failed: {failed[0]!r}')
print(count)
";

/// How often the agent comes and goes.
const ROUNDS: u32 = 100;

/// A certificate for localhost and its key.
fn certificate(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-out",
        ])
        .arg(&cert)
        .arg("-keyout")
        .arg(&key)
        .stderr(Stdio::null())
        .status()
        .context("openssl is needed to make a certificate")?;
    ensure!(made.success(), "openssl made no certificate: {made}");
    Ok((cert, key))
}

/// TLS between two threads of one process, for as long as this lives.
struct Load(Guard);

impl Load {
    fn start(trace: &Trace) -> Result<Self> {
        let folder = trace.file("");
        let (cert, key) = certificate(&folder)?;
        let mut command = Command::new("python3");
        command.args(["-c", LOAD, &text(&cert), &text(&key)]);
        let mut load = Guard::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let mut up = [0; 3];
        std::io::Read::read_exact(load.stdout.as_mut().context("no output")?, &mut up)?;
        Ok(Self(load))
    }

    /// Ends it, and says how many connections it has made.
    fn finish(mut self) -> Result<u32> {
        drop(self.0.stdin.take());
        let stdout = self.0.stdout.take().context("no output")?;
        let status = wait_within(&mut self.0, Duration::from_secs(30))?;
        ensure!(status.success(), "a connection failed: {status}");
        Ok(std::io::read_to_string(stdout)?.trim().parse()?)
    }
}

/// Waits until the agent has hooked the load's library, as its own log says.
fn wait_hooked(log: &Path) -> Result<()> {
    for _ in 0..1000 {
        if std::fs::read_to_string(log).is_ok_and(|log| log.contains("libssl") && log.contains(" is seen, by ")) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("the agent did not hook libssl: {}", std::fs::read_to_string(log)?)
}

fn come_and_go(trace: &Trace, signal: i32) -> Result<()> {
    let log = trace.file("log");
    let mut command = trace.command();
    command
        .env("MCPSONAR_LOG", "debug")
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log)?);
    let mut agent = Guard::spawn(&mut command)?;
    wait_hooked(&log)?;
    sys::kill(agent.id(), signal)?;
    wait_within(&mut agent, Duration::from_secs(30)).map(drop)
}

#[test]
fn hooks_come_and_go_unnoticed() -> Result<()> {
    let trace = Trace::new("tls_hooks")?;
    let load = Load::start(&trace)?;
    for _ in 0..ROUNDS {
        come_and_go(&trace, libc::SIGINT)?;
    }
    let connections = load.finish()?;
    ensure!(
        connections > ROUNDS,
        "only {connections} connections were made: this proves nothing"
    );
    Ok(())
}

#[test]
fn a_killed_agent_leaves_no_hook_behind() -> Result<()> {
    let trace = Trace::new("tls_killed")?;
    let load = Load::start(&trace)?;
    for _ in 0..5 {
        come_and_go(&trace, libc::SIGKILL)?;
    }
    let connections = load.finish()?;
    ensure!(
        connections > 5,
        "only {connections} connections were made: this proves nothing"
    );
    Ok(())
}
