//! The tables, and how the file is opened.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::HistoryError;
use super::limits::MAX_LOG;
use super::state::UnixMillis;

/// Raised when the tables change. A file of a version that is not known here is set aside, as nothing reads it.
const VERSION: i64 = 2;
/// The version without [`RESOURCES`]: it gets them.
const WITHOUT_RESOURCES: i64 = 1;
/// How long to wait for a reader.
const BUSY: Duration = Duration::from_secs(2);
const PAGE: u64 = 4096;

const TABLES: &str = "
CREATE TABLE series (
    id INTEGER PRIMARY KEY, server TEXT NOT NULL, client TEXT NOT NULL, method TEXT NOT NULL, tool TEXT NOT NULL,
    last_minute INTEGER NOT NULL DEFAULT 0);
CREATE TABLE minutes (
    minute INTEGER NOT NULL, series INTEGER NOT NULL, calls INTEGER NOT NULL, errors INTEGER NOT NULL,
    timeouts INTEGER NOT NULL, request_bytes INTEGER NOT NULL, response_bytes INTEGER NOT NULL, sketch BLOB NOT NULL,
    PRIMARY KEY (minute, series)) WITHOUT ROWID;
CREATE TABLE calls (
    id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, call TEXT NOT NULL, series INTEGER NOT NULL, latency_us REAL,
    outcome TEXT NOT NULL, reason TEXT NOT NULL, cause TEXT);
CREATE INDEX calls_at ON calls (at_ms);
CREATE INDEX calls_call ON calls (call);
CREATE TABLE bodies (id INTEGER PRIMARY KEY, json BLOB NOT NULL);
CREATE TABLE faults (
    minute INTEGER NOT NULL, fault TEXT NOT NULL, target TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (minute, fault, target)) WITHOUT ROWID;
CREATE TABLE flags (
    code TEXT NOT NULL, target TEXT NOT NULL, since_ms INTEGER NOT NULL, cleared_ms INTEGER, severity TEXT NOT NULL,
    evidence TEXT NOT NULL, PRIMARY KEY (since_ms, code, target)) WITHOUT ROWID;
CREATE TABLE endpoints (
    pid INTEGER NOT NULL, start_time INTEGER NOT NULL, role TEXT NOT NULL, name TEXT NOT NULL, version TEXT,
    exe TEXT, transport TEXT NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, calls INTEGER NOT NULL,
    PRIMARY KEY (pid, start_time, role)) WITHOUT ROWID;
CREATE TABLE sessions (
    session TEXT PRIMARY KEY, server TEXT NOT NULL, client TEXT NOT NULL, transport TEXT NOT NULL, version TEXT,
    first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, calls INTEGER NOT NULL, errors INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (id INTEGER PRIMARY KEY, began_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL);
";

/// What the processes of a server used, a minute a row: sums over looks, and the most of them.
const RESOURCES: &str = "
CREATE TABLE resources (
    minute INTEGER NOT NULL, server TEXT NOT NULL, looks INTEGER NOT NULL, processes INTEGER NOT NULL,
    cores_sum REAL NOT NULL, cores_peak REAL NOT NULL, memory_sum REAL NOT NULL, memory_peak INTEGER NOT NULL,
    PRIMARY KEY (minute, server)) WITHOUT ROWID;
";

/// A connection that writes. `Ok(None)` when the file is not a history of ours, or is damaged.
///
/// # Errors
/// When the file can be neither created nor opened.
pub(super) fn open(path: &Path, max_bytes: u64) -> Result<Option<Connection>, HistoryError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| HistoryError::Setup {
            path: path.to_owned(),
            source,
        })?;
    }
    let opened = Connection::open(path).and_then(|connection| {
        // Names of tools and arguments of commands are nobody else's business.
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap_or_default();
        let sound = prepare(&connection, max_bytes)?;
        Ok(sound.then_some(connection))
    });
    match opened {
        Ok(connection) => Ok(connection),
        Err(error) if is_damaged(&error) => Ok(None),
        Err(source) => Err(HistoryError::Database {
            path: path.to_owned(),
            source,
        }),
    }
}

fn prepare(connection: &Connection, max_bytes: u64) -> rusqlite::Result<bool> {
    connection.busy_timeout(BUSY)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if ![0, WITHOUT_RESOURCES, VERSION].contains(&version) {
        return Ok(false);
    }
    // Has to come before the first table.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // A power cut may cost the last transactions, and never the file.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update_and_check(None, "journal_size_limit", MAX_LOG, |_| Ok(()))?;
    limit(connection, max_bytes)?;
    if version == 0 {
        connection.execute_batch(&format!(
            "BEGIN; {TABLES} {RESOURCES} PRAGMA user_version = {VERSION}; COMMIT;"
        ))?;
        return Ok(true);
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    let sound = verdict == "ok";
    if sound && version == WITHOUT_RESOURCES {
        connection.execute_batch(&format!("BEGIN; {RESOURCES} PRAGMA user_version = {VERSION}; COMMIT;"))?;
    }
    Ok(sound)
}

/// A wall that the file never grows through, whatever the trimming thinks.
pub(super) fn limit(connection: &Connection, max_bytes: u64) -> rusqlite::Result<()> {
    let pages = i64::try_from(max_bytes / PAGE).unwrap_or(i64::MAX);
    connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
}

/// A connection that reads beside the writer.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// Whether the file itself is beyond reading.
pub(super) fn is_damaged(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Puts a file that cannot be read out of the way, for whoever wants to look at it. Only the last
/// one is kept: damage must not fill the disk.
pub(super) fn set_aside(path: &Path, now: UnixMillis) -> Result<PathBuf, HistoryError> {
    let failed = |source| HistoryError::Setup {
        path: path.to_owned(),
        source,
    };
    let prefix = format!("{}.damaged-", path.file_name().unwrap_or_default().to_string_lossy());
    let folder = path.parent().unwrap_or(Path::new("."));
    for entry in fs::read_dir(folder).map_err(failed)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    let aside = folder.join(format!("{prefix}{now}"));
    fs::rename(path, &aside).map_err(failed)?;
    for suffix in ["-wal", "-shm"] {
        // They belong to the old file: the new one must not read them.
        let mut log = path.as_os_str().to_owned();
        log.push(suffix);
        match fs::remove_file(Path::new(&log)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(aside)
}
