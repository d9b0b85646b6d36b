//! Metrics: calls and samples become series of instruments, in bounded memory.
//!
//! [`TABLE`] holds every instrument; [`Recorder`] keeps their series; a [`Snapshot`] of it is what
//! exporters send, and the difference of two is the delta view.

mod attributes;
mod exponential;
mod family;
mod histogram;
mod instrument;
pub mod limits;
mod own;
mod page;
mod recorder;
mod repeats;
pub mod samples;
mod sampling;
mod snapshot;
mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use attributes::{Attributes, Value};
pub use exponential::Exponential;
pub use histogram::{Exemplar, Histogram};
pub use instrument::{Attribute, Instrument, Kind, Origin, Values, label_name};
pub use page::page;
pub use recorder::{Options, Recorder};
pub use snapshot::{Data, Family, Point, Snapshot, Temporality};
pub use table::{Id, TABLE};

/// A recorder that one thread feeds and exporters read.
#[derive(Clone, Debug)]
pub struct SharedRecorder(Arc<Mutex<Recorder>>);

impl SharedRecorder {
    /// Shares `recorder`.
    #[must_use]
    pub fn new(recorder: Recorder) -> Self {
        Self(Arc::new(Mutex::new(recorder)))
    }

    /// The recorder. Whoever holds it makes the ring wait: take a snapshot and let go.
    pub fn lock(&self) -> MutexGuard<'_, Recorder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
