//! One direction of bytes: puts pieces of syscalls in place, drops what both sides captured, and
//! finds what is missing.

use std::collections::VecDeque;

use crate::alignment::Alignment;
use crate::limits::Limits;
use crate::timeline::Span;
use crate::{Content, Nanos, ProcessId, Side, Transfer};

/// Bytes that were not captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) start: u64,
    pub(crate) len: u64,
    /// Where the syscall began and ended, when the gap is a hole in its middle.
    pub(crate) syscall: Option<(u64, u64)>,
}

/// What becomes of a piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) before: Option<Gap>,
    /// Position of the first new byte.
    pub(crate) position: u64,
    /// Bytes at the start of the piece that are not new; all of them when nothing is.
    pub(crate) known: usize,
    pub(crate) after: Option<Gap>,
}

/// What identifies a syscall among those of one side.
type Key = (ProcessId, Nanos, Nanos, u64, u64);

#[derive(Clone, Copy, Debug)]
struct Open {
    key: Key,
    /// Where its bytes begin in this side's count.
    base: u64,
}

/// A piece that has to wait for the end of another syscall.
#[derive(Clone, Debug)]
pub(crate) struct Parked {
    meta: Transfer<'static>,
    at: u64,
    bytes: Vec<u8>,
}

impl Parked {
    pub(crate) fn transfer(&self) -> Transfer<'_> {
        Transfer {
            content: Content {
                at: self.at,
                bytes: &self.bytes,
            },
            ..self.meta
        }
    }
}

#[derive(Clone, Debug, Default)]
struct SideState {
    /// This side's count after its last syscall.
    next: u64,
    /// Only while a syscall comes in pieces: most come in one.
    pieces: Option<Box<Pieces>>,
}

/// Syscalls of one side whose pieces have not all come.
#[derive(Clone, Debug, Default)]
struct Pieces {
    /// Whose pieces are put in place.
    open: Option<Open>,
    /// Pieces of others.
    parked: VecDeque<Parked>,
    parked_bytes: usize,
}

impl SideState {
    /// All pieces of the open syscall have come.
    fn close(&mut self) {
        if let Some(pieces) = &mut self.pieces {
            pieces.open = None;
            if pieces.parked.is_empty() {
                self.pieces = None;
            }
        }
    }
}

/// Bytes of the reader's that are kept to recognise them on the writer's side.
const COMPARED: usize = 256;

/// Assembles one direction of bytes from what its two sides saw.
#[derive(Clone, Debug)]
pub(crate) struct ByteStream {
    pub(crate) alignment: Alignment,
    fresh: bool,
    /// Both sides count from the same byte.
    aligned: bool,
    writer_seen: bool,
    begun: bool,
    cursor: u64,
    writer: SideState,
    reader: SideState,
    /// Only until the writer is seen, where the sides may not count from the same byte.
    #[expect(clippy::box_collection, reason = "most streams never have it")]
    read_last: Option<Box<Vec<u8>>>,
}

fn key(t: &Transfer<'_>) -> Key {
    (t.process, t.entered, t.exited, t.offset, t.len)
}

impl ByteStream {
    /// An empty stream, of which `first` is the first transfer to be seen.
    pub(crate) fn new(first: &Transfer<'_>) -> Self {
        let fresh = if first.absolute { first.offset == 0 } else { first.fresh };
        let aligned = fresh || first.absolute;
        Self {
            alignment: Alignment::new(aligned),
            fresh,
            aligned,
            writer_seen: false,
            begun: fresh,
            cursor: 0,
            writer: SideState::default(),
            reader: SideState::default(),
            read_last: None,
        }
    }

    /// Position after everything that is accounted for.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Whether positions mean the same to everybody who has seen the stream from its first byte.
    pub(crate) fn is_absolute(&self) -> bool {
        self.aligned
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    fn side(&mut self, side: Side) -> &mut SideState {
        match side {
            Side::Writer => &mut self.writer,
            Side::Reader => &mut self.reader,
        }
    }

    /// Lets a piece in: `Err` when it has to wait, else the syscall's span when it is a new one.
    pub(crate) fn admit(&mut self, t: &Transfer<'_>) -> Result<Option<Span>, ()> {
        let state = self.side(t.side);
        if let Some(pieces) = &mut state.pieces
            && let Some(open) = &pieces.open
        {
            if open.key == key(t) {
                return Ok(None);
            }
            pieces.parked_bytes += t.content.bytes.len();
            let meta = Transfer {
                stream: t.stream,
                pair: t.pair,
                carrier: t.carrier,
                fresh: t.fresh,
                absolute: t.absolute,
                ends: t.ends,
                side: t.side,
                process: t.process,
                entered: t.entered,
                exited: t.exited,
                offset: t.offset,
                len: t.len,
                content: Content::default(),
                last: t.last,
            };
            pieces.parked.push_back(Parked {
                meta,
                at: t.content.at,
                bytes: t.content.bytes.to_vec(),
            });
            return Err(());
        }
        // Two threads may have read the same count before either added to it: what begins behind
        // the expected place belongs there. What begins ahead of it follows lost records.
        let base = t.offset.max(state.next);
        let end = base.saturating_add(t.len);
        state.next = end;
        if !t.last {
            let open = Open { key: key(t), base };
            state.pieces.get_or_insert_default().open = Some(open);
        }
        match t.side {
            Side::Writer => {
                if !self.writer_seen {
                    self.writer_seen = true;
                    let last = self.read_last.take().map_or_else(Vec::new, |last| *last);
                    self.alignment
                        .first_write(t.entered, t.len, |overlap| same(&last, overlap, t.content));
                }
                self.alignment.wrote(t.entered, end);
            }
            Side::Reader => self.alignment.did_read(t.exited, end),
        }
        Ok(Some(Span {
            start: base,
            end,
            process: t.process,
            entered: t.entered,
            exited: t.exited,
        }))
    }

    /// The next piece that no longer has to wait.
    pub(crate) fn unpark(&mut self, side: Side, all: bool, limits: &Limits) -> Option<Parked> {
        let state = self.side(side);
        let pieces = state.pieces.as_mut().filter(|pieces| !pieces.parked.is_empty())?;
        let index = match &pieces.open {
            None => 0,
            Some(open) => match pieces.parked.iter().position(|parked| key(&parked.meta) == open.key) {
                Some(index) => index,
                None => {
                    let (_, _, exited, ..) = open.key;
                    let latest = exited.saturating_add(limits.piece_patience);
                    let overdue = pieces.parked_bytes > limits.parked_bytes
                        || pieces.parked.iter().any(|parked| parked.meta.entered > latest);
                    if !overdue && !all {
                        return None;
                    }
                    pieces.open = None;
                    0
                }
            },
        };
        let parked = pieces.parked.remove(index)?;
        pieces.parked_bytes = pieces.parked_bytes.saturating_sub(parked.bytes.len());
        if pieces.open.is_none() && pieces.parked.is_empty() {
            state.pieces = None;
        }
        Some(parked)
    }

    /// Finds the place of an admitted piece. What it returns is accounted for from then on.
    pub(crate) fn place(&mut self, t: &Transfer<'_>) -> Placement {
        let shift = match t.side {
            Side::Writer => self.alignment.writer_shift(),
            Side::Reader => self.alignment.reader_shift(),
        };
        let state = self.side(t.side);
        let open = state.pieces.as_ref().and_then(|pieces| pieces.open);
        // What came in one piece is the last that this side has moved.
        let own = open.map_or(state.next.saturating_sub(t.len), |open| open.base);
        let base = own.saturating_add_signed(shift);
        let end = base.saturating_add(t.len);
        if t.last {
            state.close();
        }
        let inside = t.len.saturating_sub(t.content.at).min(t.content.bytes.len() as u64);
        let bytes = &t.content.bytes[..usize::try_from(inside).unwrap_or(0)];
        let start = base.saturating_add(t.content.at);
        let mut placement = Placement {
            position: start,
            known: t.content.bytes.len(),
            ..Placement::default()
        };
        if !bytes.is_empty() && self.is_wanted(t.side, start) {
            self.begin(if t.side == Side::Writer { base } else { start });
            if start > self.cursor {
                let syscall = (self.cursor >= base).then_some((base, end));
                placement.before = Some(Gap {
                    start: self.cursor,
                    len: start - self.cursor,
                    syscall,
                });
                self.cursor = start;
            }
            let known = (self.cursor - start).min(inside);
            placement.position = start + known;
            placement.known = usize::try_from(known).unwrap_or(bytes.len());
            self.cursor += inside - known;
            // Bytes beyond what the syscall moved are not of the stream.
            if bytes.len() < t.content.bytes.len() && placement.known == bytes.len() {
                placement.known = t.content.bytes.len();
            }
        }
        if t.side == Side::Reader && !self.aligned && !self.writer_seen {
            self.remember_read(bytes);
        }
        if t.last && t.side == Side::Writer {
            self.begin(base);
            placement.after = self.miss_until(end);
        }
        placement
    }

    /// Content of the reader's is wanted only while none of the writer's can be expected.
    fn is_wanted(&self, side: Side, start: u64) -> bool {
        side == Side::Writer || !self.writer_seen || (self.aligned && start <= self.cursor)
    }

    fn begin(&mut self, at: u64) {
        if !std::mem::replace(&mut self.begun, true) {
            self.cursor = at;
        }
    }

    fn miss_until(&mut self, end: u64) -> Option<Gap> {
        let len = end.checked_sub(self.cursor).filter(|len| *len > 0)?;
        let gap = Gap {
            start: self.cursor,
            len,
            syscall: None,
        };
        self.cursor = end;
        Some(gap)
    }

    /// Everything that either side is known to have moved and that never came.
    pub(crate) fn miss_rest(&mut self) -> Option<Gap> {
        if !self.begun {
            return None;
        }
        let written = self.writer.next.saturating_add_signed(self.alignment.writer_shift());
        let read = self.reader.next.saturating_add_signed(self.alignment.reader_shift());
        let end = if self.writer_seen { written } else { read };
        self.miss_until(end)
    }

    /// Moves past a syscall whose content nobody wants; returns by how much.
    pub(crate) fn pass(&mut self, t: &Transfer<'_>) -> u64 {
        if !t.last {
            return 0;
        }
        let Ok(span) = self.admit(&Transfer {
            content: Content::default(),
            ..*t
        }) else {
            return 0;
        };
        self.side(t.side).close();
        let Some(span) = span else { return 0 };
        if t.side == Side::Reader && self.writer_seen {
            return 0;
        }
        let shift = if t.side == Side::Writer {
            self.alignment.writer_shift()
        } else {
            self.alignment.reader_shift()
        };
        self.begin(span.start.saturating_add_signed(shift));
        self.miss_until(span.end.saturating_add_signed(shift))
            .map_or(0, |gap| gap.len)
    }

    fn remember_read(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(COMPARED)..];
        let last = self.read_last.get_or_insert_default();
        last.extend_from_slice(kept);
        let excess = last.len().saturating_sub(COMPARED);
        last.drain(..excess);
    }
}

/// Whether the last `overlap` bytes read are the first written, as far as both are at hand.
fn same(last: &[u8], overlap: u64, content: Content<'_>) -> bool {
    let Ok(overlap) = usize::try_from(overlap) else {
        return false;
    };
    let compared = last.len().min(overlap);
    let from = overlap - compared;
    content.at == 0
        && compared > 0
        && content
            .bytes
            .get(from..overlap)
            .is_some_and(|written| written == &last[last.len() - compared..])
}
