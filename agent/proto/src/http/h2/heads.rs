//! Header blocks: put together from frames, decoded, and what they mean to their stream.

use super::block::Block;
use super::frame::{END_HEADERS, Kind, PADDED, PRIORITY, Sender};
use super::{H2, Open};
use crate::http::Part;
use crate::limits::Limits;

/// What stays allocated for blocks to come: most are of a few hundred bytes.
const KEPT_BYTES: usize = 1024;

impl H2 {
    /// A frame of a block is complete: strips what is not of the block (sections 6.2 and 6.6).
    pub(super) fn end_fragment(&mut self, limits: &Limits) {
        let Some(open) = self.open else {
            // The beginning of the block is not known: its entries are none that we know.
            return self.hpack.forget();
        };
        let frame = self.frame;
        if !open.lost && frame.kind != Kind::Continuation {
            let fragment = &self.collected[self.fragment..];
            let padded = frame.has(PADDED);
            let padding = fragment
                .first()
                .filter(|_| padded)
                .map_or(0, |&first| usize::from(first));
            let before = usize::from(padded)
                + match frame.kind {
                    Kind::PushPromise => 4,
                    _ if frame.has(PRIORITY) => 5,
                    _ => 0,
                };
            if before + padding > fragment.len() {
                return self.bad();
            }
            self.collected.truncate(self.collected.len() - padding);
            self.collected.drain(self.fragment..self.fragment + before);
        }
        if frame.has(END_HEADERS) {
            self.open = None;
            self.end_block(open, limits);
        }
    }

    fn end_block(&mut self, open: Open, limits: &Limits) {
        let mut block = Block::default();
        if open.lost {
            self.hpack.forget();
        } else {
            let read = self
                .hpack
                .decode(&self.collected, limits, |name, value| block.note(name, value, limits));
            if read.is_err() {
                // The head is what could be read of it; the next ones suffer from what could not.
                self.hpack.forget();
            }
        }
        self.collected.clear();
        self.collected.shrink_to(KEPT_BYTES);
        if open.pushed {
            return;
        }
        let known = self.streams.is_tentative(open.stream);
        // What follows a head and does not end the stream is another head, after an interim one.
        let is_head = match known {
            None => true,
            Some(tentative) => tentative && !open.ends_stream && !block.is_trailer,
        };
        let is_interim = self.sender == Sender::Server && (100..200).contains(&block.status);
        if is_head && is_interim && !open.ends_stream {
            return;
        }
        if is_head {
            let headless = known.is_none() && !self.complete && block.is_trailer;
            let block = if headless { Block::default() } else { block };
            self.open_stream(open.stream, open.start, block, limits);
        }
        if open.ends_stream {
            self.streams.finish(open.stream, open.start, Part::End, None);
        }
    }

    /// A message whose head was not seen.
    pub(super) fn open_headless(&mut self, stream: u32, start: u64, limits: &Limits) {
        self.open_stream(stream, start, Block::default(), limits);
    }

    fn open_stream(&mut self, stream: u32, start: u64, block: Block, limits: &Limits) {
        let tentative = self.sender == Sender::Server && block.status == 0;
        let part = match self.sender {
            Sender::Client => Part::Request(Box::new(block.request(limits))),
            Sender::Server => Part::Response(Box::new(block.response())),
        };
        self.streams.open(stream, start, tentative, limits.h2_streams);
        self.streams.report(stream, start, part, None);
    }
}
