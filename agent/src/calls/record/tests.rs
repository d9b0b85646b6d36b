use mcp_proto::{Carrier, ConnectionId, Continuation, Endpoint, Half, Method, ProcessId, RequestId};
use serde_json::{Value, json};

use super::*;
use crate::calls::UpstreamKind;

/// A tool call that was seen from both ends and answered.
pub(crate) fn call() -> Call {
    let half = |base, bytes| Half {
        first_written: Some(base),
        last_written: Some(base + 500),
        first_read: Some(base + 1000),
        last_read: Some(base + 2000),
        bytes,
    };
    Call {
        connection: ConnectionId(1),
        streams: [None, None],
        sequence: 4,
        transport: Transport::Stdio,
        carrier: Carrier::Pipe,
        protocol_version: Some("2025-11-25".into()),
        direction: Direction::ClientToServer,
        method: Method("tools/call".into()),
        tool: Some("echo".into()),
        prompt: None,
        resource: None,
        request_id: RequestId("3".into()),
        client: Endpoint {
            process: Some(ProcessId(1)),
            name: Some("host".into()),
            version: Some("1".into()),
        },
        server: Endpoint {
            process: Some(ProcessId(2)),
            name: None,
            version: None,
        },
        request: half(10_000, 100),
        request_hash: None,
        response: Some(half(50_000, 2000)),
        outcome: Outcome::Ok,
        ended: 52_000,
        error_code: None,
        result_type: Some(ResultType::Complete),
        task: None,
        continues: None,
        notifications: 2,
        notices: vec![],
        session: None,
        http_status: None,
        http_version: None,
        position: None,
        relays: None,
        overlapped: false,
        trace_context: None,
        ambient_context: None,
        loss: vec![],
    }
}

fn run() -> Run {
    Run::new("boot".to_owned(), 7)
}

/// The record of a call between two known processes.
pub(crate) fn record(call: Call) -> CallRecord {
    record_over(call, None)
}

/// A connection with addresses.
pub(crate) fn network() -> Network {
    Network {
        client: "127.0.0.1:40312".parse().ok(),
        server: "[::1]:7900".parse().ok(),
        tls: true,
        tcp: Some(TcpRecord {
            srtt_us: 7,
            retransmits: 1,
            in_flight_bytes: 9,
            ..TcpRecord::default()
        }),
    }
}

/// As [`record`], over such a connection.
pub(crate) fn record_over(call: Call, network: Option<Network>) -> CallRecord {
    let facts = |pid, comm: &str| {
        Arc::new(ProcessFacts {
            pid,
            comm: Some(comm.to_owned()),
            cmdline: vec![comm.to_owned()],
            ..ProcessFacts::default()
        })
    };
    let client = call.client.process.map(|_| facts(1, "node"));
    let server = call.server.process.map(|_| facts(2, "python"));
    let key = ConnectionKey::new("boot:1:2".to_owned());
    let clock = ClockOffset(1_000_000);
    CallRecord::new(
        call,
        CallSource {
            account: None,
            run: &run(),
            connection: &key,
            client: client.as_ref(),
            server: server.as_ref(),
            network,
            clock,
        },
    )
}

/// A call whose server waited for a disk and for `peers`, a second each.
pub(crate) fn busy(peers: &[&str]) -> CallRecord {
    let mut call = record(call());
    call.causes_us.disk = Some(1e6);
    call.causes_us.on_cpu = Some(0.0);
    let upstream = |peer: &&str| Upstream {
        peer: (*peer).into(),
        kind: UpstreamKind::Connection,
        address: None,
        us: 1e6,
        bytes: 1,
        connect_us: None,
        first_byte_us: None,
        exit_status: None,
    };
    call.upstreams = peers.iter().map(upstream).collect();
    call
}

fn json_of(record: &CallRecord) -> Value {
    serde_json::to_value(record).unwrap()
}

fn json(call: Call) -> Value {
    json_of(&record(call))
}

#[test]
fn names_and_order_are_the_contract() {
    let text = serde_json::to_string(&record(call())).unwrap();
    let contract = [
        "call",
        "trace_id",
        "client_span_id",
        "server_span_id",
        "seen_by",
        "transport",
        "network_transport",
        "tls",
        "protocol_version",
        "session",
        "direction",
        "method",
        "tool",
        "prompt",
        "resource",
        "request_id",
        "client",
        "server",
        "client_address",
        "server_address",
        "start_unix_ns",
        "start_mono_ns",
        "latency_us",
        "parts_us",
        "outcome",
        "error_code",
        "request_bytes",
        "response_bytes",
        "notifications",
        "causes_us",
        "dominant_cause",
        "upstreams",
        "syscalls",
        "shared_window",
        "resources",
        "loss",
        "result_type",
        "task",
        "continues",
        "http_status",
        "tcp",
        "parent_call",
    ];
    let mut at = 0;
    for name in contract {
        let found = text[at..].find(&format!("\"{name}\":"));
        assert!(found.is_some(), "{name} is missing or out of order in {text}");
        at += found.unwrap();
    }
    assert_eq!(json(call()).as_object().unwrap().len(), contract.len());
}

#[test]
fn values() {
    let record = json(call());
    assert_eq!(record["seen_by"], json!(["client", "server"]));
    assert_eq!(record["start_mono_ns"], 10_000);
    assert_eq!(record["start_unix_ns"], 1_010_000);
    assert_eq!(record["latency_us"], 42.0);
    let parts = json!({"request_queue": 1.0, "server": 38.0, "response_queue": 1.0, "transfer": 2.0});
    assert_eq!(record["parts_us"], parts);
    let client = json!({"pid": 1, "name": "host", "version": "1", "comm": "node", "exe": null,
        "cmdline": ["node"], "cgroup": null, "container": null});
    assert_eq!(record["client"], client);
    assert_eq!(record["request_id"], 3);
    assert_eq!(record["upstreams"], json!([]));
    assert_eq!(record["causes_us"]["on_cpu"], Value::Null);
    assert_eq!(record["result_type"], "complete");
    assert_eq!(record["session"].as_str().unwrap().len(), 16);
    assert_eq!(record["trace_id"].as_str().unwrap().len(), 32);
}

#[test]
fn values_of_http() {
    let mut over = call();
    (over.transport, over.carrier) = (Transport::Http, Carrier::Tcp);
    over.http_status = Some(404);
    over.outcome = Outcome::HttpError;
    over.relays = Some(mcp_proto::CallRef {
        connection: ConnectionId(9),
        direction: Direction::ClientToServer,
        sequence: 3,
        streams: [None, None],
        session: None,
    });
    let record = json_of(&record_over(over, Some(network())));
    assert_eq!(
        (&record["transport"], &record["network_transport"]),
        (&json!("http"), &json!("tcp"))
    );
    assert_eq!(
        (&record["http_status"], &record["outcome"]),
        (&json!(404), &json!("http_error"))
    );
    assert_eq!((&record["tls"], &record["session"]), (&json!(true), &Value::Null));
    assert_eq!(record["client_address"], "127.0.0.1:40312");
    assert_eq!(record["server_address"], "[::1]:7900");
    // The request's last byte was written at 10.5 us, the response's first byte read at 51 us.
    let tcp = json!({"connect_us": null, "time_to_first_byte_us": 40.5, "srtt_us": 7,
        "retransmits": 1, "in_flight_bytes": 9});
    assert_eq!(record["tcp"], tcp);
    let outer = run().call(ConnectionId(9), Direction::ClientToServer, 3);
    assert_eq!(record["parent_call"], outer.to_string());
}

#[test]
fn an_id_is_emitted_as_the_wire_had_it() {
    for token in [
        "7",
        "-1",
        "1.50",
        "\"7\"",
        "\"\\u0041\"",
        "123456789012345678901234567890",
    ] {
        let mut call = call();
        call.request_id = RequestId(token.into());
        let text = serde_json::to_string(&record(call)).unwrap();
        assert!(text.contains(&format!("\"request_id\":{token},")), "{text}");
    }
    assert_eq!(raw_token("not json").get(), "\"not json\"");
}

#[test]
fn the_session_goes_with_the_era() {
    let version = |version: Option<&str>| {
        let mut call = call();
        call.protocol_version = version.map(Into::into);
        json(call)["session"].is_string()
    };
    assert!(version(Some("2025-11-25")) && version(None));
    assert!(!version(Some("2026-07-28")) && !version(Some("2027-01-01")));
}

#[test]
fn one_end_and_no_answer() {
    let mut one = call();
    one.client = Endpoint::default();
    one.request.first_written = None;
    one.response = None;
    one.outcome = Outcome::ServerExit;
    one.loss = vec![Loss::Gap, Loss::ResponseUnread];
    one.continues = Some(Continuation { sequence: 1 });
    one.task = Some(TaskState {
        id: "t".into(),
        status: None,
        age: Some(1500),
    });
    let earlier = run().call(ConnectionId(1), Direction::ClientToServer, 1);
    let record = json(one);
    assert_eq!(record["seen_by"], json!(["server"]));
    assert_eq!(
        (&record["client"], &record["client_span_id"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(record["start_mono_ns"], 11_000);
    assert_eq!(record["latency_us"], 41.0);
    assert_eq!(
        (&record["outcome"], &record["response_bytes"]),
        (&json!("server_exit"), &json!(0))
    );
    assert_eq!(record["loss"], json!(["gap", "response_unread"]));
    assert_eq!(record["continues"], earlier.to_string());
    assert_eq!(record["task"], json!({"id": "t", "status": null, "age_us": 1.5}));
}

#[test]
fn roles_stay_when_the_server_asks() {
    let mut sampling = call();
    sampling.direction = Direction::ServerToClient;
    let record = record(sampling);
    assert_eq!(record.requester().unwrap().facts.as_ref().unwrap().pid, 2);
    assert_eq!(record.responder().unwrap().label(), Some("host"));
    assert_eq!(serde_json::to_value(&record).unwrap()["direction"], "server_to_client");
}
