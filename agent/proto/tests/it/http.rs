//! Calls over HTTP: sessions over many connections, events, errors, and ends of all kinds.

use mcp_proto::{Carrier, Outcome, PairId, StreamId, Transport, Verdict};

use super::host::{CLIENT, Host, SERVER, call, result};

const SESSION: &str = "mcp-session-id: 5a1e\r\n";
const MODERN: &str = "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: echo\r\n";

/// A client and a server with TCP connections between them.
struct Web {
    host: Host,
    /// Bytes of a syscall at most.
    portion: usize,
}

/// The streams of a connection: requests, responses.
fn streams(connection: u64) -> (StreamId, StreamId) {
    (StreamId(2 * connection), StreamId(2 * connection + 1))
}

impl Web {
    fn new() -> Self {
        let mut host = Host::new();
        host.carrier = Carrier::Tcp;
        for connection in 1..64 {
            let (requests, responses) = streams(connection);
            host.pairs.insert(requests, PairId(connection));
            host.pairs.insert(responses, PairId(connection));
        }
        Self {
            host,
            portion: usize::MAX,
        }
    }

    fn ask(&mut self, connection: u64, text: &str) {
        let (stream, _) = streams(connection);
        for bytes in text.as_bytes().chunks(self.portion.min(text.len())) {
            self.host.write(stream, CLIENT, bytes);
        }
        self.host.read(stream, SERVER, text.len() as u64);
    }

    fn answer(&mut self, connection: u64, text: &str) {
        let (_, stream) = streams(connection);
        for bytes in text.as_bytes().chunks(self.portion.min(text.len())) {
            self.host.write(stream, SERVER, bytes);
        }
        self.host.read(stream, CLIENT, text.len() as u64);
    }

    fn post(&mut self, connection: u64, headers: &str, body: &str) {
        let length = body.len();
        self.ask(
            connection,
            &format!(
                "POST /mcp HTTP/1.1\r\nHost: x\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
            ),
        );
    }

    fn json(&mut self, connection: u64, status: &str, headers: &str, body: &str) {
        let length = body.len();
        self.answer(
            connection,
            &format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
            ),
        );
    }

    fn events(&mut self, connection: u64, headers: &str) {
        self.answer(
            connection,
            &format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{headers}Transfer-Encoding: chunked\r\n\r\n"
            ),
        );
    }

    fn event(&mut self, connection: u64, event: &str) {
        let length = event.len();
        self.answer(connection, &format!("{length:x}\r\n{event}\r\n"));
    }

    fn end_events(&mut self, connection: u64) {
        self.answer(connection, "0\r\n\r\n");
    }

    fn close_by_client(&mut self, connection: u64) {
        let (requests, _) = streams(connection);
        self.host.read(requests, SERVER, 0);
    }

    fn close_by_server(&mut self, connection: u64) {
        let (_, responses) = streams(connection);
        self.host.read(responses, CLIENT, 0);
    }

    fn handshake(&mut self, connection: u64) {
        self.post(
            connection,
            "",
            r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#,
        );
        self.json(
            connection,
            "200 OK",
            "Mcp-Session-Id: 5a1e\r\n",
            r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"2"}}}"#,
        );
        self.post(
            connection,
            SESSION,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        );
        self.answer(connection, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    }

    fn outcomes(&self) -> Vec<(&str, Outcome, Option<u16>)> {
        self.host
            .calls
            .iter()
            .map(|call| (&*call.method.0, call.outcome, call.http_status))
            .collect()
    }
}

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
    web.ask(
        2,
        &format!(
            "POST /messages/?session_id=77 HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
            call(1, "echo").len(),
            call(1, "echo")
        ),
    );
    web.answer(2, "HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\nAccepted");
    web.event(1, &format!("event: message\ndata: {}\n\n", result(1, "x")));
    assert_eq!(web.host.calls.len(), 1);
    let call = &web.host.calls[0];
    assert_eq!((call.outcome, call.transport), (Outcome::Ok, Transport::Sse));
    assert_eq!(call.streams, [Some(streams(2).0), Some(streams(1).1)]);
    web.host.finish();
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

/// A WebSocket frame of text; a client's is masked.
fn frame(text: &str, masked: bool) -> Vec<u8> {
    let mut out = vec![0x81];
    let mask = if masked { 0x80 } else { 0 };
    match u8::try_from(text.len()) {
        Ok(len @ ..126) => out.push(mask | len),
        _ => {
            out.push(mask | 126);
            out.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        }
    }
    if masked {
        let key = [1, 2, 3, 4];
        out.extend(key);
        out.extend(text.bytes().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        out.extend(text.bytes());
    }
    out
}

#[test]
fn websocket_carries_one_conversation() {
    let mut web = Web::new();
    let (requests, responses) = streams(1);
    web.ask(
        1,
        "GET /mcp HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: mcp\r\n\r\n",
    );
    web.answer(
        1,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    );
    let asked = frame(&call(1, "echo"), true);
    web.host.write(requests, CLIENT, &asked);
    web.host.read(requests, SERVER, asked.len() as u64);
    let answered = frame(&result(1, "x"), false);
    web.host.write(responses, SERVER, &answered);
    web.host.read(responses, CLIENT, answered.len() as u64);
    assert_eq!(web.host.calls.len(), 1);
    let known = &web.host.calls[0];
    assert_eq!((known.outcome, known.transport), (Outcome::Ok, Transport::WebSocket));
    assert_eq!(known.request.bytes, call(1, "echo").len() as u64);
    assert_eq!(known.response.unwrap().bytes, result(1, "x").len() as u64);
    assert!(known.loss.is_empty(), "{:?}", known.loss);
    // What is in flight ends with the server, as on any stream.
    let asked = frame(&call(2, "echo"), true);
    web.host.write(requests, CLIENT, &asked);
    web.host.exit(SERVER);
    assert_eq!(web.host.calls[1].outcome, Outcome::ServerExit);
    web.host.finish();
}

/// An HTTP/2 frame.
fn h2(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = vec![len[1], len[2], len[3], kind, flags, 0, 0, 0, stream];
    out.extend(payload);
    out
}

/// A header field without indexing, name and value literal.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0, u8::try_from(name.len()).unwrap()];
    out.extend(name.bytes());
    out.push(u8::try_from(value.len()).unwrap());
    out.extend(value.bytes());
    out
}

#[test]
fn http2_carries_calls_side_by_side() {
    let mut web = Web::new();
    let (requests, responses) = streams(1);
    let mut ask = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    ask.extend(h2(4, 0, 0, &[]));
    for (stream, id) in [(1, 1), (3, 2)] {
        // POST, and :path by a literal.
        let mut head = vec![0x83, 0x86];
        head.extend(literal(":path", "/mcp"));
        head.extend(literal("content-type", "application/json"));
        head.extend(literal("mcp-protocol-version", "2026-07-28"));
        ask.extend(h2(1, 4, stream, &head));
        ask.extend(h2(0, 1, stream, call(id, "echo").as_bytes()));
    }
    web.host.write(requests, CLIENT, &ask);
    web.host.read(requests, SERVER, ask.len() as u64);
    let mut answer = h2(4, 0, 0, &[]);
    let head: Vec<u8> = [vec![0x88], literal("content-type", "application/json")].concat();
    answer.extend(h2(1, 4, 3, &head));
    answer.extend(h2(1, 4, 1, &head));
    answer.extend(h2(0, 1, 1, result(1, "one").as_bytes()));
    answer.extend(h2(0, 1, 3, result(2, "two").as_bytes()));
    web.host.write(responses, SERVER, &answer);
    web.host.read(responses, CLIENT, answer.len() as u64);
    let ids: Vec<_> = web.host.calls.iter().map(|call| &*call.request_id.0).collect();
    assert_eq!(ids, ["1", "2"]);
    assert!(
        web.host
            .calls
            .iter()
            .all(|call| call.outcome == Outcome::Ok && call.http_status == Some(200))
    );
    // A client that resets its stream takes the call back.
    let mut ask = Vec::new();
    let mut head = vec![0x83, 0x86];
    head.extend(literal(":path", "/mcp"));
    head.extend(literal("mcp-protocol-version", "2026-07-28"));
    ask.extend(h2(1, 4, 5, &head));
    ask.extend(h2(0, 1, 5, call(3, "slow").as_bytes()));
    ask.extend(h2(3, 0, 5, &[0, 0, 0, 8]));
    web.host.write(requests, CLIENT, &ask);
    web.host.read(requests, SERVER, ask.len() as u64);
    assert_eq!(web.host.calls[2].outcome, Outcome::Cancelled);
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
    web.host.finish();
}
