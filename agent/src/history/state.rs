//! What the history is doing, and what it could not keep.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// Milliseconds since the Unix epoch.
pub type UnixMillis = u64;

/// What the history is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum HistoryState {
    /// It is being opened and checked.
    #[default]
    Opening,
    /// It is written.
    Writing,
    /// It cannot be written. Everything else goes on, and it is tried again.
    Paused {
        /// Since when.
        since_unix_ms: UnixMillis,
        /// What failed, and what to do about it.
        reason: String,
    },
    /// It has ended.
    Closed,
}

/// State and counts of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HistoryStatus {
    /// What it is doing.
    #[serde(flatten)]
    pub state: HistoryState,
    /// Its file.
    pub path: PathBuf,
    /// Bytes of the file.
    pub bytes: u64,
    /// Calls that were counted.
    pub calls: u64,
    /// Calls that were kept whole.
    pub kept: u64,
    /// Slow, failed or sampled calls that were not kept whole: too many of one minute.
    pub not_kept: u64,
    /// Calls, faults and flags that found the writer's queue full.
    pub dropped: u64,
    /// Entries lost while it could not be written.
    pub lost_paused: u64,
    /// Calls of names beyond the bound, kept as `_OTHER`.
    pub overflowed: u64,
    /// Where a file that was no longer readable has been put.
    pub set_aside: Option<PathBuf>,
}

/// The status, as the writer tells it to others.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<HistoryStatus>);

impl Shared {
    pub(super) fn read(&self) -> HistoryStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut HistoryStatus)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
