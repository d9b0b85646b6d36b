//! Calls over HTTP: sessions over many connections, events, errors, and ends of all kinds.

use std::io::Write as _;

use mcp_proto::{Carrier, Loss, Outcome, StreamId, Transport, Verdict};

use super::host::{CLIENT, SERVER, call, result};
use super::web::{SESSION, Web, streams};

const MODERN: &str = "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: echo\r\n";

#[test]
fn a_session_over_several_connections() {
    let mut web = Web::new();
    web.handshake(1);
    web.post(2, SESSION, &call(1, "echo"));
    web.post(3, SESSION, &call(2, "add"));
    web.json(3, "200 OK", "", &result(2, "three"));
    web.events(2, "");
    web.event(2, "event: message\nid: 7\ndata: \n\n");
    web.event(
        2,
        "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":1,\"progress\":1}}\n\n",
    );
    web.event(2, &format!("event: message\r\ndata: {}\r\n\r\n", result(1, "one")));
    web.end_events(2);
    let calls = &web.host.calls;
    assert_eq!(calls.len(), 3, "{calls:#?}");
    assert!(
        calls
            .iter()
            .all(|call| call.outcome == Outcome::Ok && call.http_status == Some(200))
    );
    assert!(calls.iter().all(|call| call.loss.is_empty()), "{calls:#?}");
    assert!(
        calls
            .iter()
            .all(|call| call.transport == Transport::Http && call.carrier == Carrier::Tcp)
    );
    assert_eq!(calls[1].tool.as_deref(), Some("add"));
    assert_eq!(calls[2].tool.as_deref(), Some("echo"));
    assert_eq!(calls[2].notifications, 1);
    assert_eq!(calls[2].client.name.as_deref(), Some("c"));
    assert_eq!(calls[2].server.name.as_deref(), Some("s"));
    assert_eq!(calls[2].server.process, Some(SERVER));
    assert_eq!(calls[2].request.bytes, call(1, "echo").len() as u64);
    assert_eq!(calls[2].response.unwrap().bytes, result(1, "one").len() as u64);
    assert_eq!(calls[2].session.as_ref().unwrap().expose(), b"5a1e");
    assert_eq!(calls[0].session, calls[2].session);
    assert_eq!(calls[1].streams, [Some(streams(3).0), Some(streams(3).1)]);
    assert!(web.host.faults.is_empty(), "{:?}", web.host.faults);
    assert_eq!(web.host.verdicts[&streams(2).0], Verdict::Watch);
    web.host.finish();
}

#[test]
fn any_split_gives_the_same_calls() {
    for portion in [1, 2, 3, 7, 24, 100, 1000] {
        let mut web = Web::new();
        web.portion = portion;
        web.handshake(1);
        web.post(1, SESSION, &call(1, "echo"));
        web.events(1, "");
        web.event(1, &format!("data: {}\n\n", result(1, "one")));
        web.end_events(1);
        web.post(1, SESSION, &call(2, "echo"));
        web.json(1, "200 OK", "", &result(2, "two"));
        assert_eq!(web.host.calls.len(), 3, "{portion}");
        assert!(
            web.host
                .calls
                .iter()
                .all(|call| call.outcome == Outcome::Ok && call.loss.is_empty()),
            "{portion} {:#?}",
            web.host.calls
        );
        assert_eq!(web.host.calls[1].response.unwrap().bytes, result(1, "one").len() as u64);
        web.host.finish();
    }
}

#[test]
fn the_modern_era_has_no_session() {
    let mut web = Web::new();
    web.post(1, MODERN, &call(1, "echo"));
    web.post(2, MODERN, &call(1, "echo"));
    web.json(2, "200 OK", "", &result(1, "b"));
    web.json(1, "200 OK", "", &result(1, "a"));
    // Leaving is cancelling.
    web.post(1, MODERN, &call(2, "slow"));
    web.close_by_client(1);
    web.host.sleep(1_000_000_000);
    let expected = [
        ("tools/call", Outcome::Ok, Some(200)),
        ("tools/call", Outcome::Ok, Some(200)),
        ("tools/call", Outcome::Cancelled, None),
    ];
    assert_eq!(web.outcomes(), expected);
    assert_eq!(web.host.calls[0].protocol_version.as_deref(), Some("2026-07-28"));
    assert!(web.host.calls.iter().all(|call| call.session.is_none()));
    web.host.finish();
}

#[test]
fn errors_of_the_transport_are_outcomes() {
    let mut web = Web::new();
    web.handshake(1);
    web.post(1, SESSION, &call(1, "echo"));
    web.answer(
        1,
        "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ngone",
    );
    web.post(1, SESSION, &call(2, "echo"));
    web.json(
        1,
        "400 Bad Request",
        "",
        r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"no"}}"#,
    );
    web.post(1, SESSION, &call(3, "echo"));
    web.json(
        1,
        "400 Bad Request",
        "",
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no"}}"#,
    );
    let expected = [
        ("initialize", Outcome::Ok, Some(200)),
        ("tools/call", Outcome::HttpError, Some(404)),
        ("tools/call", Outcome::RpcError, Some(400)),
        ("tools/call", Outcome::RpcError, Some(400)),
    ];
    assert_eq!(web.outcomes(), expected);
    assert_eq!(web.host.calls[2].error_code, Some(-32600));
    assert_eq!(web.host.calls[3].error_code, Some(-32000));
    web.host.finish();
}

#[test]
fn an_answer_may_come_on_a_stream_that_resumes() {
    let mut web = Web::new();
    web.handshake(1);
    web.post(1, SESSION, &call(1, "slow"));
    web.events(1, "");
    web.event(1, "id: 1\ndata: \n\n");
    web.end_events(1);
    web.ask(
        2,
        &format!("GET /mcp HTTP/1.1\r\nAccept: text/event-stream\r\nLast-Event-ID: 1\r\n{SESSION}\r\n"),
    );
    web.events(2, "");
    web.event(2, &format!("id: 2\ndata: {}\n\n", result(1, "late")));
    assert_eq!(web.outcomes()[1], ("tools/call", Outcome::Ok, Some(200)));
    assert_eq!(web.host.calls[1].streams, [Some(streams(1).0), Some(streams(2).1)]);
    // One that is not resumed ends, in time.
    web.post(1, SESSION, &call(2, "slow"));
    web.events(1, "");
    web.event(1, "id: 5\ndata: \n\n");
    web.end_events(1);
    web.host.sleep(30_000_000_000);
    assert_eq!(web.host.calls.len(), 2);
    web.host.sleep(31_000_000_000);
    assert_eq!(web.outcomes()[2], ("tools/call", Outcome::HttpError, Some(200)));
    web.host.finish();
}

#[test]
fn the_legacy_transport_answers_elsewhere() {
    let mut web = Web::new();
    web.ask(1, "GET /sse HTTP/1.1\r\nAccept: text/event-stream\r\n\r\n");
    web.events(1, "");
    web.event(1, "event: endpoint\ndata: /messages/?session_id=77\n\n");
    let post = |web: &mut Web, body: &str| {
        let (head, length) = ("POST /messages/?session_id=77 HTTP/1.1", body.len());
        web.ask(
            2,
            &format!("{head}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"),
        );
    };
    let accepted = "HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\nAccepted";
    post(&mut web, &call(1, "echo"));
    web.answer(2, accepted);
    web.event(1, &format!("event: message\ndata: {}\n\n", result(1, "x")));
    assert_eq!(web.host.calls.len(), 1);
    let first = &web.host.calls[0];
    assert_eq!((first.outcome, first.transport), (Outcome::Ok, Transport::Sse));
    assert_eq!(first.streams, [Some(streams(2).0), Some(streams(1).1)]);
    // The answer overtakes the response to the request.
    post(&mut web, &call(2, "echo"));
    web.event(1, &format!("event: message\ndata: {}\n\n", result(2, "y")));
    web.answer(2, accepted);
    // What other protocols say too is MCP's in a session of MCP.
    post(&mut web, r#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#);
    web.answer(2, accepted);
    web.event(
        1,
        "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{}}\n\n",
    );
    let answered = |method| (method, Outcome::Ok, Some(202));
    assert_eq!(
        web.outcomes(),
        [answered("tools/call"), answered("tools/call"), answered("ping")]
    );
    web.host.finish();
}

/// A session of 2024-11-05 whose answers come on connection 1.
fn legacy(headers: &str) -> Web {
    let mut web = Web::new();
    web.ask(1, "GET /sse HTTP/1.1\r\nAccept: text/event-stream\r\n\r\n");
    web.events(1, headers);
    web.event(1, "event: endpoint\ndata: /messages/?session_id=77\n\n");
    web
}

/// Posts a call on connection 2, which is accepted.
fn post_elsewhere(web: &mut Web, body: &str) {
    let length = body.len();
    web.ask(
        2,
        &format!(
            "POST /messages/?session_id=77 HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
    );
    web.answer(2, "HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\nAccepted");
}

/// An event with the answer to a call, as it is written: a chunk of its own.
fn answering(id: u32) -> String {
    let event = format!("event: message\ndata: {}\n\n", result(id, "x"));
    format!("{:x}\r\n{event}\r\n", event.len())
}

/// One syscall that writes `text`, of which only the first `head` and the last `tail` bytes are captured.
fn answer_in_part(web: &mut Web, text: &str, head: usize, tail: usize) {
    let (_, responses) = streams(1);
    let (bytes, from) = (text.as_bytes(), text.len() - tail);
    let captured = [(0, &bytes[..head]), (from as u64, &bytes[from..])];
    let captured = &captured[..if tail == 0 { 1 } else { 2 }];
    let len = bytes.len() as u64;
    web.host
        .syscall(responses, mcp_proto::Side::Writer, SERVER, len, captured);
    web.host.read(responses, CLIENT, len);
}

#[test]
fn a_stream_of_answers_goes_on_behind_a_gap() {
    let mut web = legacy("");
    for id in 1..=6 {
        post_elsewhere(&mut web, &call(id, "echo"));
    }
    // Many answers in one syscall: what lies behind the third is not captured.
    let (first, all) = (answering(1), (1..=4).map(answering).collect::<String>());
    answer_in_part(&mut web, &all, 2 * first.len() + 7, 0);
    // And one whose end is, but for its beginning.
    let (fifth, sixth) = (answering(5), answering(6));
    answer_in_part(&mut web, &format!("{fifth}{sixth}"), 20, sixth.len());
    web.host.finish();
    let told = |id: &str| {
        let call = web.host.calls.iter().find(|call| &*call.request_id.0 == id);
        call.map(|call| (call.outcome, call.loss.clone())).unwrap()
    };
    for id in ["1", "2"] {
        assert_eq!(told(id), (Outcome::Ok, vec![]), "{id}");
    }
    for id in ["3", "4", "5"] {
        assert_eq!(told(id), (Outcome::Pending, vec![Loss::Gap]), "{id}");
    }
    assert_eq!(told("6").0, Outcome::Ok);
}

#[test]
fn a_stream_of_answers_with_a_gap_that_ends_in_order_has_no_others() {
    let mut web = legacy("");
    post_elsewhere(&mut web, &call(1, "echo"));
    let (first, second) = (answering(1), answering(2));
    answer_in_part(&mut web, &format!("{first}{second}"), 20, second.len());
    web.answer(1, "0\r\n\r\n");
    post_elsewhere(&mut web, &call(7, "echo"));
    web.host.finish();
    let told = |call: &mcp_proto::Call| (call.request_id.0.to_string(), call.loss.clone());
    let told: Vec<_> = web.host.calls.iter().map(told).collect();
    assert!(told.contains(&("1".to_owned(), vec![Loss::Gap])), "{told:?}");
    assert!(told.contains(&("7".to_owned(), vec![])), "{told:?}");
}

#[test]
fn calls_that_a_lost_stream_may_have_answered_say_so() {
    let mut web = Web::new();
    web.ask(1, "GET /sse HTTP/1.1\r\nAccept: text/event-stream\r\n\r\n");
    web.events(1, "Content-Encoding: gzip\r\n");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut send = |web: &mut Web, event: &str, captured: bool| {
        gzip.write_all(event.as_bytes()).unwrap();
        gzip.flush().unwrap();
        let bytes = std::mem::take(gzip.get_mut());
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat();
        let (_, responses) = streams(1);
        let (len, pieces) = (chunk.len() as u64, [(0, &chunk[..])]);
        let pieces = &pieces[..usize::from(captured)];
        web.host
            .syscall(responses, mcp_proto::Side::Writer, SERVER, len, pieces);
        web.host.read(responses, CLIENT, len);
    };
    send(&mut web, "event: endpoint\ndata: /messages/?session_id=77\n\n", true);
    for (id, captured) in [(1, true), (2, false), (3, true)] {
        post_elsewhere(&mut web, &call(id, "echo"));
        send(&mut web, &format!("data: {}\n\n", result(id, "x")), captured);
    }
    web.host.finish();
    let told = |call: &mcp_proto::Call| (call.outcome, call.loss.clone());
    let told: Vec<_> = web.host.calls.iter().map(told).collect();
    let lost = (Outcome::Pending, vec![Loss::Gap]);
    assert_eq!(told, [(Outcome::Ok, vec![]), lost.clone(), lost]);
}

#[test]
fn servers_ask_too() {
    let mut web = Web::new();
    web.handshake(1);
    web.post(1, SESSION, &call(5, "ask"));
    web.events(1, "");
    web.event(
        1,
        "data: {\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"elicitation/create\",\"params\":{}}\n\n",
    );
    web.post(2, SESSION, r#"{"jsonrpc":"2.0","id":5,"result":{"action":"accept"}}"#);
    web.answer(2, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    web.event(1, &format!("data: {}\n\n", result(5, "done")));
    web.end_events(1);
    let expected = [
        ("initialize", Outcome::Ok, Some(200)),
        ("elicitation/create", Outcome::Ok, None),
        ("tools/call", Outcome::Ok, Some(200)),
    ];
    assert_eq!(web.outcomes(), expected);
    web.host.finish();
}

#[test]
fn responses_may_be_recorded_before_their_requests() {
    let mut web = Web::new();
    web.handshake(1);
    let (requests, responses) = streams(1);
    let body = call(1, "echo");
    let request = format!(
        "POST /mcp HTTP/1.1\r\n{SESSION}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let text = result(1, "x");
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    let at = web.host.now;
    web.host.syscall_at(
        responses,
        mcp_proto::Side::Writer,
        SERVER,
        response.len() as u64,
        &[(0, response.as_bytes())],
        at + 50,
        at + 60,
    );
    web.host.syscall_at(
        requests,
        mcp_proto::Side::Writer,
        CLIENT,
        request.len() as u64,
        &[(0, request.as_bytes())],
        at,
        at + 70,
    );
    web.host.now = at + 100;
    web.host.read(requests, SERVER, request.len() as u64);
    web.host.read(responses, CLIENT, response.len() as u64);
    assert_eq!(web.outcomes()[1], ("tools/call", Outcome::Ok, Some(200)));
    web.host.finish();
}

#[test]
fn other_traffic_is_ignored() {
    let mut web = Web::new();
    for _ in 0..20 {
        web.ask(1, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        web.answer(
            1,
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nok",
        );
        let body = r#"{"model":"x","stream":true,"messages":[]}"#;
        web.ask(
            2,
            &format!("POST /v1/chat HTTP/1.1\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        );
        web.events(2, "");
        web.event(2, "data: {\"choices\":[]}\n\n");
        web.event(2, "data: [DONE]\n\n");
        web.end_events(2);
    }
    assert!(web.host.calls.is_empty());
    for stream in 2..=5 {
        assert_eq!(web.host.verdicts[&StreamId(stream)], Verdict::Ignore);
    }
    web.host.finish();
}

#[test]
fn exits_end_what_is_in_flight() {
    let mut web = Web::new();
    web.handshake(1);
    web.post(1, SESSION, &call(1, "slow"));
    web.host.exit(SERVER);
    web.close_by_server(1);
    assert_eq!(web.outcomes()[1], ("tools/call", Outcome::ServerExit, None));
    web.host.finish();
}

#[test]
fn a_relayed_call_names_the_one_that_it_passes_on() {
    let mut web = Web::new();
    let proxy = SERVER;
    web.post(1, MODERN, &call(9, "echo"));
    let (requests, responses) = streams(2);
    let body = call(1, "echo");
    let request = format!(
        "POST /mcp HTTP/1.1\r\n{MODERN}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    web.host.write(requests, proxy, request.as_bytes());
    let text = result(1, "x");
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    web.host
        .write(responses, mcp_proto::ProcessId(300), response.as_bytes());
    web.host.read(responses, proxy, response.len() as u64);
    web.json(1, "200 OK", "", &result(9, "x"));
    web.host.finish();
    assert_eq!(web.host.calls.len(), 2, "{:#?}", web.host.calls);
    let inner = web.host.calls.iter().find(|call| &*call.request_id.0 == "1").unwrap();
    let outer = web.host.calls.iter().find(|call| &*call.request_id.0 == "9").unwrap();
    let relays = inner.relays.clone().unwrap();
    assert_eq!((relays.connection, relays.sequence), (outer.connection, outer.sequence));
    assert_eq!(outer.relays, None);
}

#[test]
fn a_large_event_is_understood_from_head_and_tail() {
    let mut web = Web::new();
    web.handshake(1);
    web.post(1, SESSION, &call(1, "big"));
    web.events(1, "");
    let text = format!("data: {}\n\n", result(1, &"x".repeat(100_000)));
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    let (_, responses) = streams(1);
    let bytes = chunk.as_bytes();
    let tail = bytes.len() - 500;
    web.host.syscall(
        responses,
        mcp_proto::Side::Writer,
        SERVER,
        bytes.len() as u64,
        &[(0, &bytes[..1000]), (tail as u64, &bytes[tail..])],
    );
    web.host.read(responses, CLIENT, bytes.len() as u64);
    web.end_events(1);
    assert_eq!(web.outcomes()[1], ("tools/call", Outcome::Ok, Some(200)));
    assert_eq!(
        web.host.calls[1].response.unwrap().bytes,
        result(1, &"x".repeat(100_000)).len() as u64
    );
    web.host.finish();
}

#[test]
fn without_a_session_a_cancellation_finds_its_call_by_its_client() {
    let mut web = Web::new();
    web.post(1, "", &call(4, "slow"));
    web.events(1, "");
    web.post(
        2,
        "",
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4}}"#,
    );
    assert_eq!(web.outcomes(), [("tools/call", Outcome::Cancelled, Some(200))]);
    // In the older era leaving says nothing to the server: the client has gone away.
    web.post(3, "mcp-protocol-version: 2025-11-25\r\n", &call(5, "slow"));
    web.events(3, "");
    web.event(
        3,
        "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n",
    );
    web.close_by_client(3);
    web.close_by_server(3);
    web.host.sleep(1_000_000_000);
    assert_eq!(web.outcomes()[1], ("tools/call", Outcome::Abandoned, Some(200)));
    assert!(web.host.calls[1].loss.is_empty(), "{:?}", web.host.calls[1].loss);
    // Who closes a connection and then ends has left before.
    web.post(4, MODERN, &call(6, "slow"));
    web.host.tracker.writer_closed(streams(4).0, web.host.now);
    web.host.exit(CLIENT);
    assert_eq!(web.outcomes()[2], ("tools/call", Outcome::Cancelled, None));
    // The server read its request, and that is all it did.
    assert_eq!(web.host.calls[2].server.process, Some(SERVER));
    web.host.finish();
}
