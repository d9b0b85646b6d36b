//! Calls of one session, from the first message to the end.

use crate::host::{CLIENT, Host, SERVER, STDIN, STDOUT, call, result};
use mcp_proto::{
    Carrier, Content, Direction, FaultKind, Limits, Loss, Outcome, PairId, ProcessId, ResultType, Side, StreamId,
    Transfer, Transport, Verdict,
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
    assert_eq!((&*first.method.0, first.outcome), ("initialize", Outcome::Ok));
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
    assert_eq!((it.client.process, it.server.process), (Some(CLIENT), Some(SERVER)));
    assert_eq!(it.result_type, Some(ResultType::Complete));
    assert_eq!(it.streams, [Some(STDIN), Some(STDOUT)]);
    assert_eq!(&*it.request_id.0, "1");
    assert_eq!(it.request.bytes, call(1, "echo").len() as u64);
    let (request, response) = (it.request, it.response.unwrap());
    // 5 syscalls of 20 ns each came before.
    assert_eq!(request.first_written, Some(1_120));
    assert_eq!(request.last_written, Some(1_130));
    assert_eq!((request.first_read, request.last_read), (Some(1_150), Some(1_150)));
    assert_eq!(
        (response.first_written, response.last_written),
        (Some(1_160), Some(1_170))
    );
    assert_eq!((response.first_read, response.last_read), (Some(1_190), Some(1_190)));
    assert_eq!(it.ended, 1_190);
    assert!(it.loss.is_empty());
    assert!(host.faults.is_empty(), "{:?}", host.faults);
    assert_eq!(host.verdicts[&STDIN], Verdict::Watch);
    assert_eq!(host.verdicts[&STDOUT], Verdict::Watch);
    let stats = host.finish();
    assert_eq!(stats.bytes_skipped + stats.bytes_missing + stats.bytes_pending, 0);
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
            ("sampling/createMessage", Direction::ServerToClient, Outcome::Ok),
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
    assert_eq!(kinds, [FaultKind::ResponseAfterCancel, FaultKind::UnknownResponseId]);
}

#[test]
fn numbers_echoed_as_strings_are_tolerated_only_when_nothing_else_fits() {
    let mut host = Host::new();
    host.handshake();
    host.ask(&call(7, "number"));
    host.ask(r#"{"jsonrpc":"2.0","id":"7","method":"tools/call","params":{"name":"string"}}"#);
    host.answer(r#"{"jsonrpc":"2.0","id":"7","result":{}}"#);
    host.answer(r#"{"jsonrpc":"2.0","id":"7","result":{}}"#);
    let got: Vec<_> = host.calls[1..].iter().map(|it| it.tool.as_deref().unwrap()).collect();
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
    assert_eq!(got, [("answered", Outcome::Ok), ("abandoned", Outcome::Abandoned)]);
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
    host.read(STDIN, SERVER, call(1, "a").len() as u64 + 1);
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
    host.syscall_at(STDIN, Side::Reader, SERVER, len, &[(0, line.as_bytes())], 500, 1_015);
    host.syscall_at(STDIN, Side::Writer, CLIENT, len, &[(0, line.as_bytes())], 1_000, 1_020);
    host.now = 1_100;
    host.answer(&result(1, "x"));
    assert_eq!(host.calls.len(), 1);
    let request = host.calls[0].request;
    assert_eq!((request.first_written, request.last_read), (Some(1_000), Some(1_015)));
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
    let got: Vec<_> = host.calls.iter().map(|it| it.tool.as_deref().unwrap()).collect();
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
    assert_eq!((it.outcome, it.tool.as_deref()), (Outcome::ToolError, Some("big")));
    assert_eq!(it.loss, [Loss::ResponseTruncated]);
    assert_eq!(it.response.unwrap().bytes, line.len() as u64 - 1);
    let line =
        format!(r#"{{"jsonrpc":"2.0","id":2,"result":{{"content":[{{"text":"{text}"}}],"isError":false}}}}"#) + "\n";
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
    let kinds: Vec<_> = host.faults.iter().map(|fault| (fault.kind, fault.bytes)).collect();
    assert_eq!(kinds, [(FaultKind::StdoutPollution, 13)]);
    assert_eq!(host.calls.len(), 2);
}

#[test]
fn what_is_not_mcp_is_ignored() {
    let text = "a line of a log\n".repeat(64);
    let streams: [(u64, &[u8]); 4] = [
        (
            10,
            b"Content-Length: 60\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{}}",
        ),
        (11, b"\x16\x03\x01\x00\xa5\x01"),
        (12, text.as_bytes()),
        (
            13,
            b"{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n",
        ),
    ];
    for (stream, bytes) in streams {
        let mut host = Host::new();
        host.write(StreamId(stream), ProcessId(5), bytes);
        assert_eq!(host.verdicts.get(&StreamId(stream)), Some(&Verdict::Ignore), "{stream}");
        host.write(StreamId(stream), ProcessId(5), bytes);
        let stats = host.finish();
        assert_eq!(stats.bytes, 2 * bytes.len() as u64);
        assert!(host.faults.is_empty());
    }
}

#[test]
fn a_long_banner_before_the_first_response() {
    let mut host = Host::new();
    for line in 0..100 {
        host.answer(&format!("banner {line}"));
    }
    assert_eq!(host.verdicts[&STDOUT], Verdict::Ignore);
    host.ask(&call(1, "t"));
    assert_eq!(host.verdicts[&STDOUT], Verdict::LookAgain);
    host.answer(&result(1, "x"));
    assert_eq!(host.calls.len(), 1);
}

#[test]
fn a_response_may_come_before_its_request() {
    let mut host = Host::new();
    host.ask(&call(1, "first"));
    host.answer(&result(1, "x"));
    // The client's write returns after the server has answered.
    host.answer(&result(2, "y"));
    assert_eq!(host.calls.len(), 1);
    host.ask(&call(2, "second"));
    assert_eq!(host.calls.len(), 2);
    assert!(host.faults.is_empty());
    assert_eq!(host.calls[1].outcome, Outcome::Ok);
    assert!(host.calls[1].response.is_some_and(|half| half.first_written.is_some()));
    host.answer(&result(3, "nobody asked"));
    host.finish();
    assert_eq!(host.faults.len(), 1);
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

#[test]
fn bytes_lost_between_messages_touch_the_calls_in_flight() {
    let mut host = Host::new();
    host.handshake();
    host.ask(&call(1, "in flight"));
    let lost = format!("{}\n", result(9, "lost")).len() as u64;
    host.lost_syscall(STDOUT, Side::Writer, lost);
    host.read(STDOUT, CLIENT, lost);
    host.answer(&result(1, "x"));
    host.ask(&call(2, "after"));
    host.answer(&result(2, "x"));
    host.answer(&result(77, "of a request that was lost, perhaps"));
    let got: Vec<_> = host.calls[1..].iter().map(|it| (it.outcome, it.loss.clone())).collect();
    assert_eq!(got, [(Outcome::Ok, vec![Loss::Gap]), (Outcome::Ok, vec![])]);
    assert!(host.faults.is_empty());
    assert_eq!(host.finish().bytes_missing, lost);
}

#[test]
fn two_threads_that_read_the_same_count_are_put_in_a_row() {
    let mut host = Host::new();
    host.handshake();
    let (a, b) = (format!("{}\n", call(1, "a")), format!("{}\n", call(2, "b")));
    host.write(STDIN, CLIENT, a.as_bytes());
    // The second record says the offset of the first.
    host.set_count(STDIN, Side::Writer, -(a.len() as i64));
    host.write(STDIN, CLIENT, b.as_bytes());
    host.set_count(STDIN, Side::Writer, a.len() as i64);
    host.read(STDIN, SERVER, (a.len() + b.len()) as u64);
    host.ask(&call(3, "c"));
    for id in [3, 2, 1] {
        host.answer(&result(id, "x"));
    }
    let got: Vec<_> = host.calls[1..].iter().map(|it| it.tool.as_deref().unwrap()).collect();
    assert_eq!(got, ["c", "b", "a"]);
    assert!(host.calls.iter().all(|it| it.loss.is_empty()));
}

#[test]
fn pieces_of_two_syscalls_may_arrive_interleaved() {
    let mut host = Host::new();
    host.handshake();
    let lines = [format!("{}\n", call(1, "a")), format!("{}\n", call(2, "b"))];
    let offset = host.count(STDIN, Side::Writer);
    let mut records = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let half = line.len() / 2;
        let start = offset + if index == 0 { 0 } else { lines[0].len() as u64 };
        let (head, tail) = line.as_bytes().split_at(half);
        for (at, bytes, last) in [(0, head, false), (half, tail, true)] {
            records.push(Transfer {
                stream: STDIN,
                pair: None,
                carrier: Carrier::Pipe,
                fresh: true,
                absolute: false,
                ends: None,
                side: Side::Writer,
                process: CLIENT,
                entered: 5_000 + index as u64,
                exited: 5_100,
                offset: start,
                len: line.len() as u64,
                content: Content { at: at as u64, bytes },
                last,
            });
        }
    }
    for index in [0, 2, 3, 1] {
        host.tracker.transfer(&records[index]);
    }
    let total = lines.iter().map(String::len).sum::<usize>();
    host.set_count(STDIN, Side::Writer, total as i64);
    host.read(STDIN, SERVER, total as u64);
    host.answer(&result(2, "x"));
    host.answer(&result(1, "x"));
    let got: Vec<_> = host.calls[1..].iter().map(|it| it.tool.as_deref().unwrap()).collect();
    assert_eq!(got, ["b", "a"]);
}

#[test]
fn two_servers_of_which_only_the_client_is_seen() {
    let mut host = Host::new();
    let streams = [(StreamId(1), StreamId(2)), (StreamId(3), StreamId(4))];
    for (index, (requests, _)) in streams.iter().enumerate() {
        let line = format!("{}\n", call(10 + index as u32, &format!("t{index}")));
        host.write(*requests, CLIENT, line.as_bytes());
    }
    for (index, (_, responses)) in streams.iter().enumerate().rev() {
        let line = format!("{}\n", result(10 + index as u32, "x"));
        let len = line.len() as u64;
        host.syscall(*responses, Side::Reader, CLIENT, len, &[(0, line.as_bytes())]);
    }
    host.sleep(2_000 * MS);
    let mut got: Vec<_> = host
        .calls
        .iter()
        .map(|it| (it.tool.clone().unwrap(), it.streams))
        .collect();
    got.sort();
    assert_eq!(
        got,
        [
            ("t0".into(), [Some(StreamId(1)), Some(StreamId(2))]),
            ("t1".into(), [Some(StreamId(3)), Some(StreamId(4))])
        ]
    );
}

#[test]
fn a_socket_with_a_name_is_joined_by_its_pair_alone() {
    let mut host = Host::new();
    host.carrier = Carrier::UnixSocket;
    // Two clients of one server, with the same ids.
    for client in 0..2_u64 {
        for direction in 1..=2 {
            host.pairs.insert(StreamId(10 * client + direction), PairId(client));
        }
    }
    for client in 0..2_u64 {
        let line = format!("{}\n", call(1, &format!("t{client}")));
        host.write(StreamId(10 * client + 1), ProcessId(client), line.as_bytes());
        host.read(StreamId(10 * client + 1), SERVER, line.len() as u64);
    }
    for client in [1, 0] {
        let line = format!("{}\n", result(1, "x"));
        host.write(StreamId(10 * client + 2), SERVER, line.as_bytes());
        host.read(StreamId(10 * client + 2), ProcessId(client), line.len() as u64);
    }
    let got: Vec<_> = host
        .calls
        .iter()
        .map(|it| (it.tool.as_deref().unwrap(), it.client.process, it.transport))
        .collect();
    assert_eq!(
        got,
        [
            ("t1", Some(ProcessId(1)), Transport::Socket),
            ("t0", Some(ProcessId(0)), Transport::Socket)
        ]
    );
}

#[test]
fn a_fork_that_shares_the_stream_ends_nothing() {
    let mut host = Host::new();
    host.handshake();
    host.ask(&call(1, "t"));
    // A child of the server prints and exits.
    host.write(STDOUT, ProcessId(201), b"child was here\n");
    host.read(STDOUT, CLIENT, 15);
    host.exit(ProcessId(201));
    host.answer(&result(1, "x"));
    assert_eq!(host.calls[1].outcome, Outcome::Ok);
    assert_eq!(host.calls[1].server.process, Some(SERVER));
    assert_eq!(host.faults[0].process, Some(ProcessId(201)));
}

#[test]
fn an_unjudged_stream_is_granted_more_and_content_length_framing_is_told() {
    let mut host = Host::new();
    host.syscall(STDOUT, Side::Writer, SERVER, 4_000, &[]);
    assert_eq!(host.verdicts[&STDOUT], Verdict::LookAgain);
    let mut host = Host::new();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","clientInfo":{"name":"c"}}}"#;
    host.write(
        STDIN,
        CLIENT,
        format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
    );
    assert_eq!(host.verdicts[&STDIN], Verdict::Watch);
    assert_eq!(host.faults[0].kind, FaultKind::ContentLengthFraming);
}

#[test]
fn a_response_may_be_read_after_its_server_is_gone() {
    let mut host = Host::new();
    host.handshake();
    host.ask(&call(1, "t"));
    let line = format!("{}\n", result(1, "x"));
    host.write(STDOUT, SERVER, line.as_bytes());
    host.exit(SERVER);
    host.read(STDOUT, CLIENT, line.len() as u64);
    host.read(STDOUT, CLIENT, 0);
    host.read(STDOUT, CLIENT, 0);
    host.exit(CLIENT);
    assert_eq!((host.calls.len(), host.calls[1].outcome), (2, Outcome::Ok));
    assert!(host.calls[1].loss.is_empty());
    assert!(host.calls[1].response.unwrap().last_read.is_some());
}
