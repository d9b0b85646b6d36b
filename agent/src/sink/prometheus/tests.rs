use std::{
    io::{Read, Write},
    net::TcpStream,
};

use mcp_proto::Call;
use proptest::prelude::*;

use super::{
    super::{Losses, Metering, Sink},
    *,
};
use crate::{
    calls::{CallRecord, FaultRecord, record::tests::*},
    metrics::{Id, Kind, Options, Recorder, TABLE, samples::*},
};

const COST: AgentSample = AgentSample {
    cpu_seconds: 2.0,
    resident_bytes: 10,
    peak_bytes: 20,
};

fn with(change: impl FnOnce(&mut Call)) -> CallRecord {
    let mut call = call();
    change(&mut call);
    record(call)
}

fn encoded(calls: &[CallRecord], format: Format) -> String {
    let mut recorder = Recorder::new(Options::default(), 1);
    calls.iter().for_each(|call| recorder.call(call));
    recorder.agent(COST, 2);
    text::encode(&recorder.snapshot(3), format)
}

fn line<'a>(text: &'a str, start: &str) -> &'a str {
    text.lines()
        .find(|line| line.starts_with(start))
        .unwrap_or_else(|| panic!("no {start} in {text}"))
}

const CALL: &str = "service_name=\"python\",mcp_method_name=\"tools/call\",gen_ai_tool_name=\"echo\",\
                    gen_ai_operation_name=\"execute_tool\",mcp_protocol_version=\"2025-11-25\",network_transport=\"pipe\"";

#[test]
fn the_older_format() {
    let text = encoded(&[record(call())], Format::Text);
    let bucket = format!("mcp_server_operation_duration_seconds_bucket{{{CALL},le=\"1\"}} 1");
    assert_eq!(line(&text, &bucket), bucket, "no exemplar");
    line(
        &text,
        &format!("mcp_server_operation_duration_seconds_bucket{{{CALL},le=\"+Inf\"}} 1"),
    );
    line(
        &text,
        &format!("mcp_server_operation_duration_seconds_sum{{{CALL}}} 3.8e-5"),
    );
    line(
        &text,
        &format!("mcp_server_operation_duration_seconds_count{{{CALL}}} 1"),
    );
    line(&text, "# TYPE mcp_requests_total counter");
    line(&text, "# HELP mcp_requests_total Calls that have come out.");
    line(
        &text,
        "mcp_requests_total{method=\"tools/call\",status=\"ok\",server=\"python\"} 1",
    );
    line(&text, "mcpsonar_agent_cpu_time_seconds_total 2.0");
    line(&text, "# TYPE mcpsonar_agent_memory_usage_bytes gauge");
    line(&text, "mcpsonar_agent_memory_usage_bytes 10");
    assert!(!text.contains("EOF") && !text.contains("# UNIT"));
}

#[test]
fn open_metrics() {
    let call = record(call());
    let text = encoded(std::slice::from_ref(&call), Format::OpenMetrics);
    // The record ends at 52 microseconds of a clock that is a millisecond behind.
    let exemplar = format!(
        "mcp_server_operation_duration_seconds_bucket{{{CALL},le=\"0.01\"}} 1 # {{trace_id=\"{}\",span_id=\"{}\"}} 3.8e-5 0.001",
        call.trace_id,
        call.server_span_id.unwrap()
    );
    line(&text, &exemplar);
    line(
        &text,
        &format!("mcp_server_operation_duration_seconds_bucket{{{CALL},le=\"1.0\"}} 1"),
    );
    line(&text, "# TYPE mcp_requests counter");
    line(&text, "# UNIT mcp_server_operation_duration_seconds seconds");
    line(&text, "mcp_requests_total{");
    assert!(text.ends_with("\n# EOF\n"));
}

#[test]
fn buckets_of_the_operators() {
    let text = encoded(&[record(call())], Format::Text);
    let bounds: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("mcp_request_duration_seconds_bucket"))
        .filter_map(|line| line.split_once("le=\"")?.1.split_once('"'))
        .map(|(bound, _)| bound)
        .collect();
    assert_eq!(bounds, ["0.01", "0.05", "0.1", "0.5", "1", "2", "5", "10", "+Inf"]);
}

/// A recorder that has been told of everything that there is an instrument for.
fn full() -> Recorder {
    let mut recorder = Recorder::new(Options { exponential: true }, 1);
    recorder.call(&with(|call| {
        call.loss = vec![mcp_proto::Loss::Gap];
        call.request_hash = Some(1);
    }));
    recorder.call(&with(|call| call.request_hash = Some(1)));
    recorder.call(&busy(&["db:5432"]));
    recorder.fault(&FaultRecord {
        fault: "stdout_pollution",
        at_unix_ns: 5,
        at_mono_ns: 5,
        pid: None,
        comm: None,
        bytes: 1,
    });
    recorder.session(&SessionSample {
        client: Some("host"),
        server: Some("py"),
        protocol_version: Some("2025-11-25"),
        network_transport: "tcp",
        network_protocol: Some("http"),
        server_address: Some(("127.0.0.1", Some(80))),
        error_type: None,
        seconds: 61.0,
        ended_unix_ns: 5,
    });
    recorder.processes(&[process()], 9);
    let pressure = Pressure {
        resource: "io",
        stall: "some",
        shares: [0.5, 0.25, 0.1],
        total_seconds: 12.5,
    };
    let host = HostSample {
        booted_unix_ns: 1,
        core_percent: &[(0, 12.5)],
        pressure: &[pressure],
    };
    recorder.host(&host, 9);
    let flag = FlagCount {
        code: "cpu_high",
        severity: "warning",
        active: 1,
        raised: 4,
    };
    recorder.flags(&[flag], 9);
    let connections = ConnectionCount {
        server: Some("py"),
        transport: "stdio",
        open: 2,
    };
    recorder.connections(&[connections], 9);
    let streams = StreamCount {
        state: "watched",
        streams: 8,
    };
    recorder.streams(&[streams], 9);
    recorder.losses([("ring_dropped", 3)], 9);
    recorder.agent(COST, 9);
    recorder.hooks(
        &[HookCount {
            name: Some("tier 1"),
            on: false,
            hooks: 1,
        }],
        9,
    );
    recorder.exporters(
        &[ExporterSample {
            exporter: "otlp_spans",
            errors: Some(1),
            queue: Some((1, 2)),
            ..ExporterSample::default()
        }],
        9,
    );
    recorder.loads(
        &[LoadCount {
            service: Some("py"),
            unread: 1,
            read: 2,
        }],
        9,
    );
    recorder
}

/// A process of which everything is known.
fn process() -> ProcessSample<'static> {
    let (count, seconds) = (Some(3), Some(0.5));
    ProcessSample {
        service: Some("py"),
        pid: 7,
        program: Some("python3"),
        started_unix_ns: 2,
        cpu_user_seconds: seconds,
        cpu_system_seconds: seconds,
        cpu_user_share: seconds,
        cpu_system_share: seconds,
        run_queue_seconds: seconds,
        resident_bytes: count,
        proportional_bytes: count,
        swapped_bytes: count,
        virtual_bytes: count,
        disk_read_bytes: count,
        disk_written_bytes: count,
        threads: count,
        descriptors: count,
        descriptor_limit: count,
        group: GroupSample {
            memory_bytes: count,
            memory_limit_bytes: count,
            cpu_limit: seconds,
            throttled_seconds: seconds,
            since_unix_ns: 2,
        },
        switches_voluntary: count,
        switches_involuntary: count,
        faults_major: count,
        faults_minor: count,
    }
}

/// `MCPSONAR_TEST_KEEP=FOLDER` keeps the two texts, for `promtool check metrics` and the like.
#[test]
fn every_instrument_is_a_family_of_its_kind() {
    let snapshot = full().snapshot(10);
    for format in [Format::Text, Format::OpenMetrics] {
        let text = text::encode(&snapshot, format);
        if let Some(folder) = std::env::var_os("MCPSONAR_TEST_KEEP") {
            let file = std::path::Path::new(&folder).join(format!("{format:?}.txt"));
            std::fs::write(file, &text).unwrap();
        }
        // Nothing has been too much yet.
        for instrument in TABLE.iter().filter(|instrument| instrument.id != Id::AgentOverflows) {
            let name = instrument.prometheus_name();
            let (kind, suffix) = match instrument.kind {
                Kind::Counter => ("counter", "_total"),
                Kind::Histogram(_) => ("histogram", "_count"),
                Kind::Gauge | Kind::UpDownCounter => ("gauge", ""),
            };
            let of_sample = if format == Format::Text && kind == "counter" {
                suffix
            } else {
                ""
            };
            let declared = format!("# TYPE {name}{of_sample} {kind}");
            assert_eq!(text.lines().filter(|line| *line == declared).count(), 1, "{declared}");
            let sample = format!("{name}{suffix}");
            let mut samples = text.lines().filter_map(|line| line.split(['{', ' ']).next());
            assert!(samples.any(|it| it == sample), "no sample of {sample}");
        }
    }
}

/// What a label's value is between its quotes, by the grammar of both formats; `None` when the line
/// does not follow it.
fn parse_labels(line: &str) -> Option<Vec<(String, String)>> {
    let mut rest = line.split_once('{')?.1;
    let mut labels = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"")?;
        let (mut value, mut chars) = (String::new(), after.char_indices());
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    _ => return None,
                }),
                (_, c) => value.push(c),
            }
        };
        labels.push((name.to_owned(), value));
        rest = &after[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return rest.starts_with("} ").then_some(labels),
        }
    }
}

proptest! {
    #[test]
    fn names_from_the_wire_stay_values(name in "(?s).{0,60}", newline in any::<bool>()) {
        let name = if newline { format!("{name}\n\"}} 1\nevil{{a=\"\\") } else { name };
        let calls = [with(|call| call.tool = Some(name.as_str().into()))];
        for format in [Format::Text, Format::OpenMetrics] {
            let text = encoded(&calls, format);
            for line in text.lines() {
                prop_assert!(line.starts_with('#') || line.starts_with("mcp"), "{}", line);
                if line.starts_with("mcp_server_operation_duration_seconds_sum") {
                    let labels = parse_labels(line).unwrap();
                    let tool = &labels.iter().find(|(name, _)| name == "gen_ai_tool_name").unwrap().1;
                    prop_assert_eq!(tool, &*crate::sink::sanitise(&name));
                }
            }
        }
    }
}

fn get(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn serving() -> (Metering, SocketAddr) {
    let mut metering = Metering::new(Options::default());
    let endpoint = Prometheus::start("127.0.0.1:0".parse().unwrap(), metering.source()).unwrap();
    let address = endpoint.address();
    metering.serve(endpoint);
    (metering, address)
}

#[test]
fn over_http() {
    let (mut metering, address) = serving();
    metering.call(&record(call())).unwrap();
    let plain = get(address, "GET /metrics HTTP/1.1\r\nhost: h\r\n\r\n");
    assert!(plain.starts_with("HTTP/1.1 200 OK\r\n") && plain.contains("content-type: text/plain; version=0.0.4"));
    line(&plain, "mcp_requests_total{");
    line(&plain, "mcpsonar_agent_memory_usage_bytes ");
    let open = get(
        address,
        "GET /metrics HTTP/1.1\r\nhost: h\r\naccept: application/openmetrics-text\r\n\r\n",
    );
    assert!(
        open.contains("content-type: application/openmetrics-text; version=1.0.0") && open.contains("# {trace_id=")
    );
    assert!(get(address, "GET /x HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 404"));
    assert!(get(address, "POST /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 405"));
    metering.finish(&Losses::default()).unwrap();
    assert!(TcpStream::connect(address).is_err(), "it has ended with the sink");
}

#[test]
fn a_port_that_is_taken() {
    let (metering, address) = serving();
    let error = Prometheus::start(address, metering.source()).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot serve metrics: on {address}: Address already in use")),
        "{error}"
    );
    assert!(error.contains("give another address"), "{error}");
}

#[test]
fn those_who_connect_and_say_nothing_do_not_shut_others_out_for_long() {
    let metering = Metering::new(Options::default());
    let short = Duration::from_millis(300);
    let endpoint = Prometheus::start_with("127.0.0.1:0".parse().unwrap(), metering.source(), short).unwrap();
    let idle: Vec<TcpStream> = (0..40)
        .map(|_| TcpStream::connect(endpoint.address()).unwrap())
        .collect();
    let answer = get(endpoint.address(), "GET / HTTP/1.0\r\n\r\n");
    assert!(answer.contains("/metrics"), "{answer}");
    drop(idle);
}
