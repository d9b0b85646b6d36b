use std::{
    io::{BufRead, BufReader, Read, Write as _},
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread,
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    common::v1::{KeyValue, any_value},
    metrics::v1::{AggregationTemporality, Metric, metric, number_data_point},
};

use tonic::codec::CompressionEncoding;

use super::{
    super::{Otlp, OtlpProtocol, SignalSettings, client::Rejected, route::Signal},
    *,
};
use crate::{
    calls::record::tests::{call, record},
    metrics::{Options, samples::ProcessSample},
    sink::{Losses, Metering, Sink, WhenFull},
};

const WAIT: Duration = Duration::from_secs(10);

type Posts = mpsc::Receiver<(String, ExportMetricsServiceRequest)>;

/// A collector that takes metrics by POST and answers each with the next of `statuses`, then with 200.
fn http_collector(statuses: &'static [&'static str]) -> (SocketAddr, Posts) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, posts) = mpsc::channel();
    thread::spawn(move || {
        let mut statuses = statuses.iter();
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            loop {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if reader.read_line(&mut head).unwrap_or(0) == 0 {
                        break;
                    }
                }
                let header = |name: &str| {
                    let lines = head.to_lowercase();
                    let found = lines
                        .lines()
                        .find_map(|line| line.strip_prefix(name).map(str::to_owned));
                    found.map(|value| value.trim().to_owned())
                };
                let Some(length) = header("content-length:") else { break };
                let mut body = vec![0; length.parse().unwrap()];
                reader.read_exact(&mut body).unwrap();
                if head.starts_with("POST /v1/metrics ") {
                    let request = ExportMetricsServiceRequest::decode(&body[..]).unwrap();
                    drop(tell.send((head.clone(), request)));
                }
                let status = statuses.next().unwrap_or(&"200 OK");
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    (address, posts)
}

/// Sends the metrics of `metering` only.
fn start(address: SocketAddr, metering: &Metering, temporality: Temporality, interval: Duration) -> Otlp {
    let settings = OtlpSettings {
        metrics_only: SignalSettings {
            endpoint: Some(format!("http://{address}/v1/metrics")),
            ..SignalSettings::default()
        },
        metrics: true,
        temporality,
        interval,
        protocol: OtlpProtocol::Http,
        ..OtlpSettings::default()
    };
    Otlp::start(&settings, WhenFull::Wait, Some(metering.source())).unwrap()
}

fn named<'a>(request: &'a ExportMetricsServiceRequest, name: &str) -> Vec<(&'a [KeyValue], &'a Metric)> {
    let of_resource = request.resource_metrics.iter().flat_map(|of_resource| {
        let resource = &*of_resource.resource.as_ref().unwrap().attributes;
        let metrics = of_resource.scope_metrics.iter().flat_map(|scope| &scope.metrics);
        metrics.map(move |metric| (resource, metric))
    });
    of_resource.filter(|(_, metric)| metric.name == name).collect()
}

fn value(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

/// The count of calls that the agent has put together.
fn calls(request: &ExportMetricsServiceRequest) -> Option<(i64, i32)> {
    let (_, metric) = *named(request, "mcpsonar.agent.calls").first()?;
    let Some(metric::Data::Sum(sum)) = &metric.data else {
        panic!("{metric:?}")
    };
    match sum.data_points[0].value {
        Some(number_data_point::Value::AsInt(count)) => Some((count, sum.aggregation_temporality)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn by_convention_over_http() {
    let (address, posts) = http_collector(&[]);
    let mut metering = Metering::new(Options::default());
    let mut otlp = start(address, &metering, Temporality::Cumulative, WAIT);
    let call = record(call());
    metering.call(&call).unwrap();
    let process = ProcessSample {
        service: Some("python"),
        pid: 7,
        started_unix_ns: 3,
        resident_bytes: Some(4096),
        ..ProcessSample::default()
    };
    metering.recorder().lock().processes(&[process], 5);
    otlp.finish(&Losses::default()).unwrap();
    let (head, request) = posts.recv_timeout(WAIT).unwrap();
    assert!(
        head.to_lowercase().contains("content-type: application/x-protobuf"),
        "{head}"
    );

    let [(resource, server)] = named(&request, "mcp.server.operation.duration")[..] else {
        panic!("{request:?}")
    };
    assert_eq!(value(resource, "service.name").as_deref(), Some("python"));
    assert_eq!(server.unit, "s");
    let Some(metric::Data::Histogram(histogram)) = &server.data else {
        panic!("{server:?}")
    };
    assert_eq!(
        histogram.aggregation_temporality,
        AggregationTemporality::Cumulative as i32
    );
    let point = &histogram.data_points[0];
    assert_eq!(
        point.explicit_bounds,
        [
            0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0
        ]
    );
    assert_eq!(
        (point.count, point.bucket_counts[0], point.bucket_counts.len()),
        (1, 1, 15)
    );
    assert_eq!(point.exemplars[0].trace_id, call.trace_id.0);
    assert_eq!(
        value(&point.attributes, "mcp.method.name").as_deref(),
        Some("tools/call")
    );
    assert_eq!(value(&point.attributes, "service.name"), None, "it is on the resource");

    let [(resource, memory)] = named(&request, "process.memory.usage")[..] else {
        panic!("{request:?}")
    };
    assert_eq!(value(resource, "process.pid").as_deref(), Some("7"));
    assert!(
        matches!(&memory.data, Some(metric::Data::Sum(sum)) if !sum.is_monotonic && sum.data_points[0].start_time_unix_nano == 3)
    );
    let [(resource, _)] = named(&request, "mcpsonar.agent.memory.usage")[..] else {
        panic!("{request:?}")
    };
    assert_eq!(value(resource, "service.name").as_deref(), Some("mcpsonar"));
    assert!(
        named(&request, "mcp_requests_total").is_empty(),
        "those are Prometheus's"
    );
    assert_eq!(calls(&request), Some((1, AggregationTemporality::Cumulative as i32)));
}

#[test]
fn exponential_histograms() {
    let (address, posts) = http_collector(&[]);
    let mut metering = Metering::new(Options { exponential: true });
    let mut otlp = start(address, &metering, Temporality::Delta, WAIT);
    metering.call(&record(call())).unwrap();
    otlp.finish(&Losses::default()).unwrap();
    let (_, request) = posts.recv_timeout(WAIT).unwrap();
    let [(_, metric)] = named(&request, "mcp.client.operation.duration")[..] else {
        panic!("{request:?}")
    };
    let Some(metric::Data::ExponentialHistogram(histogram)) = &metric.data else {
        panic!("{metric:?}")
    };
    assert_eq!(histogram.aggregation_temporality, AggregationTemporality::Delta as i32);
    let point = &histogram.data_points[0];
    let positive = point.positive.as_ref().unwrap();
    assert_eq!((point.count, positive.bucket_counts.iter().sum::<u64>()), (1, 1));
    let base = f64::from(-point.scale).exp2().exp2();
    let low = base.powi(positive.offset);
    assert!(low < 42e-6 * 1.000_001 && 42e-6 <= low * base * 1.000_001, "{point:?}");
}

/// Exports until `count` messages have come, with a call before each of them but the first.
fn series_of(temporality: Temporality, statuses: &'static [&'static str], count: usize) -> Vec<Option<i64>> {
    let (address, posts) = http_collector(statuses);
    let mut metering = Metering::new(Options::default());
    let _otlp = start(address, &metering, temporality, Duration::from_millis(300));
    let mut seen = Vec::new();
    for _ in 0..count {
        metering.call(&record(call())).unwrap();
        let (_, request) = posts.recv_timeout(WAIT).unwrap();
        seen.push(calls(&request).map(|(calls, _)| calls));
    }
    seen
}

#[test]
fn totals_and_differences() {
    assert_eq!(series_of(Temporality::Cumulative, &[], 3), [1, 2, 3].map(Some));
    assert_eq!(series_of(Temporality::Delta, &[], 3), [1, 1, 1].map(Some));
}

#[test]
fn what_was_not_delivered_is_in_the_next_difference() {
    let refusals = &["503 Service Unavailable", "429 Too Many Requests"];
    assert_eq!(series_of(Temporality::Delta, refusals, 4), [1, 2, 3, 1].map(Some));
}

#[test]
fn a_collector_that_refuses_is_told_of() {
    let (address, _posts) = http_collector(&["400 Bad Request"]);
    let mut metering = Metering::new(Options::default());
    let mut otlp = start(address, &metering, Temporality::Cumulative, WAIT);
    metering.call(&record(call())).unwrap();
    let error = otlp.finish(&Losses::default()).unwrap_err().to_string();
    assert_eq!(
        error,
        "the last metrics were not delivered: the collector answers 400 Bad Request"
    );
}

#[test]
fn a_collector_that_never_answers_is_told_of() {
    // Bound and never accepted from.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let metering = Metering::new(Options::default());
    let mut otlp = start(listener.local_addr().unwrap(), &metering, Temporality::Cumulative, WAIT);
    let error = otlp.finish(&Losses::default()).unwrap_err().to_string();
    assert_eq!(error, "the last metrics were not delivered: it does not answer");
}

#[test]
fn large_snapshots_go_in_several_messages() {
    let metering = Metering::new(Options::default());
    let names: Vec<String> = (0..60).map(|service| format!("service{service}")).collect();
    let processes: Vec<ProcessSample<'_>> = (0..1900_u32)
        .map(|pid| ProcessSample {
            service: Some(&names[pid as usize % names.len()]),
            pid,
            resident_bytes: Some(1),
            virtual_bytes: Some(1),
            threads: Some(1),
            descriptors: Some(1),
            ..ProcessSample::default()
        })
        .collect();
    metering.recorder().lock().processes(&processes, 1);
    let requests = requests(
        &metering.source().snapshot(),
        Temporality::Cumulative,
        &Resources::new(&OtlpSettings::default()),
    );
    assert!(requests.len() > 1 && requests.iter().all(|request| request.encoded_len() < 4 << 20));
    let points: usize = requests
        .iter()
        .map(|request| named(request, "process.thread.count").len())
        .sum();
    assert_eq!(points, 1900);
}

struct Collector(mpsc::Sender<(Option<String>, ExportMetricsServiceRequest)>);

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        let key = request
            .metadata()
            .get("api-key")
            .and_then(|key| key.to_str().ok())
            .map(str::to_owned);
        drop(self.0.send((key, request.into_inner())));
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[test]
fn over_grpc_with_headers() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (tell, exports) = mpsc::channel();
    let metering = Metering::new(Options::default());
    metering.recorder().lock().call(&record(call()));
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let server = tonic::transport::Server::builder()
            .add_service(MetricsServiceServer::new(Collector(tell)).accept_compressed(CompressionEncoding::Gzip));
        tokio::spawn(server.serve(address));
        let settings = OtlpSettings {
            gzip: true,
            headers: vec![("API-Key".to_owned(), "k".to_owned())],
            ..OtlpSettings::to(format!("http://{address}"), OtlpProtocol::Grpc)
        };
        let (_ending, ends) = watch::channel(false);
        let mut delivery = Delivery::new(settings.route(Signal::Metrics).unwrap(), ends).unwrap();
        let resources = Resources::new(&settings);
        for request in requests(&metering.source().snapshot(), Temporality::Cumulative, &resources) {
            let request = request.encode_to_vec().into();
            let sent = delivery.deliver(request, WAIT, &Fate::default()).await;
            assert_eq!(sent, Ok(Rejected::default()));
        }
    });
    let (key, request) = exports.recv_timeout(WAIT).unwrap();
    assert_eq!(
        (key.as_deref(), calls(&request).map(|(calls, _)| calls)),
        (Some("k"), Some(1))
    );
    let settings = OtlpSettings {
        headers: vec![("a b".to_owned(), String::new())],
        ..OtlpSettings::to("http://h", OtlpProtocol::Grpc)
    };
    let error = Otlp::start(&settings, WhenFull::Drop, None).unwrap_err().to_string();
    assert!(error.contains("a b cannot be a header"), "{error}");
}
