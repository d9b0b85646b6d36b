//! Collectors that misbehave, and a service that sends to them: what can arrive does, once, what cannot is
//! counted, no call is lost to the history, and the end does not wait.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::fixture::http::server_config;
use mcpsonar_tests::harness::usage::memory_kib;
use mcpsonar_tests::harness::{Authority, Certificates, Collector, Door, LATER, Load, Manner, Service, serve_grpc};
use rustls::ServerConfig;

/// What SIGTERM may take.
const END: Duration = Duration::from_secs(5);

/// A service that sends to a port where nobody listens yet.
fn service(name: &str, protocol: &str) -> Result<(Service, u16)> {
    let service = Service::new(name)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    service.configure(&format!(
        "otlp.endpoint = \"http://127.0.0.1:{port}\"\notlp.protocol = \"{protocol}\"\n\
         otlp.timeout = \"1s\"\notlp.delay = \"50ms\""
    ))?;
    Ok((service, port))
}

/// Some calls; how many.
fn call(service: &Service) -> Result<u64> {
    Ok(service.client(&["client", "--script", "basic"])?.len() as u64)
}

fn outlives(name: &str, protocol: &str) -> Result<()> {
    let (service, port) = service(name, protocol)?;
    let mut command = service.command();
    command.arg("--no-tls");
    let running = service.start_by(command)?;
    let collector = Collector::default();
    let all_arrive = |calls: u64| {
        service.wait("every call arrives", || {
            Ok(collector.arrived(service.server())? == calls)
        })
    };

    let mut calls = call(&service)?;
    service.wait("it is missed", || Ok(service.log().contains("do not arrive")))?;
    let _door = match protocol {
        "grpc" => {
            serve_grpc(TcpListener::bind(("127.0.0.1", port))?, collector.clone())?;
            None
        }
        _ => Some(Door::open(port, &collector, None)?),
    };
    all_arrive(calls)?;

    for manner in [Manner::Silent, Manner::Busy] {
        collector.behave(manner);
        calls += call(&service)?;
        service.wait("it is asked again", || Ok(collector.asked(manner).len() >= 2))?;
    }
    collector.behave(Manner::Partial);
    all_arrive(calls)?;
    service.wait("what it refuses is counted", || {
        Ok(service.status()?["losses"]["otlp_spans_refused"] == 1)
    })?;
    service.wait("the history has every call", || Ok(service.reported()? == calls))?;
    let losses = &service.status()?["losses"];
    ensure!(losses["otlp_spans_dropped"].is_null(), "{losses}");
    if protocol != "grpc" {
        let busy = collector.asked(Manner::Busy);
        let patient = busy.windows(2).all(|pair| pair[1] - pair[0] >= LATER);
        ensure!(patient, "it was asked before {LATER:?} were over");
    }

    collector.behave(Manner::Silent);
    call(&service)?;
    service.wait("it is asked once more", || {
        Ok(collector.asked(Manner::Silent).len() >= 3)
    })?;
    ends(&service, running.end()?)
}

/// It has ended in time, and says what was lost by that.
fn ends(service: &Service, took: Duration) -> Result<()> {
    ensure!(took < END, "it took {took:?} to end\n{}", service.log());
    let log = service.log();
    let ended = log.lines().find(|line| line.contains("spans were lost"));
    let ended = ended.with_context(|| format!("nothing is said of spans\n{log}"))?;
    ensure!(ended.contains("were not delivered"), "{ended}");
    Ok(())
}

#[test]
fn over_http() -> Result<()> {
    outlives("collector-http", "http/protobuf")
}

#[test]
fn over_grpc() -> Result<()> {
    outlives("collector-grpc", "grpc")
}

#[test]
fn the_end_does_not_wait_for_one_that_is_not_there() -> Result<()> {
    let (service, _nobody) = service("collector-none", "http/protobuf")?;
    let mut command = service.command();
    command.arg("--no-tls");
    let running = service.start_by(command)?;
    let calls = call(&service)?;
    service.wait("it is missed", || Ok(service.log().contains("do not arrive")))?;
    service.wait("the history has every call", || Ok(service.reported()? == calls))?;
    ends(&service, running.end()?)
}

/// Calls a second meanwhile.
const RATE: u64 = 500;
/// Clients that make them, each with a server of its own.
const PAIRS: u64 = 2;
/// Memory by which the agent may have grown at the end of each fault, in KiB, over what it had under the same load and
/// a good collector: the queue (8 MiB), the request that is tried again, and as much in what an allocator cannot give
/// back while spans lie between.
const MEMORY_KIB: u64 = 24 << 10;
/// Where the collector is.
const ADDRESS: &str = "127.0.0.1";
/// The agent's names of what happens to spans.
const LOST: [&str; 2] = ["otlp_spans_dropped", "otlp_spans_refused"];

/// What is wrong with a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nobody listens.
    Down,
    Behaviour(Manner),
    /// It shows the certificate of another.
    WrongName,
    /// Its certificate expires meanwhile.
    Expiry,
}

const FAULTS: [Fault; 7] = [
    Fault::Down,
    Fault::Behaviour(Manner::Slow),
    Fault::Behaviour(Manner::Refusing),
    Fault::Behaviour(Manner::HalfClosing),
    Fault::Behaviour(Manner::Babbling),
    Fault::WrongName,
    Fault::Expiry,
];

/// How long each fault lasts: `cargo xtask soak` gives it a minute.
fn length() -> Result<u64> {
    match std::env::var("MCPSONAR_COLLECTOR_SECONDS") {
        Ok(word) => Ok(word.parse()?),
        Err(_) => Ok(1),
    }
}

/// A service under load, and its collector.
struct Scene<'a> {
    service: &'a Service,
    agent: u32,
    collector: Collector,
    authority: Authority,
    good: Arc<ServerConfig>,
    port: u16,
    /// Requests so far.
    made: u64,
}

impl Scene<'_> {
    fn load(&self, seconds: u64) -> Result<u64> {
        Ok(Load::of(PAIRS, RATE, seconds).run(self.service)?.requests)
    }

    fn open(&self, tls: &Arc<ServerConfig>) -> Result<Door> {
        Door::open(self.port, &self.collector, Some(Arc::clone(tls)))
    }

    /// Spans that were dropped or refused.
    fn lost(&self) -> Result<u64> {
        let losses = &self.service.status()?["losses"];
        Ok(LOST.iter().filter_map(|name| losses[name].as_u64()).sum())
    }

    /// The same by the agent's metrics.
    fn lost_by_metrics(&self) -> Result<u64> {
        let text = self.service.metrics()?;
        let lines = text.lines().filter(|line| line.starts_with("mcpsonar_losses_total{"));
        let lost = lines.filter(|line| LOST.iter().any(|name| line.contains(&format!("=\"{name}\""))));
        lost.map(|line| {
            let number = line.rsplit(' ').next().context("no value")?;
            Ok(number.parse::<u64>()?)
        })
        .sum()
    }

    fn memory(&self) -> Result<u64> {
        memory_kib(self.agent, "RssAnon")
    }

    /// The load while the collector is at fault.
    fn suffer(&mut self, fault: Fault, seconds: u64) -> Result<()> {
        let third = Duration::from_secs(seconds.div_ceil(3));
        let door = match fault {
            Fault::Down => None,
            Fault::Behaviour(manner) => {
                self.collector.behave(manner);
                Some(self.open(&self.good)?)
            }
            Fault::WrongName => {
                let others = self.authority.certify("other", &["collector.example"], None)?;
                Some(self.open(&tls(&others)?)?)
            }
            Fault::Expiry => {
                let expiring = self.authority.certify("expiring", &[ADDRESS], Some(third))?;
                let good = self.open(&tls(&expiring)?)?;
                self.made += self.load(third.as_secs() + 1)?;
                // Nobody looks at a certificate twice: the connection and the session have to be new ones.
                drop(good);
                Some(self.open(&tls(&expiring)?)?)
            }
        };
        self.made += self.load(seconds)?;
        drop(door);
        Ok(())
    }

    /// A good collector is there again: what waited arrives, and what is new. Of no span it is unknown what became of it.
    fn recover(&mut self) -> Result<Door> {
        self.collector.behave(Manner::Well);
        let door = self.open(&self.good)?;
        let before = self.collector.accepted();
        let fresh = call(self.service)?;
        self.made += fresh;
        self.service.wait("spans and metrics arrive again", || {
            let now = self.collector.accepted();
            Ok(now.spans >= before.spans + 2 * fresh && now.points > before.points)
        })?;
        self.service.wait("every span has arrived or is counted as lost", || {
            Ok(self.collector.spans() + self.lost()? >= 2 * self.made)
        })?;
        Ok(door)
    }

    fn history_is_whole(&self) -> Result<()> {
        let made = self.made;
        let whole = || Ok(self.service.reported()? == made);
        self.service
            .wait("the history has every call", whole)
            .with_context(|| format!("{made} were made"))
    }
}

fn tls(files: &Certificates) -> Result<Arc<ServerConfig>> {
    server_config(Path::new(&files.certificate), Path::new(&files.key)).map(Arc::new)
}

#[test]
fn each_fault_under_load() -> Result<()> {
    let seconds = length()?;
    let service = Service::new("collector-faults")?;
    let authority = Authority::new(&service.file(""))?;
    let files = authority.certify("good", &[ADDRESS], None)?;
    let (good, collector) = (tls(&files)?, Collector::default());
    let mut door = Door::open(0, &collector, Some(Arc::clone(&good)))?;
    let port = door.port();
    // As much of it as overflows in that time, up to the defaults.
    let (queue, batch) = ((256 * seconds).min(4096), (64 * seconds).min(512));
    service.configure(&format!(
        "otlp.endpoint = \"https://{ADDRESS}:{port}\"\notlp.protocol = \"http/protobuf\"\n\
         otlp.certificate = {:?}\notlp.timeout = \"1s\"\notlp.delay = \"50ms\"\n\
         otlp.queue = {queue}\notlp.batch = {batch}\notlp.metrics = \"cumulative\"\notlp.interval = \"1s\"",
        files.ca
    ))?;
    let mut command = service.command();
    command.arg("--no-tls");
    let running = service.start_by(command)?;
    let mut scene = Scene {
        service: &service,
        agent: running.agent.id(),
        collector,
        authority,
        good,
        port,
        made: 0,
    };
    scene.made += scene.load(seconds)?;
    scene.history_is_whole()?;
    let usual = scene.memory()?;
    println!("\n{:<24}{:>10}{:>10}{:>12}", "fault", "calls", "spans lost", "KiB");
    println!("{:<24}{:>10}{:>10}{usual:>12}", "none", scene.made, scene.lost()?);
    let mut most = usual;
    for fault in FAULTS {
        let before = (scene.made, scene.lost()?);
        drop(door);
        scene.suffer(fault, seconds).with_context(|| format!("{fault:?}"))?;
        let memory = scene.memory()?;
        door = scene.recover().with_context(|| format!("{fault:?}"))?;
        let lost = scene.lost()?;
        let (name, calls) = (format!("{fault:?}"), scene.made - before.0);
        println!("{name:<24}{calls:>10}{:>10}{memory:>12}", lost - before.1);
        ensure!(lost > before.1, "{fault:?}: nothing is counted as lost");
        most = most.max(memory);
        service.wait("its metrics count the same", || {
            Ok(scene.lost_by_metrics()? == scene.lost()?)
        })?;
        scene.history_is_whole().with_context(|| format!("{fault:?}"))?;
    }
    ensure!(most <= usual + MEMORY_KIB, "it grew from {usual} to {most} KiB");
    let took = running.end()?;
    ensure!(took < END, "it took {took:?} to end\n{}", service.log());
    Ok(())
}
