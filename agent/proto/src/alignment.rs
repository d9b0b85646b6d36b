//! How the two sides' byte counts of one stream relate.
//!
//! On a stream that was open before it was observed, both counts began at zero while some bytes
//! were written but not yet read. A reader that gets ahead of all that had been written shows how
//! many; a reader that has drained the stream confirms it.

use crate::Nanos;

/// Where positions of a stream begin that is not fresh: low enough to never wrap, high enough for
/// what came before.
const ORIGIN: u64 = 1 << 48;

/// Maps the sides' counts to positions of the stream.
#[derive(Clone, Debug)]
pub(crate) struct Alignment {
    /// `None`: both counts began with the stream.
    counts: Option<Box<Counts>>,
}

/// What is known of the counts of a stream that was open before it was observed.
#[derive(Clone, Debug)]
struct Counts {
    /// Position of the writer's first counted byte.
    base: u64,
    /// Bytes in flight when observation began, as far as they have shown.
    in_flight: u64,
    writer_seen: bool,
    written: u64,
    read: u64,
    /// A reader's count ahead of everything known to be written, and when it was reached.
    ahead: Option<(u64, Nanos)>,
    confirmed: bool,
}

impl Alignment {
    pub(crate) fn new(fresh: bool) -> Self {
        let counts = (!fresh).then(|| {
            Box::new(Counts {
                base: ORIGIN,
                in_flight: 0,
                writer_seen: false,
                written: 0,
                read: 0,
                ahead: None,
                confirmed: false,
            })
        });
        Self { counts }
    }

    /// Added to the writer's count it gives a position.
    pub(crate) fn writer_shift(&self) -> i64 {
        self.counts.as_ref().map_or(0, |counts| counts.base.cast_signed())
    }

    /// Added to the reader's count it gives a position, as far as is known.
    pub(crate) fn reader_shift(&self) -> i64 {
        self.counts.as_ref().map_or(0, |counts| counts.reader_shift())
    }

    /// The same, once it can be trusted.
    pub(crate) fn confirmed_reader_shift(&self) -> Option<i64> {
        match &self.counts {
            None => Some(0),
            Some(counts) => counts.confirmed.then(|| counts.reader_shift()),
        }
    }

    /// The first write is seen after reads were. `same` says whether so many of the last bytes
    /// read equal the first bytes written: a read can return before the write that fed it does.
    pub(crate) fn first_write(&mut self, entered: Nanos, len: u64, same: impl FnOnce(u64) -> bool) {
        if let Some(counts) = &mut self.counts {
            counts.first_write(entered, len, same);
        }
    }

    pub(crate) fn wrote(&mut self, entered: Nanos, end: u64) {
        if let Some(counts) = &mut self.counts {
            counts.wrote(entered, end);
        }
    }

    pub(crate) fn did_read(&mut self, exited: Nanos, end: u64) {
        if let Some(counts) = &mut self.counts {
            counts.did_read(exited, end);
        }
    }
}

impl Counts {
    fn reader_shift(&self) -> i64 {
        self.base.wrapping_sub(self.in_flight).cast_signed()
    }

    fn first_write(&mut self, entered: Nanos, len: u64, same: impl FnOnce(u64) -> bool) {
        if std::mem::replace(&mut self.writer_seen, true) || self.read == 0 {
            return;
        }
        let overlap = match self.ahead {
            Some((_, at)) if at > entered => self.read.min(len),
            _ => 0,
        };
        let overlap = if overlap > 0 && same(overlap) { overlap } else { 0 };
        self.in_flight = self.read - overlap;
        self.base += self.in_flight;
    }

    fn wrote(&mut self, entered: Nanos, end: u64) {
        self.writer_seen = true;
        if let Some((read, at)) = self.ahead
            && entered > at
        {
            // All that was read by then was written by writes before this one.
            self.in_flight = self.in_flight.max(read.saturating_sub(self.written));
            self.confirmed = true;
            self.ahead = None;
        }
        self.written = self.written.max(end);
        if let Some((read, _)) = self.ahead {
            self.compare(read);
        }
    }

    fn did_read(&mut self, exited: Nanos, end: u64) {
        self.read = self.read.max(end);
        self.ahead = Some((self.read, exited));
        if self.writer_seen {
            self.compare(self.read);
        }
    }

    fn compare(&mut self, read: u64) {
        let expected = self.written + self.in_flight;
        if read == expected {
            self.confirmed = true;
        }
        if read <= expected {
            self.ahead = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_in_step_confirms_zero() {
        let mut it = Alignment::new(false);
        it.first_write(10, 100, |_| false);
        it.wrote(10, 100);
        assert_eq!(it.confirmed_reader_shift(), None);
        it.did_read(20, 100);
        assert_eq!(it.confirmed_reader_shift(), Some(it.writer_shift()));
    }

    #[test]
    fn a_reader_ahead_shows_what_was_in_flight() {
        let mut it = Alignment::new(false);
        it.first_write(10, 200, |_| false);
        it.wrote(10, 200);
        it.did_read(20, 100);
        it.did_read(30, 300);
        assert_eq!(it.confirmed_reader_shift(), None);
        it.wrote(40, 250);
        assert_eq!(it.confirmed_reader_shift(), Some(it.writer_shift() - 100));
    }

    #[test]
    fn a_read_record_before_its_write_record_is_the_same_bytes() {
        let mut it = Alignment::new(false);
        it.did_read(20, 100);
        it.first_write(10, 100, |overlap| overlap == 100);
        it.wrote(10, 100);
        assert_eq!(it.writer_shift(), it.reader_shift());
        assert!(it.confirmed_reader_shift().is_some());
    }

    #[test]
    fn what_was_read_before_the_first_write_was_in_flight() {
        let mut it = Alignment::new(false);
        it.did_read(5, 100);
        it.first_write(10, 50, |_| true);
        it.wrote(10, 50);
        it.did_read(12, 150);
        assert_eq!(it.confirmed_reader_shift(), Some(it.writer_shift() - 100));
    }
}
