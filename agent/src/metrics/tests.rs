use mcp_proto::{Call, Carrier, Direction, Endpoint, Loss, Outcome, Transport};
use proptest::prelude::*;

use super::{samples::*, *};
use crate::calls::{CallRecord, FaultRecord, record::tests::*};

fn with(change: impl FnOnce(&mut Call)) -> CallRecord {
    let mut call = call();
    change(&mut call);
    record(call)
}

fn recorder() -> Recorder {
    Recorder::new(Options { exponential: true }, 1)
}

fn of(calls: &[CallRecord]) -> Snapshot {
    let mut recorder = recorder();
    calls.iter().for_each(|call| recorder.call(call, None));
    recorder.snapshot(100)
}

fn points(snapshot: &Snapshot, id: Id) -> &[Point] {
    snapshot.family(id).map_or(&[], |family| &family.points)
}

fn only(snapshot: &Snapshot, id: Id) -> &Point {
    let [point] = points(snapshot, id) else {
        panic!("{:?}", points(snapshot, id))
    };
    point
}

fn histogram(point: &Point) -> &Histogram {
    match &point.data {
        Data::Histogram(histogram) => histogram,
        other => panic!("{other:?}"),
    }
}

fn total(snapshot: &Snapshot, id: Id) -> u64 {
    let counts = points(snapshot, id).iter().map(|point| match &point.data {
        Data::Count(count) => *count,
        Data::Histogram(histogram) => histogram.count(),
        Data::Number(number) => panic!("{number} is no count"),
    });
    counts.sum()
}

fn text(attributes: &Attributes) -> String {
    let pairs: Vec<String> = attributes
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(" ")
}

#[test]
fn the_table_is_consistent() {
    let mut names: Vec<String> = TABLE.iter().map(|it| it.prometheus_name().into_owned()).collect();
    for (index, instrument) in TABLE.iter().enumerate() {
        assert_eq!(instrument.id as usize, index);
        assert!(!instrument.description.contains('\n') && instrument.description.ends_with('.'));
        let valid = |name: &str| {
            name.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c))
        };
        assert!(valid(instrument.name), "{}", instrument.name);
        assert_eq!(
            instrument.name.starts_with("mcpsonar."),
            instrument.origin == Origin::Own
        );
        let mut attributes: Vec<&str> = instrument.attributes.iter().map(|it| it.name).collect();
        assert!(attributes.iter().all(|name| valid(name) && *name != "le"));
        attributes.sort_unstable();
        attributes.dedup();
        assert_eq!(attributes.len(), instrument.attributes.len(), "{}", instrument.name);
        if let Kind::Histogram(bounds) = instrument.kind {
            assert!(bounds.is_sorted() && bounds.iter().all(|bound| bound.is_finite()));
        }
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), TABLE.len());
}

#[test]
fn names_for_prometheus() {
    for (id, name) in [
        (Id::ServerOperation, "mcp_server_operation_duration_seconds"),
        (Id::ProcessMemoryUsage, "process_memory_usage_bytes"),
        (Id::ProcessCpuUtilization, "process_cpu_utilization_ratio"),
        (Id::ProcessThreads, "process_thread_count"),
        (Id::ProcessUptime, "process_uptime_seconds"),
        (Id::RequestDuration, "mcp_request_duration_seconds"),
        (Id::Requests, "mcp_requests"),
        (Id::MemoryUsage, "mcp_memory_usage_bytes"),
        (Id::CpuUsage, "mcp_cpu_usage_percent"),
    ] {
        assert_eq!(id.instrument().prometheus_name(), name);
    }
}

#[test]
fn a_call_is_measured_at_both_ends() {
    let call = record(call());
    let snapshot = of(std::slice::from_ref(&call));
    let client = only(&snapshot, Id::ClientOperation);
    let server = only(&snapshot, Id::ServerOperation);
    let common = "mcp.method.name=tools/call gen_ai.tool.name=echo gen_ai.operation.name=execute_tool \
                  mcp.protocol.version=2025-11-25 network.transport=pipe";
    assert_eq!(text(&client.attributes), format!("service.name=host {common}"));
    assert_eq!(text(&server.attributes), format!("service.name=python {common}"));
    // As the spans: 10 to 52 and 12 to 50 microseconds.
    assert!((histogram(client).sum - 42e-6).abs() < 1e-12 && (histogram(server).sum - 38e-6).abs() < 1e-12);
    assert_eq!((histogram(client).counts[0], histogram(client).count()), (1, 1));
    let exemplar = histogram(server).exemplars[0].unwrap();
    assert_eq!(
        (exemplar.trace_id, exemplar.span_id),
        (call.trace_id, call.server_span_id)
    );
    assert_eq!(exemplar.at_unix_ns, call.clock.unix(call.ended));

    let request = only(&snapshot, Id::RequestDuration);
    assert_eq!(text(&request.attributes), "method=tools/call status=ok server=python");
    assert!((histogram(request).sum - 42e-6).abs() < 1e-12);
    assert_eq!(points(&snapshot, Id::CallPart).len(), 4);
    assert_eq!(total(&snapshot, Id::AgentCalls), 1);
}

#[test]
fn one_end_seen_is_one_measurement() {
    let server_only = of(&[with(|call| call.client = Endpoint::default())]);
    assert!(points(&server_only, Id::ClientOperation).is_empty());
    assert_eq!(total(&server_only, Id::ServerOperation), 1);
    let none = of(&[with(|call| {
        call.client = Endpoint::default();
        call.server = Endpoint::default();
    })]);
    assert_eq!((total(&none, Id::Requests), total(&none, Id::ServerOperation)), (1, 0));
    // The server asks: its end is the client's one by the conventions.
    let reversed = of(&[with(|call| call.direction = Direction::ServerToClient)]);
    let attributes = &only(&reversed, Id::ClientOperation).attributes;
    assert!(text(attributes).starts_with("service.name=python"), "{attributes:?}");
}

#[test]
fn failures_and_addresses() {
    let mut over = call();
    (over.transport, over.carrier) = (Transport::Http, Carrier::Tcp);
    (over.outcome, over.error_code) = (Outcome::RpcError, Some(-32602));
    over.loss = vec![Loss::Gap];
    let snapshot = of(&[record_over(over, Some(network()))]);
    let client = text(&only(&snapshot, Id::ClientOperation).attributes);
    let server = text(&only(&snapshot, Id::ServerOperation).attributes);
    assert!(
        client.contains("error.type=-32602 rpc.response.status_code=-32602"),
        "{client}"
    );
    assert!(
        client.ends_with("network.transport=tcp network.protocol.name=http server.address=::1 server.port=7900"),
        "{client}"
    );
    assert!(
        !server.contains("error.type") && server.contains("rpc.response.status_code=-32602"),
        "{server}"
    );
    assert!(!server.contains("address"), "{server}");
    assert_eq!(
        text(&only(&snapshot, Id::CallsIncomplete).attributes),
        "mcpsonar.loss=gap"
    );
    assert_eq!(
        only(&snapshot, Id::Requests).attributes.get("status"),
        Some(&"rpc_error".into())
    );
}

#[test]
fn names_from_the_wire_are_bounded() {
    let nasty = |round: usize| {
        with(move |call| {
            call.tool = Some(format!("tool{}", round % 700).into());
            call.method.0 = format!("x/method{}", round % 400).into();
            call.server.name = Some(format!("server{}", round % 500).into());
            call.error_code = Some(i64::try_from(round).unwrap());
            call.outcome = Outcome::RpcError;
            call.protocol_version = Some(format!("v{round}").into());
        })
    };
    let mut recorder = recorder();
    for round in 0..6000 {
        recorder.call(&nasty(round), None);
    }
    let snapshot = recorder.snapshot(1);
    for id in [
        Id::ClientOperation,
        Id::ServerOperation,
        Id::Requests,
        Id::RequestDuration,
    ] {
        let most = limits::CALL_SERIES + limits::OVERFLOW_SERIES + 1;
        assert!(
            points(&snapshot, id).len() <= most,
            "{id:?}: {}",
            points(&snapshot, id).len()
        );
        assert_eq!(total(&snapshot, id), 6000, "{id:?}: nothing is lost, only blurred");
    }
    assert!(total(&snapshot, Id::AgentOverflows) > 0);
    // What comes later and is new shares; what was known before is still told apart.
    recorder.call(&with(|call| call.tool = Some("late".into())), None);
    recorder.call(&nasty(0), None);
    let later = recorder.snapshot(2);
    let texts: Vec<String> = points(&later, Id::ServerOperation)
        .iter()
        .map(|it| text(&it.attributes))
        .collect();
    assert!(
        texts
            .iter()
            .any(|text| text.contains("_OTHER") && text.contains("execute_tool"))
    );
    let first = points(&later, Id::Requests)
        .iter()
        .find(|it| text(&it.attributes).ends_with("server=server0"))
        .unwrap();
    assert!(matches!(first.data, Data::Count(count) if count >= 2));
}

#[test]
fn one_service_cannot_crowd_out_another() {
    let mut recorder = recorder();
    for round in 0..5000 {
        recorder.call(&with(|call| call.tool = Some(format!("tool{round}").into())), None);
    }
    recorder.call(&with(|call| call.server.name = Some("other".into())), None);
    let snapshot = recorder.snapshot(1);
    let other = points(&snapshot, Id::ServerOperation)
        .iter()
        .map(|it| text(&it.attributes));
    assert!(
        other
            .into_iter()
            .any(|it| it.starts_with("service.name=other") && it.contains("gen_ai.tool.name=echo"))
    );
    let tools = points(&snapshot, Id::ServerOperation).len();
    assert_eq!(
        tools,
        limits::TOOLS + 2,
        "the tools of one, _OTHER of it, and the other's"
    );
}

#[test]
fn idle_series_make_room() {
    let mut recorder = recorder();
    let at = |second: u64, tool: usize, server: usize| {
        with(move |call| {
            call.ended = second * 1_000_000_000;
            call.server.name = Some(format!("server{server}").into());
            call.tool = Some(format!("tool{tool}").into());
        })
    };
    for round in 0..limits::CALL_SERIES {
        recorder.call(&at(1, round % 100, round / 100), None);
    }
    recorder.call(&at(100, 200, 3), None);
    let full = recorder.snapshot(1);
    assert_eq!(points(&full, Id::ServerOperation).len(), limits::CALL_SERIES + 1);
    recorder.call(&at(2 + limits::IDLE_NS / 1_000_000_000, 201, 3), None);
    let swept = recorder.snapshot(1);
    assert!(points(&swept, Id::ServerOperation).len() <= 2);
}

#[test]
fn long_and_evil_names() {
    let evil = "\x1b]0;x\n\"\\é".repeat(100);
    let snapshot = of(&[with(|call| call.tool = Some(evil.as_str().into()))]);
    let Some(Value::Text(tool)) = only(&snapshot, Id::ServerOperation).attributes.get("gen_ai.tool.name") else {
        panic!("no tool")
    };
    assert!(
        tool.len() <= 3 * limits::VALUE_BYTES && !tool.chars().any(char::is_control),
        "{tool}"
    );
}

#[test]
fn sessions_of_eras_that_have_them() {
    let session = SessionSample {
        client: Some("host"),
        server: Some("py"),
        protocol_version: Some("2025-11-25"),
        network_transport: "tcp",
        network_protocol: Some("http"),
        server_address: Some(("127.0.0.1", Some(80))),
        error_type: None,
        seconds: 61.0,
        ended_unix_ns: 5,
    };
    let mut recorder = recorder();
    recorder.session(&session);
    recorder.session(&SessionSample {
        protocol_version: Some("2026-07-28"),
        ..session.clone()
    });
    let snapshot = recorder.snapshot(6);
    let client = only(&snapshot, Id::ClientSession);
    assert_eq!(histogram(client).counts[12], 1, "up to 120 s");
    assert_eq!(
        text(&client.attributes),
        "service.name=host mcp.protocol.version=2025-11-25 network.protocol.name=http network.transport=tcp \
         server.address=127.0.0.1 server.port=80"
    );
    assert_eq!(total(&snapshot, Id::ServerSession), 1);
}

#[test]
fn a_sample_replaces_the_one_before() {
    let process = |pid, bytes| ProcessSample {
        service: Some("py"),
        pid,
        program: Some("python3"),
        started_unix_ns: 1_000_000_000,
        resident_bytes: Some(bytes),
        cpu_user_seconds: Some(1.5),
        faults_major: Some(3),
        ..ProcessSample::default()
    };
    let mut recorder = recorder();
    recorder.processes(&[process(7, 100), process(8, 50)], 3_000_000_000);
    let snapshot = recorder.snapshot(1);
    let rows: Vec<_> = points(&snapshot, Id::ProcessMemoryUsage)
        .iter()
        .map(|it| text(&it.attributes))
        .collect();
    assert_eq!(
        rows,
        [7, 8].map(|pid| format!("service.name=py process.pid={pid} process.executable.name=python3"))
    );
    let memory = only(&snapshot, Id::MemoryUsage);
    assert_eq!(
        (text(&memory.attributes), &memory.data),
        ("type=rss".to_owned(), &Data::Count(150))
    );
    assert_eq!(points(&snapshot, Id::ProcessUptime)[0].data, Data::Number(2.0));
    assert_eq!(points(&snapshot, Id::ProcessCpuTime)[0].start_unix_ns, 1_000_000_000);
    recorder.processes(&[process(8, 60)], 4_000_000_000);
    assert_eq!(total(&recorder.snapshot(1), Id::ProcessMemoryUsage), 60);
    recorder.processes(&[], 5_000_000_000);
    let gone = recorder.snapshot(1);
    assert!(points(&gone, Id::ProcessFaults).is_empty() && points(&gone, Id::MemoryUsage).is_empty());

    let many: Vec<_> = (0..5000).map(|pid| process(pid, 1)).collect();
    recorder.processes(&many, 6_000_000_000);
    let crowd = recorder.snapshot(1);
    assert!(points(&crowd, Id::ProcessMemoryUsage).len() <= limits::PROCESS_SERIES + 2);
    assert_eq!(total(&crowd, Id::ProcessMemoryUsage), 5000);
}

#[test]
fn the_host_flags_streams_losses_and_the_agent() {
    let mut recorder = recorder();
    let pressure = Pressure {
        resource: "memory",
        stall: "full",
        shares: [0.5, 0.25, 0.1],
        total_seconds: 12.5,
    };
    let host = HostSample {
        booted_unix_ns: 9,
        core_percent: &[(0, 12.5), (1, 99.0)],
        pressure: &[pressure],
    };
    recorder.host(&host, 10);
    let flag = FlagCount {
        code: "cpu_high",
        severity: "warning",
        active: 1,
        raised: 4,
    };
    recorder.flags(&[flag], 10);
    let connections = [("stdio", 2), ("http", 3)].map(|(transport, open)| ConnectionCount {
        server: Some("py"),
        transport,
        open,
    });
    recorder.connections(&connections, 10);
    recorder.streams(
        &[StreamCount {
            state: "watched",
            streams: 8,
        }],
        10,
    );
    recorder.losses([("ring_dropped", 3), ("output_dropped", 2)], 10);
    let cost = AgentSample {
        cpu_seconds: 0.25,
        resident_bytes: 10,
        peak_bytes: 20,
    };
    recorder.agent(cost, 10);
    recorder.fault(&FaultRecord {
        fault: "stdout_pollution",
        at_unix_ns: 5,
        at_mono_ns: 5,
        pid: None,
        comm: None,
        bytes: 1,
    });
    let snapshot = recorder.snapshot(11);
    let rows: Vec<String> = snapshot
        .families
        .iter()
        .flat_map(|family| family.points.iter().map(move |point| (family.instrument.name, point)))
        .map(|(name, point)| format!("{name} {} {:?}", text(&point.attributes), point.data))
        .collect();
    for row in [
        "mcpsonar.system.pressure mcpsonar.pressure.resource=memory mcpsonar.pressure.stall=full mcpsonar.pressure.window=1m Number(0.25)",
        "mcpsonar.system.pressure.time mcpsonar.pressure.resource=memory mcpsonar.pressure.stall=full Number(12.5)",
        "mcp_cpu_usage_percent core=1 Number(99.0)",
        "mcpsonar.flags.active mcpsonar.flag.code=cpu_high mcpsonar.flag.severity=warning Count(1)",
        "mcpsonar.flags.raised mcpsonar.flag.code=cpu_high mcpsonar.flag.severity=warning Count(4)",
        "mcpsonar.connections service.name=py mcpsonar.transport=stdio Count(2)",
        "mcp_active_connections server=py Count(5)",
        "mcpsonar.streams mcpsonar.stream.state=watched Count(8)",
        "mcpsonar.losses mcpsonar.loss=ring_dropped Count(3)",
        "mcpsonar.agent.cpu.time  Number(0.25)",
        "mcpsonar.agent.memory.peak  Count(20)",
        "mcpsonar.protocol.faults mcpsonar.fault=stdout_pollution Count(1)",
    ] {
        assert!(rows.iter().any(|it| it == row), "{row} is missing in {rows:#?}");
    }
}

#[test]
fn repeated_requests() {
    let mut recorder = recorder();
    let took = |millis: u64, tool: &'static str| {
        with(move |call| {
            let response = call.response.as_mut().unwrap();
            response.first_written = Some(12_000 + millis * 1_000_000);
            response.first_read = Some(14_000 + millis * 1_000_000);
            response.last_read = Some(15_000 + millis * 1_000_000);
            call.tool = Some(tool.into());
        })
    };
    recorder.call(&took(100, "a"), Some(1));
    recorder.call(&took(5, "a"), Some(1));
    recorder.call(&took(90, "a"), Some(1));
    recorder.call(&took(1, "a"), Some(2));
    recorder.call(&took(1, "a"), None);
    let snapshot = recorder.snapshot(1);
    let rows: Vec<_> = points(&snapshot, Id::CacheOperations)
        .iter()
        .map(|it| (text(&it.attributes), it.data.clone()))
        .collect();
    let row = |result| {
        (
            format!("operation=tools/call cache_level=server result={result}"),
            Data::Count(1),
        )
    };
    assert_eq!(rows, [row("hit"), row("miss")]);
    // A failure is not an answer.
    recorder.call(&with(|call| call.outcome = Outcome::ToolError), Some(1));
    assert_eq!(total(&recorder.snapshot(1), Id::CacheOperations), 2);
}

#[test]
fn deltas_of_what_began_anew_and_of_what_goes_up_and_down() {
    let mut recorder = recorder();
    recorder.streams(
        &[StreamCount {
            state: "watched",
            streams: 8,
        }],
        10,
    );
    recorder.losses([("gap", 3)], 10);
    let first = recorder.snapshot(20);
    recorder.losses([("gap", 3)], 25);
    let second = recorder.snapshot(30);
    let delta = second.since(&first);
    assert!(points(&delta, Id::Losses).is_empty(), "nothing was lost in between");
    assert_eq!(total(&delta, Id::Streams), 8, "what there is, not what is new");
    let process = |start, seconds| ProcessSample {
        pid: 7,
        started_unix_ns: start,
        cpu_user_seconds: Some(seconds),
        ..ProcessSample::default()
    };
    recorder.processes(&[process(1, 9.0)], 40);
    let before = recorder.snapshot(40);
    recorder.processes(&[process(45, 2.0)], 50);
    let after = recorder.snapshot(50).since(&before);
    let point = only(&after, Id::ProcessCpuTime);
    assert_eq!(
        (&point.data, point.start_unix_ns),
        (&Data::Number(2.0), 45),
        "another process with its id"
    );
}

proptest! {
    #[test]
    fn deltas_sum_to_the_total(calls in prop::collection::vec((0..4_usize, 1_000_u64..40_000_000_000), 0..60), cut in 0..60_usize) {
        let record = |(tool, nanos): (usize, u64)| with(move |call| {
            call.tool = Some(format!("tool{tool}").into());
            call.response.as_mut().unwrap().last_read = Some(60_000 + nanos);
        });
        let mut recorder = recorder();
        let mut snapshots = vec![Snapshot::default()];
        for (index, call) in calls.iter().enumerate() {
            recorder.call(&record(*call), None);
            if index % cut.max(1) == 0 {
                snapshots.push(recorder.snapshot(index as u64));
            }
        }
        snapshots.push(recorder.snapshot(1000));
        let whole = snapshots.last().unwrap();
        let deltas: Vec<Snapshot> = snapshots.windows(2).map(|pair| pair[1].since(&pair[0])).collect();
        for point in points(whole, Id::ClientOperation) {
            let whole = histogram(point);
            let parts: Vec<&Histogram> = deltas
                .iter()
                .flat_map(|delta| points(delta, Id::ClientOperation))
                .filter(|it| it.attributes == point.attributes)
                .map(histogram)
                .collect();
            for bucket in 0..whole.counts.len() {
                prop_assert_eq!(parts.iter().map(|part| part.counts[bucket]).sum::<u64>(), whole.counts[bucket]);
            }
            prop_assert!((parts.iter().map(|part| part.sum).sum::<f64>() - whole.sum).abs() < 1e-6);
            let exponential = |histogram: &Histogram| histogram.exponential.as_ref().unwrap().counts.iter().sum::<u64>();
            prop_assert_eq!(parts.iter().map(|part| exponential(part)).sum::<u64>(), exponential(whole));
        }
        prop_assert_eq!(deltas.iter().map(|delta| total(delta, Id::Requests)).sum::<u64>(), calls.len() as u64);
    }
}
