//! What an idle event stream costs: no more than its bound, however many there are.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use mcp_proto::{Carrier, Content, Limits, PairId, ProcessId, Side, StreamId, Tracker, Transfer};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as required of the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as required of the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that an idle stream with its session may take.
const BOUND: usize = 2400;
const STREAMS: u64 = 1000;

/// Both ends of a connection move `text`.
fn moves(tracker: &mut Tracker, connection: u64, from_client: bool, offset: u64, text: &str, now: u64) {
    let (client, server) = (ProcessId(1), ProcessId(2));
    let (writer, reader) = if from_client {
        (client, server)
    } else {
        (server, client)
    };
    for (side, process, content) in [(Side::Writer, writer, text), (Side::Reader, reader, "")] {
        tracker.transfer(&Transfer {
            stream: StreamId(2 * connection + u64::from(!from_client)),
            pair: Some(PairId(connection)),
            carrier: Carrier::Tcp,
            fresh: true,
            absolute: true,
            ends: None,
            side,
            process,
            entered: now,
            exited: now + 1,
            offset,
            len: text.len() as u64,
            content: Content {
                at: 0,
                bytes: content.as_bytes(),
            },
            last: true,
        });
    }
    while tracker.poll_event().is_some() {}
}

#[test]
fn an_idle_stream_is_cheap() {
    let mut tracker = Tracker::new(Limits::default());
    let mut now = 1000;
    let mut session = |tracker: &mut Tracker, n: u64| {
        now += 10;
        let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"client","version":"1.0"}}}"#;
        let length = body.len();
        let post = format!(
            "POST /mcp HTTP/1.1\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        moves(tracker, n, true, 0, &post, now);
        let body = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"server","version":"1.0"}}}"#;
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nMcp-Session-Id: {n:036}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        moves(tracker, n, false, 0, &answer, now + 2);
        let get = format!("GET /mcp HTTP/1.1\r\nAccept: text/event-stream\r\nMcp-Session-Id: {n:036}\r\n\r\n");
        moves(tracker, n, true, post.len() as u64, &get, now + 4);
        let events = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
                      14\r\nid: 1\r\ndata: \r\n\r\n: hi\n\r\n";
        moves(tracker, n, false, answer.len() as u64, events, now + 6);
        (answer.len() + events.len()) as u64
    };
    for n in 0..STREAMS {
        session(&mut tracker, n);
    }
    let before = LIVE.load(Ordering::Relaxed);
    let mut offsets = Vec::with_capacity(usize::try_from(STREAMS).unwrap());
    for n in STREAMS..2 * STREAMS {
        offsets.push(session(&mut tracker, n));
    }
    let each = (LIVE.load(Ordering::Relaxed) - before) / usize::try_from(STREAMS).unwrap();
    println!("{each} bytes each");
    assert!(each <= BOUND, "an idle event stream takes {each} bytes");
}
