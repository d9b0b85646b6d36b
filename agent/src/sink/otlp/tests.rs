use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread,
};

use mcp_proto::{Call, Carrier, Direction, Endpoint, Loss, Outcome, RequestId, TraceContext, Transport};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value},
    trace::v1::{Span, Status, span::SpanKind, status::StatusCode},
};
use prost::Message;

use super::*;
use crate::calls::Party;
use crate::calls::record::tests::{call, network, record, record_over};

mod collectors;
mod links;
mod tls;

const RECEIVE: Duration = Duration::from_secs(10);

fn with(change: impl FnOnce(&mut Call)) -> CallRecord {
    let mut call = call();
    change(&mut call);
    record(call)
}

fn to(url: &str, protocol: OtlpProtocol) -> OtlpSettings {
    OtlpSettings::to(url, protocol)
}

/// A span as the wire has it, and whose it is.
#[derive(Debug)]
struct OwnedSpan {
    owner: Party,
    span: Span,
}

fn spans_of(call: &CallRecord) -> Vec<OwnedSpan> {
    spans_with(call, None)
}

fn spans_with(call: &CallRecord, passed_on: Option<&hops::Hop>) -> Vec<OwnedSpan> {
    let spans = span::spans(call, &sampling::Kept::default(), passed_on);
    let on_the_wire = |span::OwnedSpan { owner, span, .. }| OwnedSpan {
        owner,
        span: span.into(),
    };
    spans.into_iter().map(on_the_wire).collect()
}

/// A collector that takes one POST.
fn http_collector() -> (SocketAddr, mpsc::Receiver<(String, ExportTraceServiceRequest)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, requests) = mpsc::channel();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap() == 0 {
                    return;
                }
            }
            let length = head
                .to_lowercase()
                .lines()
                .find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap()];
            reader.read_exact(&mut body).unwrap();
            tell.send((head, ExportTraceServiceRequest::decode(&body[..]).unwrap()))
                .unwrap();
            reader
                .get_mut()
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .unwrap();
        }
    });
    (address, requests)
}

/// What a collector got of these calls, as (resource, span).
fn exported(calls: &[CallRecord]) -> Vec<(Vec<KeyValue>, Span)> {
    let (address, requests) = http_collector();
    let mut otlp = Otlp::start(
        &to(&format!("http://{address}"), OtlpProtocol::Http),
        WhenFull::Wait,
        None,
    )
    .unwrap();
    for call in calls {
        otlp.call(call).unwrap();
    }
    otlp.finish(&Losses::default()).unwrap();
    drop(otlp);
    let mut spans = Vec::new();
    while let Ok((head, request)) = requests.recv_timeout(RECEIVE) {
        assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
        for of_resource in request.resource_spans {
            let resource = of_resource.resource.unwrap().attributes;
            let of_scope = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(of_scope.map(|span| (resource.clone(), span)));
        }
    }
    spans
}

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    let value = attributes.iter().find(|it| it.key == name)?.value.as_ref()?;
    match value.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Any value as text.
fn shown(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|it| it.key == name)?.value.as_ref()?;
    Some(show(value.value.as_ref()?))
}

fn show(value: &any_value::Value) -> String {
    match value {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        any_value::Value::DoubleValue(number) => number.to_string(),
        any_value::Value::BoolValue(flag) => flag.to_string(),
        any_value::Value::ArrayValue(array) => {
            let values = array.values.iter().filter_map(|it| it.value.as_ref());
            values.map(show).collect::<Vec<_>>().join(",")
        }
        other => format!("{other:?}"),
    }
}

fn kind(spans: &[(Vec<KeyValue>, Span)], kind: SpanKind) -> &(Vec<KeyValue>, Span) {
    spans.iter().find(|(_, span)| span.kind == kind as i32).unwrap()
}

#[test]
fn both_ends_of_a_call() {
    let record = record(call());
    let spans = exported(std::slice::from_ref(&record));
    assert_eq!(spans.len(), 2);
    let (client_resource, client) = kind(&spans, SpanKind::Client);
    let (server_resource, server) = kind(&spans, SpanKind::Server);
    assert_eq!((&*client.name, &*server.name), ("tools/call echo", "tools/call echo"));
    assert_eq!(client.trace_id, record.trace_id.0);
    assert_eq!(client.span_id, record.client_span_id.unwrap().0);
    assert_eq!(server.span_id, record.server_span_id.unwrap().0);
    assert_eq!(server.parent_span_id, client.span_id);
    assert!(client.parent_span_id.is_empty());
    // The client waited from its write to its last read; the server took from its last read to its write.
    assert_eq!(
        (client.start_time_unix_nano, client.end_time_unix_nano),
        (1_010_000, 1_052_000)
    );
    assert_eq!(
        (server.start_time_unix_nano, server.end_time_unix_nano),
        (1_012_000, 1_050_000)
    );
    assert_eq!(text(client_resource, "service.name"), Some("host"));
    assert_eq!(text(server_resource, "service.name"), Some("python"));
    assert_eq!(text(server_resource, "process.executable.name"), Some("python"));
    for (name, value) in [
        ("mcp.method.name", Some("tools/call")),
        ("gen_ai.tool.name", Some("echo")),
        ("gen_ai.operation.name", Some("execute_tool")),
        ("jsonrpc.request.id", Some("3")),
        ("mcp.protocol.version", Some("2025-11-25")),
        ("network.transport", Some("pipe")),
        ("mcp.session.id", None),
        ("network.protocol.name", None),
        ("error.type", None),
        ("mcpsonar.call.id", Some(&*record.call.to_string())),
        ("mcpsonar.loss", None),
    ] {
        assert_eq!(text(&client.attributes, name), value, "{name}");
        assert_eq!(text(&server.attributes, name), value, "{name}");
    }
    assert_eq!(
        client.status.as_ref().map_or(0, |status| status.code),
        StatusCode::Unset as i32
    );
}

#[test]
fn a_call_over_http() {
    let mut over = call();
    (over.transport, over.carrier) = (Transport::Http, Carrier::Tcp);
    over.http_status = Some(200);
    let spans = spans_of(&record_over(over, Some(network())));
    let value = |span: &OwnedSpan, name: &str| shown(&span.span.attributes, name);
    let [client, server] = &spans[..] else {
        panic!("{spans:?}")
    };
    for (name, of_client, of_server) in [
        ("network.transport", Some("tcp"), Some("tcp")),
        ("network.protocol.name", Some("http"), Some("http")),
        ("http.response.status_code", Some("200"), Some("200")),
        ("server.address", Some("::1"), None),
        ("server.port", Some("7900"), None),
        ("client.address", None, Some("127.0.0.1")),
        ("client.port", None, Some("40312")),
        ("error.type", None, None),
        ("mcpsonar.transport", Some("http"), Some("http")),
        ("mcpsonar.tls", Some("true"), Some("true")),
        ("mcpsonar.tcp.connect", None, None),
        ("mcpsonar.tcp.rtt", Some("0.000007"), Some("0.000007")),
        ("mcpsonar.tcp.retransmits", Some("1"), Some("1")),
        ("mcpsonar.tcp.in_flight", Some("9"), Some("9")),
    ] {
        assert_eq!(value(client, name).as_deref(), of_client, "{name} of the client");
        assert_eq!(value(server, name).as_deref(), of_server, "{name} of the server");
    }
}

/// `error.type` of the requester's and of the responder's span.
fn errors(change: impl FnOnce(&mut Call)) -> [Option<String>; 2] {
    let spans = spans_of(&with(change));
    let error = |span: &OwnedSpan| {
        let of = shown(&span.span.attributes, "error.type");
        let failed = span.span.status.as_ref().map(Status::code) == Some(StatusCode::Error);
        assert_eq!(of.is_some(), failed);
        of
    };
    [error(&spans[0]), error(&spans[1])]
}

#[test]
fn who_calls_what_an_error() {
    let rpc = |code| {
        errors(move |call: &mut Call| {
            call.outcome = Outcome::RpcError;
            call.error_code = Some(code);
        })
    };
    for code in [-32700, -32600, -32601, -32602, -32002] {
        assert_eq!(rpc(code), [Some(code.to_string()), None], "the caller's fault");
    }
    for code in [-32603, -32000, -32001, -32020, 42] {
        assert_eq!(rpc(code), [Some(code.to_string()), Some(code.to_string())]);
    }
    for (outcome, name) in [
        (Outcome::ToolError, "tool_error"),
        (Outcome::Cancelled, "cancelled"),
        (Outcome::Abandoned, "abandoned"),
        (Outcome::ClientExit, "client_exit"),
        (Outcome::ServerExit, "server_exit"),
        (Outcome::RpcError, "_OTHER"),
    ] {
        let both = errors(|call: &mut Call| call.outcome = outcome);
        assert_eq!(both, [Some(name.to_owned()), Some(name.to_owned())]);
    }
    for (status, name) in [(Some(404), "404"), (None, "_OTHER")] {
        let both = errors(|call: &mut Call| (call.outcome, call.http_status) = (Outcome::HttpError, status));
        assert_eq!(both, [Some(name.to_owned()), Some(name.to_owned())]);
    }
    for outcome in [Outcome::Ok, Outcome::Pending] {
        assert_eq!(errors(|call: &mut Call| call.outcome = outcome), [None, None]);
    }
}

#[test]
fn parents() {
    let context = TraceContext {
        trace_id: [7; 16],
        parent_id: [8; 8],
        flags: 1,
    };
    let both = spans_of(&with(|call| call.trace_context = Some(context.clone())));
    let parent = |spans: &[OwnedSpan], index: usize| spans[index].span.parent_span_id.clone();
    assert_eq!(parent(&both, 0), [8; 8]);
    assert_eq!(parent(&both, 1), both[0].span.span_id);
    assert_eq!(both[0].span.trace_id, [7; 16]);

    let server_only = spans_of(&with(|call| {
        call.trace_context = Some(context);
        call.client = Endpoint::default();
    }));
    assert_eq!((server_only.len(), parent(&server_only, 0)), (1, vec![8; 8]));
    assert!(
        spans_of(&with(|call| {
            call.client = Endpoint::default();
            call.server = Endpoint::default();
        }))
        .is_empty()
    );

    // The server asks: its span is the CLIENT one.
    let reversed = with(|call| call.direction = Direction::ServerToClient);
    let spans = spans_of(&reversed);
    assert_eq!(spans[0].span.kind(), SpanKind::Client);
    assert_eq!(spans[0].span.span_id, reversed.server_span_id.unwrap().0);
    assert_eq!(spans[0].owner.label(), Some("python"));
    assert_eq!(parent(&spans, 1), reversed.server_span_id.unwrap().0);
}

#[test]
fn odd_calls() {
    let odd = with(|call| {
        call.request_id = RequestId("\"a\\nb\"".into());
        call.method.0 = "resources/read".into();
        call.tool = None;
        call.resource = Some("file:///x".into());
        call.response = None;
        call.outcome = Outcome::ServerExit;
        call.loss = vec![Loss::Gap];
        call.ended = 5;
    });
    let spans = spans_of(&odd);
    let attribute = |name: &str| shown(&spans[1].span.attributes, name);
    assert_eq!(attribute("jsonrpc.request.id").as_deref(), Some("a\nb"));
    assert_eq!(attribute("mcp.resource.uri").as_deref(), Some("file:///x"));
    assert_eq!(attribute("gen_ai.operation.name"), None);
    assert_eq!(attribute("mcpsonar.loss").as_deref(), Some("gap"));
    assert_eq!(spans[1].span.name, "resources/read", "no URI in the name");
    assert!(
        spans
            .iter()
            .all(|span| span.span.end_time_unix_nano >= span.span.start_time_unix_nano)
    );
    let null = spans_of(&with(|call| call.request_id = RequestId("null".into())));
    assert!(
        !null[0]
            .span
            .attributes
            .iter()
            .any(|attribute| attribute.key == "jsonrpc.request.id")
    );
}

struct Collector(mpsc::Sender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.send(request.into_inner()).unwrap();
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[test]
fn over_grpc() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (tell, requests) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(tell)));
        runtime.block_on(server.serve(address)).unwrap();
    });
    let up = Instant::now();
    while std::net::TcpStream::connect(address).is_err() && up.elapsed() < RECEIVE {
        thread::sleep(POLL);
    }
    let mut otlp = Otlp::start(
        &to(&format!("http://{address}"), OtlpProtocol::Grpc),
        WhenFull::Drop,
        None,
    )
    .unwrap();
    otlp.call(&record(call())).unwrap();
    otlp.finish(&Losses::default()).unwrap();
    let request = requests.recv_timeout(RECEIVE).unwrap();
    assert_eq!(request.resource_spans.len(), 2, "one for each process");
}

/// Offers more calls than the queue holds to a collector that never answers.
fn overrun(protocol: OtlpProtocol) {
    // Bound and never accepted from: connections hang, as behind a dead host.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let settings = OtlpSettings {
        queue: 64,
        ..to(&url, protocol)
    };
    let mut otlp = Otlp::start(&settings, WhenFull::Drop, None).unwrap();
    let start = Instant::now();
    let one = record(call());
    for _ in 0..10_000 {
        otlp.call(&one).unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(otlp.dropped() > 0 && otlp.queued >= settings.queue as u64);
    let error = otlp.finish(&Losses::default()).unwrap_err();
    assert!(error.to_string().contains("spans were not delivered"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
}

#[test]
fn a_collector_that_is_away_costs_only_its_queue_over_grpc() {
    overrun(OtlpProtocol::Grpc);
}

#[test]
fn a_collector_that_is_away_costs_only_its_queue_over_http() {
    overrun(OtlpProtocol::Http);
}

#[test]
fn a_collector_that_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut otlp = Otlp::start(&to(&url, OtlpProtocol::Http), WhenFull::Wait, None).unwrap();
    otlp.call(&record(call())).unwrap();
    let error = otlp.finish(&Losses::default()).unwrap_err().to_string();
    assert!(error.starts_with("2 of 2 spans were not delivered: "), "{error}");
    assert!(matches!(
        Otlp::start(&to("h:1", OtlpProtocol::Http), WhenFull::Wait, None),
        Err(OtlpError::Url { .. })
    ));
}
