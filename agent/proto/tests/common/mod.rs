//! A simulated host: processes, streams and what the kernel would say about them.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use std::collections::HashMap;

use mcp_proto::{
    Call, Carrier, Content, Event, Fault, Limits, Nanos, PairId, ProcessId, Side, Stats, StreamId,
    Tracker, Transfer, Verdict,
};

pub const CLIENT: ProcessId = ProcessId(100);
pub const SERVER: ProcessId = ProcessId(200);
pub const STDIN: StreamId = StreamId(1);
pub const STDOUT: StreamId = StreamId(2);

pub struct Host {
    pub tracker: Tracker,
    pub now: Nanos,
    pub calls: Vec<Call>,
    pub faults: Vec<Fault>,
    pub verdicts: HashMap<StreamId, Verdict>,
    pub looked_again: usize,
    counts: HashMap<(StreamId, bool), u64>,
    pub fresh: bool,
    pub carrier: Carrier,
    pub pairs: HashMap<StreamId, PairId>,
}

impl Host {
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        Self {
            tracker: Tracker::new(limits),
            now: 1_000,
            calls: Vec::new(),
            faults: Vec::new(),
            verdicts: HashMap::new(),
            looked_again: 0,
            counts: HashMap::new(),
            fresh: true,
            carrier: Carrier::Pipe,
            pairs: HashMap::new(),
        }
    }

    pub fn drain(&mut self) {
        while let Some(event) = self.tracker.poll_event() {
            match event {
                Event::Call(call) => self.calls.push(*call),
                Event::Fault(fault) => self.faults.push(fault),
                Event::Verdict { stream, verdict } => {
                    self.looked_again += usize::from(verdict == Verdict::LookAgain);
                    self.verdicts.insert(stream, verdict);
                }
            }
        }
    }

    /// One syscall with the given captured pieces; takes 10 ns.
    pub fn syscall(
        &mut self,
        stream: StreamId,
        side: Side,
        process: ProcessId,
        len: u64,
        pieces: &[(u64, &[u8])],
    ) {
        let entered = self.now;
        let exited = entered + 10;
        self.now += 20;
        self.syscall_at(stream, side, process, len, pieces, entered, exited);
    }

    #[allow(clippy::too_many_arguments, reason = "a record has as many fields")]
    pub fn syscall_at(
        &mut self,
        stream: StreamId,
        side: Side,
        process: ProcessId,
        len: u64,
        pieces: &[(u64, &[u8])],
        entered: Nanos,
        exited: Nanos,
    ) {
        let count = self
            .counts
            .entry((stream, side == Side::Writer))
            .or_default();
        let offset = *count;
        *count += len;
        let base = Transfer {
            stream,
            pair: self.pairs.get(&stream).copied(),
            carrier: self.carrier,
            fresh: self.fresh,
            side,
            process,
            entered,
            exited,
            offset,
            len,
            content: Content::default(),
            last: true,
        };
        if pieces.is_empty() {
            self.tracker.transfer(&base);
        }
        for (index, (at, bytes)) in pieces.iter().enumerate() {
            let content = Content { at: *at, bytes };
            self.tracker.transfer(&Transfer {
                content,
                last: index + 1 == pieces.len(),
                ..base
            });
        }
        self.drain();
    }

    /// A record that never arrives: the count moves on.
    pub fn lost_syscall(&mut self, stream: StreamId, side: Side, len: u64) {
        *self
            .counts
            .entry((stream, side == Side::Writer))
            .or_default() += len;
    }

    pub fn write(&mut self, stream: StreamId, process: ProcessId, bytes: &[u8]) {
        self.syscall(
            stream,
            Side::Writer,
            process,
            bytes.len() as u64,
            &[(0, bytes)],
        );
    }

    pub fn read(&mut self, stream: StreamId, process: ProcessId, len: u64) {
        self.syscall(stream, Side::Reader, process, len, &[]);
    }

    /// The client's message, written and read at once.
    pub fn ask(&mut self, text: &str) {
        let line = format!("{text}\n");
        self.write(STDIN, CLIENT, line.as_bytes());
        self.read(STDIN, SERVER, line.len() as u64);
    }

    /// The server's message, written and read at once.
    pub fn answer(&mut self, text: &str) {
        let line = format!("{text}\n");
        self.write(STDOUT, SERVER, line.as_bytes());
        self.read(STDOUT, CLIENT, line.len() as u64);
    }

    pub fn exit(&mut self, process: ProcessId) {
        self.now += 20;
        self.tracker.process_exited(process, self.now);
        self.drain();
    }

    pub fn sleep(&mut self, nanos: Nanos) {
        self.now += nanos;
        while self.tracker.poll_timeout().is_some_and(|at| at <= self.now) {
            self.tracker.handle_timeout(self.now);
        }
        self.drain();
    }

    pub fn finish(&mut self) -> Stats {
        self.now += 20;
        self.tracker.finish(self.now);
        self.drain();
        let stats = self.tracker.stats();
        assert_eq!(
            stats.bytes,
            stats.bytes_parsed + stats.bytes_skipped + stats.bytes_missing + stats.bytes_pending
        );
        stats
    }

    /// The first calls of a session, so that both streams are recognised.
    pub fn handshake(&mut self) {
        self.ask(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#);
        self.answer(r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","version":"2"}}}"#);
        self.ask(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    }
}

pub fn call(id: u32, tool: &str) -> String {
    format!(
        r#"{{"method":"tools/call","params":{{"name":"{tool}","arguments":{{"x":"y"}},"_meta":{{"progressToken":{id}}}}},"jsonrpc":"2.0","id":{id}}}"#
    )
}

pub fn result(id: u32, text: &str) -> String {
    format!(
        r#"{{"result":{{"content":[{{"type":"text","text":"{text}"}}],"isError":false}},"jsonrpc":"2.0","id":{id}}}"#
    )
}
