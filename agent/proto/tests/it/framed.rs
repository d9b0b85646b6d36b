//! Calls in frames: over WebSocket and over HTTP/2.

use mcp_proto::{Outcome, Transport};

use super::host::{CLIENT, SERVER, call, result};
use super::web::{Web, streams};

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
