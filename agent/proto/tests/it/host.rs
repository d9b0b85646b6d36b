//! A simulated host: processes, streams and what the kernel would say about them.

use std::collections::HashMap;

use mcp_proto::{
    Call, Carrier, Content, Event, Fault, Limits, Nanos, PairId, ProcessId, Side, Stats, StreamId, Tracker, Transfer,
    Verdict,
};

pub(crate) const CLIENT: ProcessId = ProcessId(100);
pub(crate) const SERVER: ProcessId = ProcessId(200);
pub(crate) const STDIN: StreamId = StreamId(1);
pub(crate) const STDOUT: StreamId = StreamId(2);

pub(crate) struct Host {
    pub(crate) tracker: Tracker,
    pub(crate) now: Nanos,
    pub(crate) calls: Vec<Call>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) verdicts: HashMap<StreamId, Verdict>,
    pub(crate) looked_again: usize,
    counts: HashMap<(StreamId, bool), u64>,
    pub(crate) fresh: bool,
    pub(crate) carrier: Carrier,
    pub(crate) pairs: HashMap<StreamId, PairId>,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
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

    pub(crate) fn drain(&mut self) {
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
    pub(crate) fn syscall(
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

    #[expect(clippy::too_many_arguments, reason = "a record has as many fields")]
    pub(crate) fn syscall_at(
        &mut self,
        stream: StreamId,
        side: Side,
        process: ProcessId,
        len: u64,
        pieces: &[(u64, &[u8])],
        entered: Nanos,
        exited: Nanos,
    ) {
        let count = self.counts.entry((stream, side == Side::Writer)).or_default();
        let offset = *count;
        *count += len;
        let base = Transfer {
            stream,
            pair: self.pairs.get(&stream).copied(),
            carrier: self.carrier,
            fresh: self.fresh,
            absolute: self.carrier == Carrier::Tcp,
            ends: (self.carrier == Carrier::Tcp).then_some([stream.0 % 2, 1 - stream.0 % 2]),
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

    pub(crate) fn count(&self, stream: StreamId, side: Side) -> u64 {
        self.counts.get(&(stream, side == Side::Writer)).copied().unwrap_or(0)
    }

    /// Moves a side's count without a record.
    pub(crate) fn set_count(&mut self, stream: StreamId, side: Side, by: i64) {
        let count = self.counts.entry((stream, side == Side::Writer)).or_default();
        *count = count.saturating_add_signed(by);
    }

    /// A record that never arrives: the count moves on.
    pub(crate) fn lost_syscall(&mut self, stream: StreamId, side: Side, len: u64) {
        *self.counts.entry((stream, side == Side::Writer)).or_default() += len;
    }

    pub(crate) fn write(&mut self, stream: StreamId, process: ProcessId, bytes: &[u8]) {
        self.syscall(stream, Side::Writer, process, bytes.len() as u64, &[(0, bytes)]);
    }

    pub(crate) fn read(&mut self, stream: StreamId, process: ProcessId, len: u64) {
        self.syscall(stream, Side::Reader, process, len, &[]);
    }

    /// A message in writes of at most so many bytes.
    pub(crate) fn message(&mut self, from_client: bool, text: &str, portion: usize) {
        let (stream, writer, reader) = if from_client {
            (STDIN, CLIENT, SERVER)
        } else {
            (STDOUT, SERVER, CLIENT)
        };
        let line = format!("{text}\n");
        for bytes in line.as_bytes().chunks(portion) {
            self.write(stream, writer, bytes);
        }
        self.read(stream, reader, line.len() as u64);
    }

    /// The client's message, written and read at once.
    pub(crate) fn ask(&mut self, text: &str) {
        let line = format!("{text}\n");
        self.write(STDIN, CLIENT, line.as_bytes());
        self.read(STDIN, SERVER, line.len() as u64);
    }

    /// The server's message, written and read at once.
    pub(crate) fn answer(&mut self, text: &str) {
        let line = format!("{text}\n");
        self.write(STDOUT, SERVER, line.as_bytes());
        self.read(STDOUT, CLIENT, line.len() as u64);
    }

    pub(crate) fn exit(&mut self, process: ProcessId) {
        self.now += 20;
        self.tracker.process_exited(process, self.now);
        self.drain();
    }

    pub(crate) fn sleep(&mut self, nanos: Nanos) {
        self.now += nanos;
        while self.tracker.poll_timeout().is_some_and(|at| at <= self.now) {
            self.tracker.handle_timeout(self.now);
        }
        self.drain();
    }

    pub(crate) fn finish(&mut self) -> Stats {
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
    pub(crate) fn handshake(&mut self) {
        self.ask(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#);
        self.answer(r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","version":"2"}}}"#);
        self.ask(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    }
}

pub(crate) fn call(id: u32, tool: &str) -> String {
    format!(
        r#"{{"method":"tools/call","params":{{"name":"{tool}","arguments":{{"x":"y"}},"_meta":{{"progressToken":{id}}}}},"jsonrpc":"2.0","id":{id}}}"#
    )
}

pub(crate) fn result(id: u32, text: &str) -> String {
    format!(
        r#"{{"result":{{"content":[{{"type":"text","text":"{text}"}}],"isError":false}},"jsonrpc":"2.0","id":{id}}}"#
    )
}
