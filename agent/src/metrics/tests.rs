use mcp_proto::{Call, Carrier, Direction, Endpoint, Loss, Outcome, Transport};
use proptest::prelude::*;

use super::{samples::*, *};
use crate::calls::{CallRecord, FaultRecord, record::tests::*};

mod bounds;
mod responder;
mod sampled;

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
    calls.iter().for_each(|call| recorder.call(call));
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
fn what_goes_on_has_no_duration() {
    let snapshot = of(&[with(|call| call.outcome = Outcome::Pending)]);
    assert_eq!(
        (total(&snapshot, Id::Requests), total(&snapshot, Id::RequestDuration)),
        (1, 0)
    );
    assert!(points(&snapshot, Id::ClientOperation).is_empty() && points(&snapshot, Id::ServerOperation).is_empty());
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
fn repeated_requests() {
    let mut recorder = recorder();
    let took = |millis: u64, hash: Option<u64>| {
        with(move |call| {
            call.request_hash = hash;
            let response = call.response.as_mut().unwrap();
            response.first_written = Some(12_000 + millis * 1_000_000);
            response.first_read = Some(14_000 + millis * 1_000_000);
            response.last_read = Some(15_000 + millis * 1_000_000);
        })
    };
    for (millis, hash) in [(100, Some(1)), (5, Some(1)), (90, Some(1)), (1, Some(2)), (1, None)] {
        recorder.call(&took(millis, hash));
    }
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
    recorder.call(&with(|call| {
        call.outcome = Outcome::ToolError;
        call.request_hash = Some(1);
    }));
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
    // Each is many calls.
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn deltas_sum_to_the_total(calls in prop::collection::vec((0..4_usize, 1_000_u64..40_000_000_000), 0..60), cut in 0..60_usize) {
        let record = |(tool, nanos): (usize, u64)| with(move |call| {
            call.tool = Some(format!("tool{tool}").into());
            call.response.as_mut().unwrap().last_read = Some(60_000 + nanos);
        });
        let mut recorder = recorder();
        let mut snapshots = vec![Snapshot::default()];
        for (index, call) in calls.iter().enumerate() {
            recorder.call(&record(*call));
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
