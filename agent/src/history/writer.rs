//! The thread that writes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::entry::{Entry, Reason, ServerUse, ended, is_error, is_timeout};
use super::limits::{FLUSH_EVERY, RETRY_EVERY, TRIM_EVERY};
use super::names::Names;
use super::pending::{Allowance, Pending, Whole};
use super::state::{HistoryState, Shared, UnixMillis};
use super::{Clock, HistoryError, Limits, schema, store};
use crate::calls::CallRecord;

pub(super) fn start(
    path: &Path,
    limits: Limits,
    clock: Clock,
    queue: Receiver<Entry>,
    shared: Arc<Shared>,
) -> io::Result<JoinHandle<()>> {
    let mut book = Book::new(path, limits, shared);
    thread::Builder::new().name("history".to_owned()).spawn(move || {
        book.tick(clock());
        loop {
            match queue.recv_timeout(book.patience()) {
                Ok(entry) => book.take(entry, clock()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            book.tick(clock());
        }
        book.close(clock());
    })
}

/// The history without its thread: time comes by parameter.
#[derive(Debug)]
pub(super) struct Book {
    path: PathBuf,
    limits: Limits,
    shared: Arc<Shared>,
    db: Option<Connection>,
    run: i64,
    names: Names,
    pending: Pending,
    allowance: Allowance,
    next_write: UnixMillis,
    next_trim: UnixMillis,
    calls: u64,
    kept: u64,
    not_kept: u64,
}

impl Book {
    pub(super) fn new(path: &Path, limits: Limits, shared: Arc<Shared>) -> Self {
        Self {
            path: path.to_owned(),
            limits,
            shared,
            db: None,
            run: 0,
            names: Names::default(),
            pending: Pending::default(),
            allowance: Allowance::default(),
            next_write: 0,
            next_trim: 0,
            calls: 0,
            kept: 0,
            not_kept: 0,
        }
    }

    /// How long nothing has to be done when nothing comes.
    fn patience(&self) -> Duration {
        match (&self.db, self.pending.is_empty()) {
            (None, _) => RETRY_EVERY,
            (Some(_), true) => TRIM_EVERY,
            (Some(_), false) => FLUSH_EVERY,
        }
    }

    fn take(&mut self, entry: Entry, now: UnixMillis) {
        match entry {
            Entry::Call(call) => self.call(&call),
            Entry::Fault(fault) => self.pending.fault(&fault),
            Entry::Flag(flag) => self.pending.flag(*flag),
            Entry::Resources(uses) => self.uses(now, uses),
            Entry::Settings(limits) => self.set_limits(limits, now),
        }
    }

    pub(super) fn call(&mut self, call: &CallRecord) {
        let series = self.names.of(call);
        self.calls += 1;
        self.pending.count(call, series);
        let Some(reason) = self.reason(call) else { return };
        if !self.allowance.take(call, reason) {
            self.not_kept += 1;
            return;
        }
        match store::deflate(call) {
            Ok(body) => {
                self.kept += 1;
                self.pending.whole(Whole {
                    at: ended(call),
                    call: call.call.to_string(),
                    series,
                    latency_us: call.latency_us,
                    outcome: call.outcome.code(),
                    reason,
                    cause: call.dominant_cause,
                    body,
                });
            }
            Err(error) => {
                self.not_kept += 1;
                log::debug!("{error}");
            }
        }
    }

    pub(super) fn uses(&mut self, at: UnixMillis, uses: Vec<ServerUse>) {
        self.pending.uses(at, uses);
    }

    fn reason(&self, call: &CallRecord) -> Option<Reason> {
        let slow = self.limits.slow.as_secs_f64() * 1e6;
        if is_error(call) || is_timeout(call) {
            Some(Reason::Failed)
        } else if call.latency_us.is_some_and(|latency| latency > slow) {
            Some(Reason::Slow)
        } else {
            call.trace_id
                .is_sampled(self.limits.sample_ratio)
                .then_some(Reason::Sampled)
        }
    }

    fn set_limits(&mut self, limits: Limits, now: UnixMillis) {
        self.limits = limits;
        self.next_trim = now;
        if let Some(db) = &self.db
            && let Err(source) = schema::limit(db, limits.max_bytes)
        {
            self.failed(source, now);
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: UnixMillis) {
        if now < self.next_write {
            return;
        }
        if self.db.is_none() {
            self.open(now);
        }
        let Some(db) = &mut self.db else { return };
        self.next_write = now + millis(FLUSH_EVERY);
        let written = if self.pending.is_empty() && (self.pending.resources.is_empty() || now < self.next_trim) {
            Ok(())
        } else {
            store::write(db, &self.pending, &self.names).and_then(|()| store::continue_run(db, self.run, now))
        };
        match written {
            Ok(()) => {
                self.pending.clear();
                self.names.written();
            }
            // Perhaps only its own bound is in the way.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) && self.next_trim > now => {
                self.next_trim = now;
                self.next_write = now;
                log::debug!("the history is full: {error}");
            }
            Err(error) => return self.failed(error, now),
        }
        if now >= self.next_trim {
            self.trim(now);
        }
        self.tell();
    }

    fn trim(&mut self, now: UnixMillis) {
        let Some(db) = &mut self.db else { return };
        self.next_trim = now + millis(TRIM_EVERY);
        if !self.path.exists() {
            log::warn!("the history {} is gone: a new one begins", self.path.display());
            self.db = None;
            self.next_write = now;
            return;
        }
        let trimmed = store::continue_run(db, self.run, now).and_then(|()| store::trim(db, &self.limits, now));
        match trimmed {
            Ok(gone) => self.names.forget(&gone),
            Err(error) => self.failed(error, now),
        }
    }

    fn open(&mut self, now: UnixMillis) {
        let opened = self.opened(now).and_then(|db| {
            let sql = |source| self.error(source);
            let run = store::begin_run(&db, now).map_err(sql)?;
            let series = store::series(&db).map_err(sql)?;
            Ok((db, run, series))
        });
        match opened {
            Ok((db, run, series)) => {
                self.run = run;
                self.pending.renumber(&self.names.adopt(series.into_iter()));
                self.db = Some(db);
                self.next_trim = now;
                let was = self.shared.read().state;
                if matches!(was, HistoryState::Paused { .. }) {
                    log::warn!("the history {} is written again", self.path.display());
                }
                self.shared.update(|status| status.state = HistoryState::Writing);
            }
            Err(error) => self.pause(error.to_string(), now),
        }
    }

    /// A connection to the file; a damaged one makes way for a new one.
    fn opened(&self, now: UnixMillis) -> Result<Connection, HistoryError> {
        if let Some(db) = schema::open(&self.path, self.limits.max_bytes)? {
            return Ok(db);
        }
        let aside = schema::set_aside(&self.path, now)?;
        log::error!(
            "the history {} is damaged, or of another version: it is now {}, and a new one begins",
            self.path.display(),
            aside.display()
        );
        self.shared.update(|status| status.set_aside = Some(aside));
        schema::open(&self.path, self.limits.max_bytes)?.ok_or_else(|| HistoryError::Setup {
            path: self.path.clone(),
            source: io::Error::other("a new file is damaged at once: is the disk sound?"),
        })
    }

    /// The database has failed: it is closed, and opened again now if it is damaged, else later.
    fn failed(&mut self, error: rusqlite::Error, now: UnixMillis) {
        self.db = None;
        if schema::is_damaged(&error) {
            match schema::set_aside(&self.path, now) {
                Ok(aside) => {
                    log::error!(
                        "the history {} is damaged ({error}): it is now {}, and a new one begins",
                        self.path.display(),
                        aside.display()
                    );
                    self.shared.update(|status| status.set_aside = Some(aside));
                    self.next_write = now;
                }
                Err(error) => self.pause(error.to_string(), now),
            }
            return;
        }
        let error = self.error(error);
        self.pause(error.to_string(), now);
    }

    fn pause(&mut self, reason: String, now: UnixMillis) {
        self.next_write = now + millis(RETRY_EVERY);
        let was = self.shared.read().state;
        if let HistoryState::Paused { since_unix_ms, .. } = was {
            self.shared
                .update(|status| status.state = HistoryState::Paused { since_unix_ms, reason });
        } else {
            log::error!("history paused: {reason}; make room or set history.path; everything else goes on");
            self.shared.update(|status| {
                status.state = HistoryState::Paused {
                    since_unix_ms: now,
                    reason,
                };
            });
        }
        self.tell();
    }

    fn error(&self, source: rusqlite::Error) -> HistoryError {
        HistoryError::Database {
            path: self.path.clone(),
            source,
        }
    }

    fn tell(&self) {
        let bytes = self.db.as_ref().and_then(|db| store::size(db).ok());
        self.shared.update(|status| {
            status.bytes = bytes.unwrap_or(status.bytes);
            status.calls = self.calls;
            status.kept = self.kept;
            status.not_kept = self.not_kept;
            status.lost_paused = self.pending.lost;
            status.overflowed = self.names.overflowed;
        });
    }

    /// Writes what is left.
    pub(super) fn close(&mut self, now: UnixMillis) {
        self.next_write = now;
        // What waits for the next trimming is written, too.
        self.next_trim = self.next_trim.min(now);
        self.tick(now);
        if let Some(db) = &self.db {
            // The next run puts it right if not.
            store::continue_run(db, self.run, now).unwrap_or_default();
        }
        if self.db.take().is_some() {
            self.shared.update(|status| status.state = HistoryState::Closed);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
