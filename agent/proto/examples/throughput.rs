//! How fast bytes become calls: large results and small messages, one core, whole tracker.
//!
//! `cargo run --release -p mcp-proto --example throughput` prints one JSON object.

use std::time::Instant;

use mcp_proto::{Carrier, Content, Event, Limits, Nanos, ProcessId, Side, StreamId, Tracker, Transfer};

const CLIENT: ProcessId = ProcessId(1);
const SERVER: ProcessId = ProcessId(2);
const REQUESTS: StreamId = StreamId(1);
const RESPONSES: StreamId = StreamId(2);
const RUNS: usize = 9;
/// The kernel ships content in pieces no larger than this.
const PIECE: usize = 64 * 1024;

struct Session {
    tracker: Tracker,
    now: Nanos,
    offsets: [u64; 2],
    calls: u64,
}

impl Session {
    fn new() -> Self {
        Self {
            tracker: Tracker::new(Limits::default()),
            now: 0,
            offsets: [0; 2],
            calls: 0,
        }
    }

    /// A message, written in one syscall and read in another.
    fn message(&mut self, stream: StreamId, line: &[u8]) {
        let (index, writer, reader) = if stream == REQUESTS {
            (0, CLIENT, SERVER)
        } else {
            (1, SERVER, CLIENT)
        };
        let written = Transfer {
            stream,
            pair: None,
            carrier: Carrier::Pipe,
            fresh: true,
            absolute: false,
            ends: None,
            side: Side::Writer,
            process: writer,
            entered: self.now,
            exited: self.now + 10,
            offset: self.offsets[index],
            len: line.len() as u64,
            content: Content::default(),
            last: false,
        };
        for (number, bytes) in line.chunks(PIECE).enumerate() {
            let at = number * PIECE;
            let last = at + bytes.len() == line.len();
            self.tracker.transfer(&Transfer {
                content: Content { at: at as u64, bytes },
                last,
                ..written
            });
        }
        let read = Transfer {
            side: Side::Reader,
            process: reader,
            exited: self.now + 20,
            content: Content::default(),
            last: true,
            ..written
        };
        self.tracker.transfer(&read);
        self.offsets[index] += line.len() as u64;
        self.now += 30;
        while let Some(event) = self.tracker.poll_event() {
            self.calls += u64::from(matches!(event, Event::Call(_)));
        }
    }
}

fn request(id: u64) -> String {
    let line = format!(
        r#"{{"method":"tools/call","params":{{"name":"search","arguments":{{"query":"where is the answer to question {id:08}","limit":10,"exact":true}},"_meta":{{"progressToken":{id}}}}},"jsonrpc":"2.0","id":{id}}}"#
    );
    line + "\n"
}

fn response(id: u64, text: &str) -> String {
    format!(
        r#"{{"result":{{"content":[{{"type":"text","text":"{text}"}}],"isError":false}},"jsonrpc":"2.0","id":{id}}}"#
    ) + "\n"
}

/// Bytes a nanosecond, for results of one MiB.
fn large(text: &str) -> f64 {
    let lines: Vec<_> = (0..64).map(|id| (request(id), response(id, text))).collect();
    let bytes: usize = lines
        .iter()
        .map(|(request, response)| request.len() + response.len())
        .sum();
    let mut session = Session::new();
    let start = Instant::now();
    for (request, response) in &lines {
        session.message(REQUESTS, request.as_bytes());
        session.message(RESPONSES, response.as_bytes());
    }
    let elapsed = start.elapsed();
    assert_eq!(session.calls, lines.len() as u64);
    bytes as f64 / elapsed.as_nanos() as f64
}

/// Messages a second, for messages of about 200 bytes.
fn small() -> f64 {
    let text = "The answer is known, and it is in the second paragraph of the third page, near the end of it.";
    let lines: Vec<_> = (0..100_000).map(|id| (request(id), response(id, text))).collect();
    let mut session = Session::new();
    let start = Instant::now();
    for (request, response) in &lines {
        session.message(REQUESTS, request.as_bytes());
        session.message(RESPONSES, response.as_bytes());
    }
    let elapsed = start.elapsed();
    assert_eq!(session.calls, lines.len() as u64);
    (2 * lines.len()) as f64 / elapsed.as_secs_f64()
}

fn median(run: impl FnMut(usize) -> f64) -> f64 {
    let mut figures: Vec<_> = (0..RUNS).map(run).collect();
    figures.sort_by(f64::total_cmp);
    figures[RUNS / 2]
}

fn main() {
    let plain = "lorem ipsum dolor sit amet ".repeat((1 << 20) / 27);
    // Source code and logs: an escape every forty bytes.
    let code = r#"    let value = \"text\";  // a comment\n"#.repeat((1 << 20) / 40);
    let large_plain = median(|_| large(&plain));
    let large_escaped = median(|_| large(&code));
    let small = median(|_| small());
    println!(
        r#"{{"large_gb_per_s":{large_plain:.2},"large_escaped_gb_per_s":{large_escaped:.2},"small_msgs_per_s":{small:.0}}}"#
    );
}
