//! Calls of one session, from the first message to the end.

mod common;

use common::{CLIENT, Host, SERVER, STDIN, STDOUT, call, result};
use mcp_proto::{
    Direction, FaultKind, Limits, Loss, Outcome, ProcessId, ResultType, Side, StreamId, Verdict,
};

const MS: u64 = 1_000_000;

#[test]
fn a_session_gives_calls_with_names_versions_and_instants() {
    let mut host = Host::new();
    host.handshake();
    host.ask(&call(1, "echo"));
    host.answer(&result(1, "hi"));
    assert_eq!(host.calls.len(), 2);
    let first = &host.calls[0];
    assert_eq!(
        (&*first.method.0, first.outcome),
        ("initialize", Outcome::Ok)
    );
    assert_eq!(first.protocol_version.as_deref(), Some("2025-06-18"));
    let it = &host.calls[1];
    assert_eq!(it.tool.as_deref(), Some("echo"));
    assert_eq!(it.protocol_version.as_deref(), Some("2025-06-18"));
    assert_eq!(
        (it.client.name.as_deref(), it.client.version.as_deref()),
        (Some("c"), Some("1"))
    );
    assert_eq!(
        (it.server.name.as_deref(), it.server.version.as_deref()),
        (Some("s"), Some("2"))
    );
    assert_eq!(
        (it.client.process, it.server.process),
        (Some(CLIENT), Some(SERVER))
    );
    assert_eq!(it.result_type, Some(ResultType::Complete));
    assert_eq!(it.streams, [Some(STDIN), Some(STDOUT)]);
    assert_eq!(&*it.request_id.0, "1");
    assert_eq!(it.request.bytes, call(1, "echo").len() as u64);
    let (request, response) = (it.request, it.response.unwrap());
    // 5 syscalls of 20 ns each came before.
    assert_eq!(request.first_written, Some(1_120));
    assert_eq!(request.last_written, Some(1_130));
    assert_eq!(
        (request.first_read, request.last_read),
        (Some(1_150), Some(1_150))
    );
    assert_eq!(
        (response.first_written, response.last_written),
        (Some(1_160), Some(1_170))
    );
    assert_eq!(
        (response.first_read, response.last_read),
        (Some(1_190), Some(1_190))
    );
    assert_eq!(it.ended, 1_190);
    assert!(it.loss.is_empty());
    assert!(host.faults.is_empty(), "{:?}", host.faults);
    assert_eq!(host.verdicts[&STDIN], Verdict::Watch);
    assert_eq!(host.verdicts[&STDOUT], Verdict::Watch);
    let stats = host.finish();
    assert_eq!(
        stats.bytes_skipped + stats.bytes_missing + stats.bytes_pending,
        0
    );
    assert_eq!(host.calls.len(), 2);
}

#[test]
fn ids_of_the_two_directions_do_not_meet() {
    let mut host = Host::new();
    host.handshake();
    host.ask(&call(0, "a"));
    host.answer(r#"{"jsonrpc":"2.0","id":0,"method":"sampling/createMessage","params":{}}"#);
    host.answer(&result(0, "x"));
    host.ask(r#"{"jsonrpc":"2.0","id":0,"result":{}}"#);
    let got: Vec<_> = host.calls[1..]
        .iter()
        .map(|it| (&*it.method.0, it.direction, it.outcome))
        .collect();
    assert_eq!(
        got,
        [
            ("tools/call", Direction::ClientToServer, Outcome::Ok),
            (
                "sampling/createMessage",
                Direction::ServerToClient,
                Outcome::Ok
            ),
        ]
    );
}

#[test]
fn outcomes() {
    let mut host = Host::new();
    host.handshake();
    for id in 1..=4 {
        host.ask(&call(id, &format!("t{id}")));
    }
    host.answer(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":2,"progress":1}}"#);
    host.answer(r#"{"jsonrpc":"2.0","id":2,"result":{"content":[],"isError":true}}"#);
    host.answer(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"x"}}"#);
    host.ask(r#"{"method":"notifications/cancelled","params":{"requestId":3,"reason":"x"},"jsonrpc":"2.0"}"#);
    host.answer(&result(3, "late"));
    host.answer(&result(3, "later"));
    host.finish();
    let got: Vec<_> = host.calls[1..]
        .iter()
        .map(|it| (it.tool.as_deref().unwrap(), it.outcome))
        .collect();
    assert_eq!(
        got,
        [
            ("t2", Outcome::ToolError),
            ("t1", Outcome::RpcError),
            ("t3", Outcome::Cancelled),
            ("t4", Outcome::Pending)
        ]
    );
    assert_eq!(host.calls[1].notifications, 1);
    assert_eq!(host.calls[2].error_code, Some(-32602));
    let kinds: Vec<_> = host.faults.iter().map(|fault| fault.kind).collect();
    assert_eq!(
        kinds,
        [FaultKind::ResponseAfterCancel, FaultKind::UnknownResponseId]
    );
}

#[test]
fn numbers_echoed_as_strings_are_tolerated_only_when_nothing_else_fits() {
    let mut host = Host::new();
    host.handshake();
    host.ask(&call(7, "number"));
    host.ask(r#"{"jsonrpc":"2.0","id":"7","method":"tools/call","params":{"name":"string"}}"#);
    host.answer(r#"{"jsonrpc":"2.0","id":"7","result":{}}"#);
    host.answer(r#"{"jsonrpc":"2.0","id":"7","result":{}}"#);
    let got: Vec<_> = host.calls[1..]
        .iter()
        .map(|it| it.tool.as_deref().unwrap())
        .collect();
    assert_eq!(got, ["string", "number"]);
}

#[test]
fn ends() {
    // The client dies.
    let mut host = Host::new();
    host.handshake();
    host.ask(&call(1, "t"));
    host.exit(CLIENT);
    assert_eq!(host.calls[1].outcome, Outcome::ClientExit);
    // The server dies.
    let mut host = Host::new();
    host.handshake();
    host.ask(&call(1, "t"));
    host.exit(SERVER);
    assert_eq!(host.calls[1].outcome, Outcome::ServerExit);
    // The client closes and lives on; the server answers one call and exits.
    let mut host = Host::new();
    host.handshake();
    host.ask(&call(1, "answered"));
    host.ask(&call(2, "abandoned"));
    host.read(STDIN, SERVER, 0);
    host.answer(&result(1, "x"));
    host.sleep(500 * MS);
    host.exit(SERVER);
    assert_eq!(host.calls.len(), 2);
    host.sleep(500 * MS);
    let got: Vec<_> = host.calls[1..]
        .iter()
        .map(|it| (it.tool.as_deref().unwrap(), it.outcome))
        .collect();
    assert_eq!(
        got,
        [("answered", Outcome::Ok), ("abandoned", Outcome::Abandoned)]
    );
    // The client closes because it exits.
    let mut host = Host::new();
    host.handshake();
    host.ask(&call(1, "t"));
    host.read(STDIN, SERVER, 0);
    host.exit(SERVER);
    host.exit(CLIENT);
    assert_eq!(host.calls[1].outcome, Outcome::ClientExit);
}

#[test]
fn a_response_that_is_not_read_is_held_and_then_said_to_be_unread() {
    let mut host = Host::new();
    host.handshake();
    host.ask(&call(1, "t"));
    let line = format!("{}\n", result(1, "x"));
    host.write(STDOUT, SERVER, line.as_bytes());
    host.sleep(20_000 * MS);
    assert_eq!(host.calls.len(), 1);
    host.sleep(11_000 * MS);
    assert_eq!(host.calls[1].loss, [Loss::ResponseUnread]);
}

#[test]
fn without_a_reader_calls_are_held_for_a_second_once() {
    let mut host = Host::new();
    let write = |host: &mut Host, stream, process, text: &str| {
        host.write(stream, process, format!("{text}\n").as_bytes());
    };
    write(&mut host, STDIN, CLIENT, &call(1, "a"));
    host.read(STDIN, SERVER, 100);
    write(&mut host, STDOUT, SERVER, &result(1, "x"));
    assert_eq!(host.calls.len(), 0);
    host.sleep(1_001 * MS);
    assert_eq!(host.calls.len(), 1);
    assert!(host.calls[0].response.unwrap().last_read.is_none());
    assert!(host.calls[0].loss.is_empty());
    write(&mut host, STDIN, CLIENT, &call(2, "b"));
    write(&mut host, STDOUT, SERVER, &result(2, "x"));
    assert_eq!(host.calls.len(), 2);
}

#[test]
fn the_readers_record_may_come_first_with_the_bytes() {
    let mut host = Host::new();
    let line = format!("{}\n", call(1, "a"));
    let len = line.len() as u64;
    host.syscall_at(
        STDIN,
        Side::Reader,
        SERVER,
        len,
        &[(0, line.as_bytes())],
        500,
        1_015,
    );
    host.syscall_at(
        STDIN,
        Side::Writer,
        CLIENT,
        len,
        &[(0, line.as_bytes())],
        1_000,
        1_020,
    );
    host.now = 1_100;
    host.answer(&result(1, "x"));
    assert_eq!(host.calls.len(), 1);
    let request = host.calls[0].request;
    assert_eq!(
        (request.first_written, request.last_read),
        (Some(1_000), Some(1_015))
    );
    let stats = host.finish();
    assert_eq!((stats.bytes_duplicate, stats.requests), (len, 1));
}

#[test]
fn attached_in_mid_life() {
    let mut host = Host::new();
    host.fresh = false;
    // 40 bytes were in flight.
    host.read(STDIN, SERVER, 40);
    host.write(STDIN, CLIENT, b"rest of a message\"}}\n");
    host.ask(&call(8, "a"));
    host.read(STDIN, SERVER, 21);
    host.answer(&result(7, "from before"));
    host.answer(&result(8, "x"));
    host.ask(&call(9, "b"));
    host.answer(&result(9, "x"));
    assert!(host.faults.is_empty(), "{:?}", host.faults);
    let got: Vec<_> = host
        .calls
        .iter()
        .map(|it| it.tool.as_deref().unwrap())
        .collect();
    assert_eq!(got, ["a", "b"]);
    assert!(host.calls[1].loss.is_empty());
    assert_eq!(
        host.calls[1].request.last_read.unwrap() - host.calls[1].request.first_written.unwrap(),
        30
    );
}

#[test]
fn head_and_tail_of_a_big_message() {
    let mut host = Host::new();
    host.handshake();
    host.ask(&call(1, "big"));
    host.ask(&call(2, "python"));
    let text = "z".repeat(600_000);
    let line = format!("{}\n", result(1, &text).replace("false", "true"));
    let bytes = line.as_bytes();
    let tail = bytes.len() - 4096;
    host.syscall(
        STDOUT,
        Side::Writer,
        SERVER,
        bytes.len() as u64,
        &[
            (0, &bytes[..65536]),
            (65536, &bytes[65536..131072]),
            (tail as u64, &bytes[tail..]),
        ],
    );
    host.read(STDOUT, CLIENT, bytes.len() as u64);
    let it = &host.calls[1];
    assert_eq!(
        (it.outcome, it.tool.as_deref()),
        (Outcome::ToolError, Some("big"))
    );
    assert_eq!(it.loss, [Loss::ResponseTruncated]);
    assert_eq!(it.response.unwrap().bytes, line.len() as u64 - 1);
    let line = format!(
        r#"{{"jsonrpc":"2.0","id":2,"result":{{"content":[{{"text":"{text}"}}],"isError":false}}}}"#
    ) + "\n";
    let bytes = line.as_bytes();
    let tail = bytes.len() - 4096;
    host.syscall(
        STDOUT,
        Side::Writer,
        SERVER,
        bytes.len() as u64,
        &[(0, &bytes[..65536]), (tail as u64, &bytes[tail..])],
    );
    host.read(STDOUT, CLIENT, bytes.len() as u64);
    assert_eq!(
        (host.calls[2].outcome, host.calls[2].tool.as_deref()),
        (Outcome::Ok, Some("python"))
    );
    assert_eq!(host.calls[2].loss, [Loss::ResponseTruncated]);
}

#[test]
fn pollution_is_reported_once_a_line() {
    let mut host = Host::new();
    host.answer("Starting server...");
    host.handshake();
    host.ask(&call(1, "t"));
    host.answer("debug: called");
    host.answer(&result(1, "x"));
    let kinds: Vec<_> = host
        .faults
        .iter()
        .map(|fault| (fault.kind, fault.bytes))
        .collect();
    assert_eq!(kinds, [(FaultKind::StdoutPollution, 13)]);
    assert_eq!(host.calls.len(), 2);
}

#[test]
fn what_is_not_mcp_is_ignored() {
    let streams: [(u64, &[u8]); 4] = [
        (10, b"Content-Length: 60\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{}}"),
        (11, b"\x16\x03\x01\x00\xa5\x01"),
        (12, b"a\nb\nc\nd\ne\nf\ng\nh\ni\n"),
        (13, b"{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n"),
    ];
    for (stream, bytes) in streams {
        let mut host = Host::new();
        host.write(StreamId(stream), ProcessId(5), bytes);
        assert_eq!(
            host.verdicts.get(&StreamId(stream)),
            Some(&Verdict::Ignore),
            "{stream}"
        );
        host.write(StreamId(stream), ProcessId(5), bytes);
        let stats = host.finish();
        assert_eq!(stats.bytes, 2 * bytes.len() as u64);
        assert!(host.faults.is_empty());
    }
}

#[test]
fn a_long_banner_before_the_first_response() {
    let mut host = Host::new();
    for line in 0..20 {
        host.answer(&format!("banner {line}"));
    }
    assert_eq!(host.verdicts[&STDOUT], Verdict::Ignore);
    host.ask(&call(1, "t"));
    assert_eq!(host.verdicts[&STDOUT], Verdict::LookAgain);
    host.answer(&result(1, "x"));
    assert_eq!(host.calls.len(), 1);
}

#[test]
fn a_proxy_is_a_server_and_a_client() {
    let mut host = Host::new();
    let (proxy, server) = (SERVER, ProcessId(300));
    let (up_in, up_out) = (StreamId(3), StreamId(4));
    for id in 1..=3 {
        host.ask(&call(id, &format!("outer{id}")));
        let line = format!("{}\n", call(id, &format!("inner{id}")));
        host.write(up_in, proxy, line.as_bytes());
        host.read(up_in, server, line.len() as u64);
        let line = format!("{}\n", result(id, "x"));
        host.write(up_out, server, line.as_bytes());
        host.read(up_out, proxy, line.len() as u64);
        host.answer(&result(id, "x"));
    }
    let got: Vec<_> = host
        .calls
        .iter()
        .map(|it| (it.tool.as_deref().unwrap(), it.server.process.unwrap().0))
        .collect();
    assert_eq!(
        got,
        [
            ("inner1", 300),
            ("outer1", 200),
            ("inner2", 300),
            ("outer2", 200),
            ("inner3", 300),
            ("outer3", 200)
        ]
    );
    assert_ne!(host.calls[0].connection, host.calls[1].connection);
}

#[test]
fn state_is_bounded() {
    let mut host = Host::with(Limits {
        calls_in_flight: 10,
        ..Limits::default()
    });
    host.handshake();
    for id in 1..=30 {
        host.ask(&call(id, &format!("t{id}")));
    }
    assert_eq!(host.calls.len(), 21);
    assert_eq!(host.calls[1].loss, [Loss::Evicted]);
    assert_eq!(host.finish().calls_evicted, 20);
    assert_eq!(host.calls.len(), 31);
}
