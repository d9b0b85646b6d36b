//! Where the kernel keeps the streams, and what it was told of them.

use std::collections::BTreeMap;

use agent_abi::{DataRecord, VerdictCode, VerdictEntry, flags};
use mcp_proto::{StreamId, Verdict};

/// Streams whose places are kept; the oldest give way, and keep their verdict for good.
const MAX_STREAMS: usize = 32_768;

/// One of the places where the kernel keeps a stream.
#[derive(Clone, Copy, Debug)]
struct Place {
    key: u64,
    ino: u64,
    /// The kernel's own number of the stream at this place.
    stream: u64,
    reads: bool,
    /// Of a TCP connection that was in its middle when this place was first seen.
    midway: bool,
}

/// A stream with its one place, or one for each of the two sockets that it runs between.
#[derive(Debug, Default)]
struct Stream {
    places: [Option<Place>; 2],
    grants: u32,
    verdict: Option<VerdictCode>,
}

impl Stream {
    fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().flatten()
    }

    /// What the kernel is to be told at a place.
    fn entry(&self, place: Place, verdict: VerdictCode) -> (u64, VerdictEntry) {
        let both = self.places().any(|other| other.reads != place.reads);
        let told = match verdict {
            // What the writer's end ships, the reader's need not.
            VerdictCode::Watch if place.reads && both => VerdictCode::Timing,
            // TLS that is seen from its middle on need not look like it: a socket that writes may
            // still have to be bound to its session.
            VerdictCode::Ignore if place.midway => VerdictCode::Sealed,
            verdict => verdict,
        };
        let entry = VerdictEntry {
            stream: place.stream,
            ino: place.ino,
            verdict: told as u32,
            grants: self.grants,
        };
        (place.key, entry)
    }
}

/// Every stream that was seen.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Boxed, for the nodes of the tree are mostly half empty.
    streams: BTreeMap<StreamId, Box<Stream>>,
    judgements: Vec<(u64, VerdictEntry)>,
}

impl Places {
    /// Notes where the kernel keeps a stream, and tells it there what is thought of the stream.
    pub(super) fn note(&mut self, stream: StreamId, record: &DataRecord) {
        let place = Place {
            key: record.key,
            ino: record.ino,
            stream: record.stream,
            reads: record.flags & flags::READ != 0,
            midway: record.flags & flags::TCP != 0 && record.offset != 0,
        };
        let known = self.streams.entry(stream).or_default();
        // A pipe is kept at one place, whoever uses it.
        if let Some(it) = known.places.iter_mut().flatten().find(|it| it.key == place.key) {
            if it.ino == 0 {
                it.ino = place.ino;
            }
        } else if let Some(free) = known.places.iter_mut().find(|it| it.is_none()) {
            *free = Some(place);
            if let Some(verdict) = known.verdict {
                let entries = known.places().map(|it| known.entry(*it, verdict));
                self.judgements.extend(entries);
            }
        }
        if self.streams.len() > MAX_STREAMS {
            self.streams.pop_first();
        }
    }

    /// Takes the tracker's word on a stream. The kernel's is returned, if the stream is known.
    pub(super) fn judge(&mut self, stream: StreamId, verdict: Verdict) -> Option<VerdictCode> {
        let known = self.streams.get_mut(&stream)?;
        let code = match verdict {
            Verdict::Watch => VerdictCode::Watch,
            Verdict::Ignore => VerdictCode::Ignore,
            Verdict::LookAgain => {
                known.grants += 1;
                VerdictCode::LookAgain
            }
        };
        known.verdict = Some(code);
        let entries = known.places().map(|place| known.entry(*place, code));
        self.judgements.extend(entries);
        Some(code)
    }

    /// Tells the kernel what the ciphertext is worth that a socket moves.
    pub(super) fn seal(&mut self, (key, ino, verdict): (u64, u64, VerdictCode)) {
        for key in [key, key | 1] {
            let entry = VerdictEntry {
                stream: 0,
                ino,
                verdict: verdict as u32,
                grants: 0,
            };
            self.judgements.push((key, entry));
        }
    }

    /// Whether a stream was found to carry MCP.
    pub(super) fn is_watched(&self, stream: StreamId) -> bool {
        let known = self.streams.get(&stream);
        known.is_some_and(|known| known.verdict == Some(VerdictCode::Watch))
    }

    /// Whether some of a stream's bytes had passed before any end of it was seen.
    pub(super) fn is_midway(&self, stream: StreamId) -> bool {
        let known = self.streams.get(&stream);
        known.is_some_and(|known| known.places().all(|place| place.midway))
    }

    /// Inode number of a pipe or of a socket that carries a stream; 0 when it is not known.
    pub(super) fn ino(&self, stream: StreamId) -> u64 {
        let known = self.streams.get(&stream);
        known
            .and_then(|known| known.places().next())
            .map_or(0, |place| place.ino)
    }

    /// What the kernel is to be told: the stream's key, and what to keep under it.
    pub(super) fn take_judgements(&mut self) -> Vec<(u64, VerdictEntry)> {
        std::mem::take(&mut self.judgements)
    }
}
