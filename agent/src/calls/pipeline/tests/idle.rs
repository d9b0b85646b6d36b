//! What an idle event stream costs in all: the protocol's part and ours.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use super::*;

thread_local! {
    /// Bytes that this thread has taken and not given back: other tests run at the same time.
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn count(bytes: isize) {
    // A thread that ends gives back what nobody counts any more.
    let _ended = LIVE.try_with(|live| live.set(live.get() + bytes));
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as required of the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as required of the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that an idle stream may take, with its session and both ends of its connection.
const BOUND: isize = 4 * 1024;
const STREAMS: u16 = 1000;

/// A client begins a session, and opens a stream of events on the same connection.
fn session(host: &mut Host, n: u16) {
    let mut connection = Connection::new(
        100 + 2 * u64::from(n),
        &format!("127.0.0.1:{}", 20_000 + n),
        "127.0.0.1:7900",
    );
    connection.open(host);
    for end in [&mut connection.client, &mut connection.server] {
        end.flags |= flags::TIMED;
    }
    let token = format!("{n:036}");
    connection.ask(
        host,
        &post(
            r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"client","version":"1.0"}}}"#,
            None,
        ),
    );
    connection.answer(
        host,
        &reply(
            r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"server","version":"1.0"}}}"#,
            Some(&token),
        ),
    );
    connection.ask(
        host,
        &format!("GET /mcp HTTP/1.1\r\nAccept: text/event-stream\r\nMcp-Session-Id: {token}\r\n\r\n"),
    );
    connection.answer(
        host,
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
         14\r\nid: 1\r\ndata: \r\n\r\n: hi\n\r\n",
    );
    host.pipeline.tick(host.now);
    assert_eq!(host.calls().len(), 1);
    host.pipeline.take_judgements();
    host.pipeline.take_endpoint_judgements();
}

#[test]
fn an_idle_stream_is_cheap() {
    let mut host = Host::new();
    let mut sessions = |numbers: std::ops::Range<u16>| {
        for n in numbers {
            session(&mut host, n);
        }
        // What calls may need that are not found yet is kept for seconds.
        host.now += 30_000 * MS;
        host.pipeline.tick(host.now);
    };
    sessions(0..STREAMS);
    let before = LIVE.get();
    sessions(STREAMS..2 * STREAMS);
    let each = (LIVE.get() - before) / isize::try_from(STREAMS).unwrap();
    println!("{each} bytes each");
    assert!(each <= BOUND, "an idle event stream takes {each} bytes");
}

#[test]
fn what_a_call_in_flight_needs_is_kept() {
    let mut host = Host::new();
    let mut connection = Connection::loopback(100);
    for end in [&mut connection.client, &mut connection.server] {
        end.flags |= flags::TIMED;
    }
    connection.open(&mut host);
    connection.ask(&mut host, &post(&tool_call(1), None));
    for _ in 0..6 {
        host.now += 20_000 * MS;
        host.pipeline.tick(host.now);
    }
    connection.answer(&mut host, &reply(&result(1), None));
    assert!(host.only_call().causes_us.on_cpu.is_some());
}
