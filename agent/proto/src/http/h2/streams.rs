//! Streams whose message is not complete, and what is to be reported of them.

use std::collections::{BTreeMap, VecDeque};

use crate::http::{ExchangeKey, Part};

#[derive(Clone, Copy, Debug)]
struct Stream {
    /// Position of the frame that began the message.
    start: u64,
    /// Its head may have been that of an interim response: the status is not known.
    tentative: bool,
}

#[derive(Debug)]
struct Report {
    exchange: ExchangeKey,
    part: Part<'static>,
    start: u64,
    reset: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Streams {
    open: BTreeMap<u32, Stream>,
    queue: VecDeque<Report>,
    /// Of what was reported last.
    head_start: u64,
    reset: Option<u32>,
}

impl Streams {
    pub(super) fn is_open(&self, stream: u32) -> bool {
        self.open.contains_key(&stream)
    }

    /// Whether what was taken for the head may not be it; `None` when the stream is not open.
    pub(super) fn is_tentative(&self, stream: u32) -> Option<bool> {
        self.open.get(&stream).map(|stream| stream.tentative)
    }

    /// Opens a stream, at the expense of the oldest when there are `most`.
    pub(super) fn open(&mut self, stream: u32, start: u64, tentative: bool, most: usize) {
        if !self.is_open(stream)
            && self.open.len() >= most
            && let Some((&oldest, _)) = self.open.first_key_value()
        {
            self.finish(oldest, start, Part::Cut, None);
        }
        self.open.insert(stream, Stream { start, tentative });
    }

    pub(super) fn close(&mut self, exchange: ExchangeKey) {
        if let Ok(stream) = u32::try_from(exchange) {
            self.open.remove(&stream);
        }
    }

    /// Queues a part. `at` is where the stream began, if it is not open.
    pub(super) fn report(&mut self, stream: u32, at: u64, part: Part<'static>, reset: Option<u32>) {
        self.queue.push_back(Report {
            exchange: stream.into(),
            part,
            start: self.open.get(&stream).map_or(at, |stream| stream.start),
            reset,
        });
    }

    /// Queues the last part of a stream.
    pub(super) fn finish(&mut self, stream: u32, at: u64, part: Part<'static>, reset: Option<u32>) {
        self.report(stream, at, part, reset);
        self.open.remove(&stream);
    }

    pub(super) fn cut_all(&mut self) {
        while let Some((&stream, &Stream { start, .. })) = self.open.first_key_value() {
            self.finish(stream, start, Part::Cut, None);
        }
    }

    pub(super) fn next_report(&mut self) -> Option<(ExchangeKey, Part<'static>)> {
        let report = self.queue.pop_front()?;
        (self.head_start, self.reset) = (report.start, report.reset);
        Some((report.exchange, report.part))
    }

    /// A part that needs no queue is reported of an open stream.
    pub(super) fn speak_of(&mut self, stream: u32) {
        if let Some(stream) = self.open.get(&stream) {
            (self.head_start, self.reset) = (stream.start, None);
        }
    }

    pub(super) fn head_start(&self) -> u64 {
        self.head_start
    }

    pub(super) fn reset(&self) -> Option<u32> {
        self.reset
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}
