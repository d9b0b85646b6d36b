//! What the kernel is told of streams and servers.

use agent_abi::{DataRecord, VerdictCode, VerdictEntry, flags};
use mcp_proto::{StreamId, Verdict};

use super::{MAX_STREAMS, Pipeline};

/// Where the kernel keeps a stream, and what it was last told.
#[derive(Default)]
pub(super) struct Stream {
    /// One place, or one for each of the two sockets that it runs between.
    pub(super) places: Vec<Place>,
    grants: u32,
    verdict: Option<VerdictCode>,
}

/// One of the places where the kernel keeps a stream.
#[derive(Clone, Copy)]
pub(super) struct Place {
    key: u64,
    pub(super) ino: u64,
    /// The kernel's own number of the stream at this place.
    stream: u64,
    reads: bool,
}

impl Stream {
    /// What the kernel is to be told at a place. What the writer's end ships, the reader's need not.
    fn entry(&self, place: Place, verdict: VerdictCode) -> VerdictEntry {
        let both = self.places.iter().any(|other| other.reads != place.reads);
        let told = match verdict {
            VerdictCode::Watch if place.reads && both => VerdictCode::Timing,
            verdict => verdict,
        };
        VerdictEntry {
            stream: place.stream,
            ino: place.ino,
            verdict: told as u32,
            grants: self.grants,
        }
    }
}

impl<S> Pipeline<S> {
    pub(super) fn note_place(&mut self, stream: StreamId, record: &DataRecord) {
        let place = Place {
            key: record.key,
            ino: record.ino,
            stream: record.stream,
            reads: record.flags & flags::READ != 0,
        };
        let known = self.streams.entry(stream.0).or_default();
        // A pipe is kept at one place, whoever uses it.
        if let Some(it) = known.places.iter_mut().find(|it| it.key == place.key) {
            if it.ino == 0 {
                it.ino = place.ino;
            }
        } else if known.places.len() < 2 {
            known.places.push(place);
            if let Some(verdict) = known.verdict {
                let entries = known.places.iter().map(|it| (it.key, known.entry(*it, verdict)));
                self.judgements.extend(entries);
            }
        }
        if self.streams.len() > MAX_STREAMS {
            self.streams.pop_first();
        }
    }

    pub(super) fn judge(&mut self, stream: StreamId, verdict: Verdict) {
        let Some(known) = self.streams.get_mut(&stream.0) else {
            return;
        };
        let code = match verdict {
            Verdict::Watch => VerdictCode::Watch,
            Verdict::Ignore => VerdictCode::Ignore,
            Verdict::LookAgain => {
                known.grants += 1;
                VerdictCode::LookAgain
            }
        };
        known.verdict = Some(code);
        let entries = known.places.iter().map(|place| (place.key, known.entry(*place, code)));
        self.judgements.extend(entries);
        if let Some(socket) = self.sockets.ends(stream).into_iter().flatten().next() {
            match code {
                VerdictCode::Watch => self.endpoints.watched(socket.endpoints()),
                // One of a connection's two streams stands for it.
                VerdictCode::Ignore if stream.0 & 1 == 0 => {
                    self.endpoints.ignored(socket.endpoints(), self.latest);
                }
                _ => {}
            }
        }
    }
}
