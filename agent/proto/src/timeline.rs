//! Who moved which bytes on one side of a stream, and when.

use std::collections::VecDeque;

use crate::limits::Limits;
use crate::{Nanos, ProcessId};

/// One syscall.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Where its bytes begin, in this side's own count.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) process: ProcessId,
    pub(crate) entered: Nanos,
    pub(crate) exited: Nanos,
}

/// A message that waits for this side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait<T> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) what: T,
}

/// The syscalls that moved the first and the last byte of a range, where they were seen.
pub(crate) type Ends = (Option<Span>, Option<Span>);

/// The syscalls of one side that are still of interest, in order.
#[derive(Clone, Debug)]
pub(crate) struct Timeline<T> {
    spans: VecDeque<Span>,
    #[expect(clippy::box_collection, reason = "few sides are waited for at a time")]
    waits: Option<Box<VecDeque<Wait<T>>>>,
    /// Everything before this was moved.
    reached: u64,
    seen: bool,
}

impl<T: Copy> Timeline<T> {
    pub(crate) fn new() -> Self {
        Self {
            spans: VecDeque::new(),
            waits: None,
            reached: 0,
            seen: false,
        }
    }

    pub(crate) fn is_seen(&self) -> bool {
        self.seen
    }

    pub(crate) fn push(&mut self, span: Span, limits: &Limits) {
        self.seen = true;
        self.reached = self.reached.max(span.end);
        if span.start == span.end {
            return;
        }
        if self.spans.len() >= limits.timeline_spans {
            // The second oldest: the oldest may hold the start of a message that is under way.
            self.spans.remove(1);
        }
        self.spans.push_back(span);
    }

    /// Waits for a range; returns what had to be given up for it.
    pub(crate) fn wait(&mut self, wait: Wait<T>, limits: &Limits) {
        let waits = self.waits.get_or_insert_default();
        if waits.len() >= limits.timeline_waits {
            waits.pop_front();
        }
        waits.push_back(wait);
    }

    /// The ends of a range in this side's own count, once all of it was moved.
    pub(crate) fn ends(&self, start: u64, end: u64) -> Option<Ends> {
        if self.reached < end || !self.seen {
            return None;
        }
        Some((self.at(start), self.at(end.saturating_sub(1))))
    }

    /// The syscall that moved the byte at a position of the stream.
    pub(crate) fn at_position(&self, position: u64, shift: i64) -> Option<Span> {
        self.at(position.checked_add_signed(-shift)?)
    }

    fn at(&self, position: u64) -> Option<Span> {
        let span = match self.spans.front() {
            Some(front) if position < front.end => Some(front),
            _ => self.spans.get(self.spans.partition_point(|span| span.end <= position)),
        };
        span.filter(|span| span.start <= position).copied()
    }

    /// Takes the next message whose bytes have all been moved. `shift` is what a position of the
    /// stream is ahead of this side's count; `None` while that is not known.
    pub(crate) fn take_settled(&mut self, shift: Option<i64>) -> Option<(Wait<T>, Ends)> {
        let wait = *self.waits.as_ref()?.front()?;
        let shift = shift?;
        let own = |position: u64| position.checked_add_signed(-shift);
        let ends = match (own(wait.start), own(wait.end)) {
            (Some(start), Some(end)) => self.ends(start, end)?,
            // Before this side's first syscall: nobody saw it.
            _ => (None, None),
        };
        self.waits.as_mut()?.pop_front();
        Some((wait, ends))
    }

    /// Gives back the room of what is over: for streams that mostly rest.
    pub(crate) fn rest(&mut self) {
        if self.spans.is_empty() {
            self.spans = VecDeque::new();
        }
        self.waits.take_if(|waits| waits.is_empty());
    }

    /// Forgets what lies before `position` of the stream and is waited for by nobody.
    pub(crate) fn prune(&mut self, position: u64, shift: i64) {
        let first = self.waits.as_ref().and_then(|waits| waits.front());
        let waited = first.map_or(position, |wait| wait.start.min(position));
        let Some(own) = waited.checked_add_signed(-shift) else {
            return;
        };
        while self.spans.front().is_some_and(|span| span.end <= own) {
            self.spans.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u64, end: u64, at: Nanos) -> Span {
        Span {
            start,
            end,
            process: ProcessId(1),
            entered: at,
            exited: at + 1,
        }
    }

    #[test]
    fn ends_are_known_once_reached() {
        let limits = Limits::default();
        let mut side = Timeline::<u8>::new();
        side.wait(
            Wait {
                start: 5,
                end: 25,
                what: 7,
            },
            &limits,
        );
        side.push(span(0, 10, 100), &limits);
        assert!(side.take_settled(Some(0)).is_none());
        side.push(span(10, 20, 200), &limits);
        side.push(span(20, 30, 300), &limits);
        assert!(side.take_settled(None).is_none());
        let (wait, (first, last)) = side.take_settled(Some(0)).unwrap();
        assert_eq!((wait.what, first.unwrap().entered, last.unwrap().exited), (7, 100, 301));
        side.prune(25, 0);
        assert_eq!(side.spans.len(), 1);
    }
}
