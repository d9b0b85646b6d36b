//! Spans that wait to be sent: bounded in number and in bytes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    sync::mpsc::{Receiver, Sender, channel, error::TrySendError},
    time::{Duration, Instant, timeout_at},
};

use super::{attributes, span::OwnedSpan};

/// What a queued span takes besides its attributes: ids, times, its name, its owner's, the queue's own.
const OVERHEAD: usize = size_of::<OwnedSpan>() + 128;
/// Bytes of spans of one request: encoded they are less, and stay below the 4 MiB that gRPC's servers
/// take by default.
const MAX_BATCH: usize = 2 << 20;

/// Bytes that a span takes in memory.
fn size(span: &OwnedSpan) -> usize {
    let span = &span.span;
    let events = span.events.iter().map(|event| (size_of_val(event), &event.attributes));
    let links = span.links.iter().map(|link| (size_of_val(link), &link.attributes));
    let more = events.chain(links).map(|(own, more)| own + attributes::size(more));
    OVERHEAD + attributes::size(&span.attributes) + more.sum::<usize>()
}

/// Where spans go in.
#[derive(Debug)]
pub(super) struct Entry {
    spans: Sender<Box<OwnedSpan>>,
    bytes: Arc<AtomicUsize>,
    max_bytes: usize,
}

/// Where they come out.
#[derive(Debug)]
pub(super) struct Exit {
    spans: Receiver<Box<OwnedSpan>>,
    bytes: Arc<AtomicUsize>,
}

/// A queue for so many spans, of so many bytes together.
pub(super) fn queue(max_spans: usize, max_bytes: usize) -> (Entry, Exit) {
    let (into, out) = channel(max_spans.max(1));
    let bytes = Arc::new(AtomicUsize::new(0));
    let entry = Entry {
        spans: into,
        bytes: Arc::clone(&bytes),
        max_bytes,
    };
    (entry, Exit { spans: out, bytes })
}

impl Entry {
    /// Whether a span has any chance.
    pub(super) fn has_room(&self) -> bool {
        self.spans.capacity() > 0 && self.bytes.load(Ordering::Acquire) < self.max_bytes
    }

    /// How many wait, and how many may.
    pub(super) fn fill(&self) -> (u64, u64) {
        let (most, room) = (self.spans.max_capacity(), self.spans.capacity());
        ((most - room) as u64, most as u64)
    }

    /// Takes a span, or gives it back when there is no room. Spans that nobody will send are gone.
    pub(super) fn push(&self, span: Box<OwnedSpan>) -> Result<(), Option<Box<OwnedSpan>>> {
        let bytes = size(&span);
        let waiting = self.bytes.load(Ordering::Acquire);
        if waiting > 0 && waiting + bytes > self.max_bytes {
            return Err(Some(span));
        }
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.spans.try_send(span).map_err(|error| {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
            match error {
                TrySendError::Full(span) => Some(span),
                TrySendError::Closed(_) => None,
            }
        })
    }
}

impl Exit {
    /// Waits for spans, and until there is company enough, some time has passed or nothing more can
    /// come. `None` when nothing will.
    pub(super) async fn batch(&mut self, most: usize, delay: Duration) -> Option<Vec<OwnedSpan>> {
        let first = self.spans.recv().await?;
        let mut bytes = size(&first);
        let mut batch = vec![*first];
        let until = Instant::now() + delay;
        while batch.len() < most && bytes < MAX_BATCH {
            match timeout_at(until, self.spans.recv()).await {
                Ok(Some(span)) => {
                    bytes += size(&span);
                    batch.push(*span);
                }
                Ok(None) | Err(_) => break,
            }
        }
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::KeyValue;

    use super::{
        super::{sampling::Kept, span::spans},
        *,
    };
    use crate::calls::record::tests::{call, record};

    /// One with a text of so many bytes.
    fn span(bytes: usize) -> Box<OwnedSpan> {
        let mut spans = spans(&record(call()), &Kept::default(), None);
        let mut span = spans.remove(0);
        span.span.attributes = vec![KeyValue::new("text", "x".repeat(bytes))];
        Box::new(span)
    }

    #[test]
    fn bounded_in_number_and_in_bytes() {
        let (entry, mut exit) = queue(4, 3 * size(&span(3000)) + size(&span(10)));
        for _ in 0..3 {
            entry.push(span(3000)).unwrap();
        }
        let back = entry.push(span(3000)).unwrap_err().unwrap();
        assert!(size(&back) > 3000, "bytes");
        entry.push(span(10)).unwrap();
        assert!(entry.push(span(10)).is_err(), "number");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let batch = |exit: &mut Exit| runtime.block_on(exit.batch(3, Duration::ZERO)).map(|batch| batch.len());
        assert_eq!(batch(&mut exit), Some(3));
        entry.push(span(9000)).unwrap();
        drop(entry);
        assert_eq!((batch(&mut exit), batch(&mut exit)), (Some(2), None));
        assert_eq!(exit.bytes.load(Ordering::Acquire), 0);
    }
}
