//! What the agent costs a busy web server that does not speak MCP, and what of it reaches the ring.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::agent::{Background, Scope};
use super::report::{Bar, Report};
use super::{Plan, pair};
use crate::{repo, sh};

const CONDITIONS: [&str; 3] = ["nothing", "empty raw tracepoints", "mcpsonar, host scope"];
const NOTHING: usize = 0;
const EMPTY: usize = 1;
const HOST: usize = 2;
/// How long the server may take to listen.
const START: Duration = Duration::from_secs(10);
/// Connections that are kept open at a time.
const CONNECTIONS: &str = "32";

/// nginx, ended when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Result<Self> {
        let nginx = sh::which("nginx").or_else(|| sh::which("/usr/sbin/nginx"));
        let nginx = nginx.context("nginx is missing: install nginx-light")?;
        let folder = repo::target().join("bench").join("nginx");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(folder.join("index.html"), [b'x'; 512]).context("cannot write the page to serve")?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let here = folder.display();
        let config = format!(
            "daemon off; master_process off; pid {here}/pid; error_log {here}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; client_body_temp_path {here}; proxy_temp_path {here}; keepalive_requests 1000000;\n\
             fastcgi_temp_path {here}; uwsgi_temp_path {here}; scgi_temp_path {here};\n\
             server {{ listen {address}; root {here}; }} }}\n"
        );
        fs::write(folder.join("nginx.conf"), config).context("cannot write nginx's configuration")?;
        let mut command = sh::cmd(nginx);
        command.arg("-c").arg(folder.join("nginx.conf")).arg("-p").arg(&folder);
        let child = command.stderr(Stdio::null()).spawn().context("cannot start nginx")?;
        let mut server = Self {
            child,
            url: format!("http://{address}/"),
        };
        let end = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("nginx ended with {status}; see {}", folder.join("error.log").display());
            }
            ensure!(Instant::now() < end, "nginx does not listen on {address}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Requests a second, for so many seconds.
    fn load(&self, wrk: &Path, seconds: u64) -> Result<f64> {
        let seconds = format!("{seconds}s");
        let text = sh::read(sh::cmd(wrk).args(["-t1", "-c", CONNECTIONS, "-d", &seconds, &self.url]))?;
        ensure!(!text.contains("Socket errors"), "requests failed:\n{text}");
        let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
        rate.and_then(|rate| rate.trim().parse().ok())
            .with_context(|| format!("wrk printed no rate:\n{text}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already is as good.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    let wrk = sh::which("wrk").context("wrk is missing: install it to load a web server")?;
    let server = Server::start()?;
    let seconds = plan.pick(2, 5);
    let mut records = Vec::new();
    let rounds = pair::alternate(plan.rounds(), CONDITIONS.len(), |condition| {
        let background = match condition {
            EMPTY => Some(Background::empty()?),
            HOST => Some(Background::agent(plan.tier, Scope::Host)?),
            _ => None,
        };
        let rate = server.load(&wrk, seconds)?;
        if let Some(stats) = background.map(Background::finish).transpose()?.flatten() {
            records.push(stats.records()? as f64 / (rate * seconds as f64));
        }
        Ok(rate)
    })?;
    for (condition, under) in CONDITIONS.iter().enumerate() {
        let what = format!("requests/s of a web server under {under}");
        report.add(&what, &rounds.series(condition), "", Bar::None);
    }
    let what = "the web server under mcpsonar, host scope, to the same";
    report.add(
        &format!("{what} under an empty pair"),
        &rounds.ratio(HOST, EMPTY),
        "",
        Bar::None,
    );
    report.add(
        &format!("{what} under nothing"),
        &rounds.ratio(HOST, NOTHING),
        "",
        Bar::None,
    );
    report.add(
        "records in the ring for each of its requests",
        &pair::Series::new(records),
        "",
        Bar::None,
    );
    Ok(())
}
