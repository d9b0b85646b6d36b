//! Where streams are kept in the kernel, and what it was told of them.

use std::collections::BTreeMap;

use agent_abi::{DataRecord, VerdictCode, VerdictEntry, flags};
use mcp_proto::{Side, StreamId, Verdict};

use super::limits;

/// What is thought of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Opinion {
    #[default]
    None,
    LookAgain,
    Watch,
    Ignore,
    /// It is ciphertext.
    Sealed,
}

/// Where the kernel keeps a stream, or one end of it.
#[derive(Clone, Copy, Debug)]
struct Place {
    key: u64,
    ino: u64,
    /// The kernel's own name for it.
    stream: u64,
    /// It was seen from its first byte on.
    is_whole: bool,
    told: Option<(VerdictCode, u32)>,
}

/// A pipe has one place, a TCP stream and a TLS stream one for each end.
#[derive(Debug, Default)]
struct Stream {
    writer: Option<Place>,
    reader: Option<Place>,
    opinion: Opinion,
    grants: u32,
    /// Nothing of the writer's or the reader's end is wanted any more.
    done: [bool; 2],
}

/// The streams that the kernel has shown.
#[derive(Debug, Default)]
pub(super) struct Streams {
    known: BTreeMap<StreamId, Stream>,
    judgements: Vec<(u64, VerdictEntry)>,
}

impl Streams {
    /// Notes where the kernel keeps the stream `id`, and tells it what is thought of it there.
    pub(super) fn note(&mut self, id: StreamId, record: &DataRecord) {
        let stream = self.known.entry(id).or_default();
        let each_end = record.flags & (flags::TCP | flags::TLS) != 0;
        let place = if each_end && record.flags & flags::READ != 0 {
            &mut stream.reader
        } else {
            &mut stream.writer
        };
        match place {
            Some(known) if known.stream == record.stream => {
                if known.ino == 0 {
                    known.ino = record.ino;
                }
                return;
            }
            // The kernel has forgotten what it had, and begun anew.
            place => {
                *place = Some(Place {
                    key: record.key,
                    ino: record.ino,
                    stream: record.stream,
                    is_whole: !each_end || record.offset == 0,
                    told: None,
                });
            }
        }
        stream.tell(&mut self.judgements);
        if self.known.len() > limits::STREAMS {
            self.known.pop_first();
        }
    }

    /// Takes the tracker's word.
    pub(super) fn judge(&mut self, id: StreamId, verdict: Verdict) {
        let Some(stream) = self.known.get_mut(&id) else { return };
        if stream.opinion == Opinion::Sealed {
            return;
        }
        stream.opinion = match verdict {
            Verdict::Watch => Opinion::Watch,
            Verdict::Ignore => Opinion::Ignore,
            Verdict::LookAgain => {
                stream.grants += 1;
                Opinion::LookAgain
            }
        };
        stream.tell(&mut self.judgements);
    }

    /// A stream is ciphertext.
    pub(super) fn seal(&mut self, id: StreamId) {
        let stream = self.known.entry(id).or_default();
        stream.opinion = Opinion::Sealed;
        stream.tell(&mut self.judgements);
    }

    /// Ciphertext whose session is known at this end: the end has nothing more to tell.
    pub(super) fn opened(&mut self, id: StreamId, side: Side) {
        let stream = self.known.entry(id).or_default();
        stream.opinion = Opinion::Sealed;
        stream.done[side as usize] = true;
        stream.tell(&mut self.judgements);
    }

    /// Whether nobody knows yet what the stream carries.
    pub(super) fn is_open(&self, id: StreamId) -> bool {
        let known = self.known.get(&id).map_or(Opinion::None, |stream| stream.opinion);
        matches!(known, Opinion::None | Opinion::LookAgain)
    }

    /// Whether all of the stream was seen, at either end.
    pub(super) fn is_whole(&self, id: StreamId) -> bool {
        let stream = self.known.get(&id);
        let mut places = stream.into_iter().flat_map(|stream| [&stream.writer, &stream.reader]);
        places.any(|place| place.is_some_and(|place| place.is_whole))
    }

    /// Inode number of the stream; 0 when it is not known.
    pub(super) fn ino(&self, id: StreamId) -> u64 {
        let place = self.known.get(&id).and_then(|stream| stream.writer);
        place.map_or(0, |place| place.ino)
    }

    /// Verdicts since the last time this was asked: the stream's key, and what to keep under it.
    pub(super) fn take_judgements(&mut self) -> Vec<(u64, VerdictEntry)> {
        std::mem::take(&mut self.judgements)
    }
}

impl Stream {
    fn tell(&mut self, judgements: &mut Vec<(u64, VerdictEntry)>) {
        for side in [Side::Writer, Side::Reader] {
            let verdict = self.verdict(side);
            let grants = self.grants;
            let place = match side {
                Side::Writer => &mut self.writer,
                Side::Reader => &mut self.reader,
            };
            let (Some(place), Some(verdict)) = (place, verdict) else {
                continue;
            };
            if place.told.replace((verdict, grants)) != Some((verdict, grants)) {
                let entry = VerdictEntry {
                    stream: place.stream,
                    ino: place.ino,
                    verdict: verdict as u32,
                    grants,
                };
                judgements.push((place.key, entry));
            }
        }
    }

    /// What one end is to do. Where the writer's end is seen to ship the bytes, the reader's need not.
    fn verdict(&self, side: Side) -> Option<VerdictCode> {
        let spare = side == Side::Reader && self.writer.is_some() && self.reader.is_some();
        // What a TLS library reads of a connection in its middle need not begin with a record: its
        // socket may still have to be bound, by a write.
        let partial = side == Side::Writer && self.writer.is_some_and(|place| !place.is_whole);
        match self.opinion {
            Opinion::Sealed if self.done[side as usize] => Some(VerdictCode::Ignore),
            Opinion::Sealed => Some(VerdictCode::Sealed),
            Opinion::Ignore if partial => Some(VerdictCode::Sealed),
            Opinion::Ignore => Some(VerdictCode::Ignore),
            _ if spare => Some(VerdictCode::Timing),
            Opinion::Watch => Some(VerdictCode::Watch),
            Opinion::LookAgain => Some(VerdictCode::LookAgain),
            Opinion::None => None,
        }
    }
}
