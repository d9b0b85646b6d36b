//! Collectors that misbehave, and a service that sends to them: what can arrive does, once, what cannot is
//! counted, no call is lost to the history, and the end does not wait.

use std::collections::HashMap;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::harness::{Posted, Service, serve_grpc};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceService;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use tonic::{Request, Response, Status};

/// What SIGTERM may take.
const END: Duration = Duration::from_secs(5);
/// What a busy collector asks for.
const LATER: Duration = Duration::from_secs(1);

/// How a collector takes a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Manner {
    #[default]
    Well,
    /// It never answers.
    Silent,
    /// It asks for patience.
    Busy,
    /// It refuses one span of the next request, and is well then.
    Partial,
}

/// A collector whose manner can change.
#[derive(Clone, Debug, Default)]
struct Collector(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    manner: Manner,
    /// What it was at each request, and when that was.
    asked: Vec<(Manner, Instant)>,
    /// Of calls of each server, how often each SERVER span has come.
    spans: HashMap<String, HashMap<Vec<u8>, u32>>,
}

impl Collector {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn behave(&self, manner: Manner) {
        self.state().manner = manner;
    }

    /// When it was asked in this manner.
    fn asked(&self, manner: Manner) -> Vec<Instant> {
        let state = self.state();
        let asked = state.asked.iter().filter(|(was, _)| *was == manner);
        asked.map(|(_, at)| *at).collect()
    }

    /// Calls of this server that have arrived, each once.
    fn arrived(&self, server: &str) -> Result<u64> {
        let state = self.state();
        let Some(spans) = state.spans.get(server) else {
            return Ok(0);
        };
        ensure!(spans.values().all(|&times| times == 1), "a span came twice: {spans:?}");
        Ok(spans.len() as u64)
    }

    /// A request, by the manner of the moment.
    fn take(&self, request: ExportTraceServiceRequest) -> Manner {
        let mut state = self.state();
        let manner = state.manner;
        state.asked.push((manner, Instant::now()));
        if matches!(manner, Manner::Silent | Manner::Busy) {
            return manner;
        }
        state.manner = Manner::Well;
        for of_resource in request.resource_spans {
            let attributes = of_resource.resource.unwrap_or_default().attributes;
            let name = attributes.into_iter().find(|it| it.key == "service.name");
            let Some(Value::StringValue(server)) = name.and_then(|it| it.value?.value) else {
                continue;
            };
            let known = state.spans.entry(server).or_default();
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            for span in spans.filter(|span| span.kind() == SpanKind::Server) {
                *known.entry(span.span_id).or_default() += 1;
            }
        }
        manner
    }

    fn answer(manner: Manner) -> ExportTraceServiceResponse {
        let refused = ExportTracePartialSuccess {
            rejected_spans: 1,
            error_message: "one too many".to_owned(),
        };
        ExportTraceServiceResponse {
            partial_success: (manner == Manner::Partial).then_some(refused),
        }
    }

    /// Over HTTP, until the test ends.
    fn serve_http(&self, listener: TcpListener) {
        let collector = self.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let collector = collector.clone();
                // A connection that the agent gives up is no failure.
                std::thread::spawn(move || drop(collector.converse(&connection)));
            }
        });
    }

    fn converse(&self, mut connection: &TcpStream) -> Result<()> {
        let mut reader = BufReader::new(connection);
        while let Some(posted) = Posted::read(&mut reader)? {
            ensure!(posted.path == "/v1/traces", "{}", posted.path);
            match self.take(ExportTraceServiceRequest::decode(&*posted.body)?) {
                Manner::Silent => drop(reader.read(&mut [0])?),
                Manner::Busy => write!(
                    connection,
                    "HTTP/1.1 429 Too Many Requests\r\nretry-after: {}\r\ncontent-length: 0\r\n\r\n",
                    LATER.as_secs()
                )?,
                manner @ (Manner::Well | Manner::Partial) => {
                    let body = Self::answer(manner).encode_to_vec();
                    write!(connection, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())?;
                    connection.write_all(&body)?;
                }
            }
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        match self.take(request.into_inner()) {
            Manner::Silent => std::future::pending().await,
            Manner::Busy => Err(Status::unavailable("busy")),
            manner @ (Manner::Well | Manner::Partial) => Ok(Response::new(Self::answer(manner))),
        }
    }
}

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
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    match protocol {
        "grpc" => serve_grpc(listener, collector.clone())?,
        _ => collector.serve_http(listener),
    }
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
