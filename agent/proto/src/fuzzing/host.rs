//! The whole tracker, on a host where anything may happen.

use super::pieces::{Dice, cut};
use super::{choice, limits};
use crate::{Carrier, Content, Event, Nanos, PairId, ProcessId, Side, StreamId, Tracker, Transfer};

const STREAMS: usize = 4;
const MS: Nanos = 1_000_000;

/// One direction: what was written, and how far each side is.
#[derive(Default)]
struct Pipe {
    written: Vec<u8>,
    read: usize,
}

struct Host {
    tracker: Tracker,
    now: Nanos,
    pipes: [Pipe; STREAMS],
    how: u8,
    /// Whether syscalls are captured in several pieces.
    pieces: bool,
    calls: Vec<String>,
    /// Nothing has been lost, and nothing has happened that cannot.
    sound: bool,
}

impl Host {
    fn new(how: u8, pieces: bool) -> Self {
        Self {
            tracker: Tracker::new(limits()),
            now: 1_000,
            pipes: Default::default(),
            how,
            pieces,
            calls: Vec::new(),
            sound: how & 2 == 0,
        }
    }

    /// A syscall that moved `bytes`, of which `captured` were.
    fn moved(&mut self, stream: usize, side: Side, offset: usize, bytes: &[u8], captured: std::ops::Range<usize>) {
        let tcp = self.how & 1 != 0;
        let writer = side == Side::Writer;
        // Streams 0 and 1 are the two directions of one conversation, so are 2 and 3.
        let process = 100 + (stream / 2 * 2 + usize::from(stream.is_multiple_of(2) != writer)) as u64;
        let meta = Transfer {
            stream: StreamId(stream as u64),
            pair: tcp.then_some(PairId((stream / 2) as u64)),
            carrier: if tcp { Carrier::Tcp } else { Carrier::Pipe },
            fresh: self.how & 2 == 0,
            absolute: tcp,
            ends: tcp.then_some([stream as u64, (stream ^ 1) as u64]),
            side,
            process: ProcessId(process),
            entered: self.now,
            exited: self.now + 1_000,
            offset: offset as u64,
            len: bytes.len() as u64,
            content: Content::default(),
            last: false,
        };
        let content = &bytes[captured.clone()];
        let pieces = if self.pieces && content.len() > 1 {
            cut(content)
        } else {
            vec![content]
        };
        let (mut at, last) = (captured.start as u64, pieces.len() - 1);
        for (n, bytes) in pieces.into_iter().enumerate() {
            self.tracker.transfer(&Transfer {
                content: Content { at, bytes },
                last: n == last,
                ..meta
            });
            at += bytes.len() as u64;
        }
        self.now += 2_000;
    }

    /// One step: two bytes say what, and take what they need from the rest.
    fn step<'a>(&mut self, what: u8, size: u8, rest: &'a [u8]) -> &'a [u8] {
        let stream = usize::from(what >> 6);
        let (taken, rest) = rest.split_at(usize::from(size).min(rest.len()));
        let offset = self.pipes[stream].written.len();
        // Whether an unknown stream is binary is asked of the beginnings of pieces.
        self.sound &= matches!(what & 0xf, 0..=7 | 10 | 13) && !taken.contains(&0);
        match what & 0xf {
            // Most of what happens is a write that is read.
            kind @ 0..=9 => {
                let captured = match kind {
                    8 => taken.len() / 3..taken.len() / 2,
                    9 => 0..taken.len() / 2,
                    _ => 0..taken.len(),
                };
                self.moved(stream, Side::Writer, offset, taken, captured);
                self.pipes[stream].written.extend_from_slice(taken);
                if kind < 8 {
                    self.read(stream, kind < 4);
                }
                rest
            }
            10 => {
                self.read(stream, true);
                rest
            }
            11 => {
                self.moved(stream, Side::Reader, self.pipes[stream].read, &[], 0..0);
                self.tracker.closed(StreamId(stream as u64), self.now);
                rest
            }
            12 => {
                self.tracker
                    .process_exited(ProcessId(100 + u64::from(size % 4)), self.now);
                rest
            }
            13 => {
                self.now += u64::from(size) * u64::from(size) * MS;
                self.time();
                rest
            }
            14 => {
                self.tracker.records_lost();
                rest
            }
            // What cannot be: a place far from where the stream is.
            _ => {
                let wild = u64::from(size) << (size % 57);
                self.moved(stream, Side::Writer, wild as usize, taken, 0..taken.len());
                rest
            }
        }
    }

    fn read(&mut self, stream: usize, captured: bool) {
        let pipe = &mut self.pipes[stream];
        let (from, bytes) = (pipe.read, pipe.written[pipe.read..].to_vec());
        pipe.read = pipe.written.len();
        let end = if captured { bytes.len() } else { 0 };
        self.moved(stream, Side::Reader, from, &bytes, 0..end);
    }

    fn time(&mut self) {
        for n in 0.. {
            assert!(n < 1_000, "the same instant is due again and again");
            match self.tracker.poll_timeout() {
                Some(due) if due <= self.now => self.tracker.handle_timeout(self.now),
                _ => break,
            }
        }
    }

    fn events(&mut self) {
        while let Some(event) = self.tracker.poll_event() {
            if let Event::Call(call) = event {
                self.calls.push(format!("{:?} {:?}", call.method, call.outcome));
            }
        }
        let stats = self.tracker.stats();
        assert_eq!(stats.events_dropped, 0);
        assert!(stats.calls <= stats.requests, "a call that nobody made");
    }
}

/// Syscalls on four streams. Bit 0 of the choice: TCP, else pipes; bit 1: they were there before.
pub(super) fn tracker(data: &[u8]) {
    let run = |pieces| {
        let (how, mut rest) = choice(data);
        let mut host = Host::new(how, pieces);
        let mut dice = Dice::of(data);
        while let [what, size, more @ ..] = rest {
            rest = host.step(*what, *size, more);
            if dice.below(4) == 0 {
                host.events();
            }
        }
        host.tracker.finish(host.now);
        host.events();
        (host.calls, host.sound)
    };
    let ((whole, sound), (pieces, _)) = (run(false), run(true));
    assert!(!sound || whole == pieces, "pieces make a difference");
}
