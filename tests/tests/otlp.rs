//! Calls arrive at a collector as spans that follow the semantic conventions.

use std::collections::HashMap;
use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::harness::{Posted, Run, Trace, check_perfect, serve_grpc};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceService;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use tonic::{Request, Response, Status};

struct Grpc(Sender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0
            .send(request.into_inner())
            .map_err(|_gone| Status::unavailable("the test has ended"))?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A collector on a port of its own; it ends with the test.
fn grpc() -> Result<(u16, Receiver<ExportTraceServiceRequest>)> {
    let (tell, got) = channel();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    serve_grpc(listener, Grpc(tell))?;
    Ok((port, got))
}

fn http() -> Result<(u16, Receiver<ExportTraceServiceRequest>)> {
    let (tell, got) = channel();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let tell = tell.clone();
            std::thread::spawn(move || {
                if let Err(e) = serve(&connection, &tell) {
                    eprintln!("the collector's connection ended: {e:#}");
                }
            });
        }
    });
    Ok((port, got))
}

/// Requests on one connection.
fn serve(mut connection: &TcpStream, tell: &Sender<ExportTraceServiceRequest>) -> Result<()> {
    let mut reader = BufReader::new(connection);
    while let Some(posted) = Posted::read(&mut reader)? {
        ensure!(posted.path == "/v1/traces", "another path: {}", posted.path);
        tell.send(ExportTraceServiceRequest::decode(&*posted.body)?)?;
        connection
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")?;
    }
    Ok(())
}

fn attributes(span: &Span) -> HashMap<&str, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => format!("{other:?}"),
    };
    let one = |kv: &opentelemetry_proto::tonic::common::v1::KeyValue| kv.value.as_ref()?.value.as_ref().map(text);
    span.attributes
        .iter()
        .filter_map(|kv| Some((kv.key.as_str(), one(kv)?)))
        .collect()
}

fn traced(
    name: &str,
    protocol: &str,
    client: &[&str],
    collector: (u16, Receiver<ExportTraceServiceRequest>),
) -> Result<(Run, Vec<Span>)> {
    let (port, got) = collector;
    let url = format!("http://127.0.0.1:{port}");
    let run = Trace::new(name)?
        .options(&["--otlp", &url, "--otlp-protocol", protocol])
        .client(client, &[])?;
    check_perfect(&run)?;
    // The agent has ended, so all that it sent is here.
    let mut requests: Vec<_> = got.try_iter().collect();
    requests.extend(got.recv_timeout(Duration::from_millis(200)));
    let resources = requests.into_iter().flat_map(|request| request.resource_spans);
    let spans = resources.flat_map(|r| r.scope_spans).flat_map(|scope| scope.spans);
    // What a server waited for has spans below its own.
    let of_call = |span: &Span| !attributes(span).contains_key("mcpsonar.upstream.kind");
    let spans: Vec<Span> = spans.filter(of_call).collect();
    ensure!(
        spans.len() == 2 * run.calls.len(),
        "{} spans of {} calls, each seen at both ends\n{}",
        spans.len(),
        run.calls.len(),
        run.stderr
    );
    Ok((run, spans))
}

fn check(span: &Span, call: &serde_json::Value) -> Result<()> {
    let attributes = attributes(span);
    let is = |key: &str, value: &str| -> Result<()> {
        let got = attributes.get(key);
        ensure!(
            got.map(String::as_str) == Some(value),
            "{key} is {got:?} instead of {value:?}"
        );
        Ok(())
    };
    let server = span.kind() == SpanKind::Server;
    let method = call["method"].as_str().unwrap_or_default();
    let target = call["tool"].as_str().or(call["prompt"].as_str());
    ensure!(
        span.name == target.map_or(method.to_owned(), |target| format!("{method} {target}")),
        "the name is {}",
        span.name
    );
    is("mcp.method.name", method)?;
    is("network.transport", "pipe")?;
    let id = &call["request_id"];
    is("jsonrpc.request.id", &id.as_str().map_or(id.to_string(), str::to_owned))?;
    if let Some(tool) = call["tool"].as_str() {
        is("gen_ai.tool.name", tool)?;
        is("gen_ai.operation.name", "execute_tool")?;
    } else {
        ensure!(
            !attributes.contains_key("gen_ai.operation.name"),
            "an operation name on {method}"
        );
    }
    ensure!(
        !attributes.contains_key("mcp.session.id"),
        "stdio has no Mcp-Session-Id"
    );
    ensure!(
        !attributes
            .keys()
            .any(|key| key.contains("arguments") || key.contains("result") && *key != "mcpsonar.result.type"),
        "payload"
    );
    let code = call["error_code"].as_i64();
    // The caller's faults are no errors of the server.
    let callers = [-32700, -32600, -32601, -32602, -32002];
    let failed = match (call["outcome"].as_str(), code) {
        (Some("ok"), _) => None,
        (Some("tool_error"), _) => Some("tool_error".to_owned()),
        (_, Some(code)) if server && callers.contains(&code) => None,
        (_, Some(code)) => Some(code.to_string()),
        _ => return Ok(()),
    };
    if let Some(code) = code {
        is("rpc.response.status_code", &code.to_string())?;
    }
    match failed {
        Some(kind) => is("error.type", &kind)?,
        None => ensure!(
            !attributes.contains_key("error.type"),
            "error.type {:?} on what is no error",
            attributes.get("error.type")
        ),
    }
    let status = span
        .status
        .as_ref()
        .map_or(StatusCode::Unset, opentelemetry_proto::tonic::trace::v1::Status::code);
    ensure!(
        (status == StatusCode::Error) == attributes.contains_key("error.type"),
        "the status {status:?}"
    );
    ensure!(
        span.end_time_unix_nano >= span.start_time_unix_nano,
        "it ends before it starts"
    );
    Ok(())
}

fn conform(run: &Run, spans: &[Span]) -> Result<()> {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let by_id: HashMap<String, &Span> = spans.iter().map(|span| (hex(&span.span_id), span)).collect();
    ensure!(by_id.len() == spans.len(), "two spans share an id");
    for call in &run.calls {
        let span = |end: &str| {
            by_id
                .get(call[end].as_str().unwrap_or_default())
                .copied()
                .with_context(|| format!("no {end}: {call}"))
        };
        let (client, server) = (span("client_span_id")?, span("server_span_id")?);
        // The one who asks is the client of the span, and a server of the protocol may ask.
        let (outer, inner) = if call["direction"] == "server_to_client" {
            (server, client)
        } else {
            (client, server)
        };
        let kinds = (outer.kind(), inner.kind());
        ensure!(
            kinds == (SpanKind::Client, SpanKind::Server),
            "the kinds are {kinds:?} in {call}"
        );
        for span in [outer, inner] {
            ensure!(
                hex(&span.trace_id) == call["trace_id"].as_str().unwrap_or_default(),
                "another trace: {call}"
            );
            check(span, call).with_context(|| format!("{:?} span {:?} of {call}", span.kind(), span.name))?;
        }
        ensure!(
            inner.parent_span_id == outer.span_id,
            "the server's span is no child of the client's: {call}"
        );
        ensure!(
            outer.start_time_unix_nano <= inner.start_time_unix_nano,
            "the child starts before its parent: {call}"
        );
    }
    ensure!(
        spans.iter().any(|span| span.name == "tools/call echo"),
        "no span is named 'tools/call echo'"
    );
    Ok(())
}

#[test]
fn over_http() -> Result<()> {
    let (run, spans) = traced("otlp_http", "http", &["--script", "all"], http()?)?;
    conform(&run, &spans)
}

#[test]
fn over_grpc() -> Result<()> {
    let (run, spans) = traced("otlp_grpc", "grpc", &["--script", "all", "--ids", "string"], grpc()?)?;
    conform(&run, &spans)
}

#[test]
fn modern_over_grpc() -> Result<()> {
    let (run, spans) = traced("otlp_modern", "grpc", &["--script", "all", "--era", "modern"], grpc()?)?;
    conform(&run, &spans)?;
    let version = |span: &Span| attributes(span).get("mcp.protocol.version").cloned();
    let named = spans
        .iter()
        .filter(|span| version(span).as_deref() == Some("2026-07-28"))
        .count();
    ensure!(
        named == spans.len(),
        "{named} of {} spans tell their revision",
        spans.len()
    );
    Ok(())
}

#[test]
fn a_collector_that_is_away_harms_nobody() -> Result<()> {
    // A port that nobody listens on: it was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let url = format!("http://127.0.0.1:{port}");
    let run = Trace::new("otlp_away")?
        .options(&["--otlp", &url])
        .client(&["--script", "basic"], &[])?;
    check_perfect(&run)?;
    ensure!(
        run.stderr.contains(&port.to_string()),
        "nobody was told that spans could not be sent:\n{}",
        run.stderr
    );
    Ok(())
}
