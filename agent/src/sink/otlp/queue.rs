//! Spans that wait to be sent, encoded: bounded in number and in bytes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use prost::Message as _;
use tokio::{
    sync::mpsc::{Receiver, Sender, channel, error::TrySendError},
    time::{Duration, Instant, timeout_at},
};

use super::span::OwnedSpan;
use crate::calls::Party;

/// What a queued span takes besides its bytes: its owner's names, and the queue's own.
const OVERHEAD: usize = 256;
/// Bytes of spans of one request: it stays below the 4 MiB that gRPC's servers take by default.
const MAX_BATCH: usize = 2 << 20;

/// A span, encoded, and whose it is.
#[derive(Debug)]
pub(super) struct QueuedSpan {
    pub(super) owner: Party,
    pub(super) encoded: Vec<u8>,
}

impl QueuedSpan {
    pub(super) fn new(OwnedSpan { owner, span }: OwnedSpan) -> Self {
        Self {
            owner,
            encoded: span.encode_to_vec(),
        }
    }

    fn size(&self) -> usize {
        self.encoded.len() + OVERHEAD
    }
}

/// Where spans go in.
#[derive(Debug)]
pub(super) struct Entry {
    spans: Sender<QueuedSpan>,
    bytes: Arc<AtomicUsize>,
    max_bytes: usize,
}

/// Where they come out.
#[derive(Debug)]
pub(super) struct Exit {
    spans: Receiver<QueuedSpan>,
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

    /// Takes a span, or gives it back when there is no room. Spans that nobody will send are gone.
    pub(super) fn push(&self, span: QueuedSpan) -> Result<(), Option<QueuedSpan>> {
        let size = span.size();
        let waiting = self.bytes.load(Ordering::Acquire);
        if waiting > 0 && waiting + size > self.max_bytes {
            return Err(Some(span));
        }
        self.bytes.fetch_add(size, Ordering::AcqRel);
        self.spans.try_send(span).map_err(|error| {
            self.bytes.fetch_sub(size, Ordering::AcqRel);
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
    pub(super) async fn batch(&mut self, most: usize, delay: Duration) -> Option<Vec<QueuedSpan>> {
        let first = self.spans.recv().await?;
        let mut size = first.size();
        let mut batch = vec![first];
        let until = Instant::now() + delay;
        while batch.len() < most && size < MAX_BATCH {
            match timeout_at(until, self.spans.recv()).await {
                Ok(Some(span)) => {
                    size += span.size();
                    batch.push(span);
                }
                Ok(None) | Err(_) => break,
            }
        }
        self.bytes.fetch_sub(size, Ordering::AcqRel);
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(bytes: usize) -> QueuedSpan {
        QueuedSpan {
            owner: Party::default(),
            encoded: vec![0; bytes],
        }
    }

    #[test]
    fn bounded_in_number_and_in_bytes() {
        let (entry, mut exit) = queue(4, 10_100);
        for _ in 0..3 {
            entry.push(span(3000)).unwrap();
        }
        assert_eq!(
            entry.push(span(3000)).unwrap_err().unwrap().encoded.len(),
            3000,
            "bytes"
        );
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
