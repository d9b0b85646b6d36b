//! The history of this host: an SQLite file of bounded size and age that answers for the last days
//! with no backend. All calls are kept as sketches a minute, those that matter whole.
//!
//! One thread writes; it is fed through a queue that never makes anybody wait. A full disk pauses
//! the history and nothing else; a file that is no longer readable is set aside.

mod entry;
mod limits;
mod names;
mod pending;
mod read;
mod schema;
mod sketch;
mod state;
mod store;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use entry::{FlagRow, Reason, ServerUse, is_error, is_timeout};
pub use read::{CallFilter, CauseRow, EndpointRow, KeptCall, MinuteRow, Reader, ResourceRow, RunRow, SessionRow};
pub use sketch::Sketch;
pub use state::{HistoryState, HistoryStatus, UnixMillis};

use self::entry::Entry;
use self::state::Shared;
use crate::calls::{CallRecord, FaultRecord};
use crate::sink::{Losses, Sink};

const POLL: Duration = Duration::from_millis(2);

/// What cannot be done with a history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// SQLite.
    #[error("the history {}: {source}", path.display())]
    Database {
        /// Its file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Its folder or its thread.
    #[error("cannot set up the history {}: {source}", path.display())]
    Setup {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Bytes that are not a sketch.
    #[error("a sketch in the history is damaged: that minute is left out")]
    Sketch,
    /// A call that cannot be read back.
    #[error("a call in the history is damaged: {0}")]
    Record(io::Error),
}

/// How much is kept, and what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of the file.
    pub max_bytes: u64,
    /// Age of what is kept.
    pub max_age: Duration,
    /// A call that takes longer is slow.
    pub slow: Duration,
    /// Share of the other calls that is kept whole, 0 to 1.
    pub sample_ratio: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 256 << 20,
            max_age: Duration::from_secs(7 * 24 * 3600),
            slow: Duration::from_secs(1),
            sample_ratio: 0.01,
        }
    }
}

/// What time it is, in milliseconds since the Unix epoch.
pub type Clock = Box<dyn Fn() -> UnixMillis + Send>;

/// A sink that keeps calls.
#[derive(Debug)]
pub struct History {
    name: String,
    entries: Option<SyncSender<Entry>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    dropped: u64,
}

/// Asks a history how it is, from any thread.
#[derive(Clone, Debug)]
pub struct StatusHandle(Arc<Shared>);

impl StatusHandle {
    /// As of now.
    #[must_use]
    pub fn read(&self) -> HistoryStatus {
        self.0.read()
    }
}

impl History {
    /// A history in the file `path`, which is created, with its folder, when it is not there. It is
    /// opened in the background: a failure to is a state, and is tried again.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(path: &Path, limits: Limits, clock: Clock) -> Result<Self, HistoryError> {
        let (entries, queue) = sync_channel(limits::QUEUE);
        let shared = Arc::new(Shared::default());
        shared.update(|status| path.clone_into(&mut status.path));
        let thread =
            writer::start(path, limits, clock, queue, Arc::clone(&shared)).map_err(|source| HistoryError::Setup {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self {
            name: path.display().to_string(),
            entries: Some(entries),
            shared,
            thread: Some(thread),
            dropped: 0,
        })
    }

    /// Keeps a call.
    pub fn keep(&mut self, call: Arc<CallRecord>) {
        self.enqueue(Entry::Call(call));
    }

    /// Keeps a flag, or what has become of it.
    pub fn flag(&mut self, flag: FlagRow) {
        self.enqueue(Entry::Flag(Box::new(flag)));
    }

    /// Keeps what servers use now.
    pub fn uses(&mut self, uses: Vec<ServerUse>) {
        if !uses.is_empty() {
            self.enqueue(Entry::Resources(uses));
        }
    }

    /// Sets other limits. They are in force from the next call on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.enqueue(Entry::Settings(limits));
    }

    /// Asks how it is from anywhere.
    #[must_use]
    pub fn status(&self) -> StatusHandle {
        StatusHandle(Arc::clone(&self.shared))
    }

    fn enqueue(&mut self, entry: Entry) {
        let Some(entries) = &self.entries else { return };
        match entries.try_send(entry) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped += 1;
                let dropped = self.dropped;
                self.shared.update(|status| status.dropped = dropped);
            }
        }
    }
}

impl Sink for History {
    fn name(&self) -> &str {
        &self.name
    }

    fn call(&mut self, call: &CallRecord) -> io::Result<()> {
        self.keep(Arc::new(call.clone()));
        Ok(())
    }

    fn fault(&mut self, fault: &FaultRecord) -> io::Result<()> {
        self.enqueue(Entry::Fault(Box::new(fault.clone())));
        Ok(())
    }

    fn finish(&mut self, _losses: &Losses) -> io::Result<()> {
        self.entries = None;
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let deadline = Instant::now() + limits::FINISH_DEADLINE;
        while !thread.is_finished() {
            if Instant::now() >= deadline {
                // The thread sits in write(2) or fsync(2) and ends with the process.
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer"));
            }
            std::thread::sleep(POLL);
        }
        if thread.join().is_err() {
            return Err(io::Error::other("its writer ended unexpectedly"));
        }
        match self.shared.read().state {
            HistoryState::Paused { reason, .. } => Err(io::Error::other(reason)),
            HistoryState::Opening | HistoryState::Writing | HistoryState::Closed => Ok(()),
        }
    }

    fn advice(&self) -> &'static str {
        "make room there, or set history.path to another place"
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
