//! Writing what is pending, and keeping the file within its bounds.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::limits::TRIM_BATCH;
use super::names::Names;
use super::pending::{Pending, Seen, Tally, Used};
use super::state::UnixMillis;
use super::{HistoryError, Limits, Sketch};

const MILLIS_A_MINUTE: u64 = 60_000;
/// Trimming begins when the file is this full, in percent...
const TRIM_ABOVE: u64 = 92;
/// ...and ends here.
const TRIM_TO: u64 = 87;
/// Minutes deleted at a time when no whole calls are left.
const TRIM_MINUTES: u64 = 60;
/// Pages given back to the file system at a time.
const VACUUM_PAGES: u32 = 4096;

/// Writes everything in one transaction: all of it is there afterwards, or nothing.
pub(super) fn write(db: &mut Connection, pending: &Pending, names: &Names) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    for (id, [server, client, method, tool]) in names.fresh() {
        tx.prepare_cached("INSERT OR REPLACE INTO series (id, server, client, method, tool) VALUES (?1,?2,?3,?4,?5)")?
            .execute(params![id, server, client, method, tool])?;
    }
    for (&(minute, series), tally) in &pending.tallies {
        write_tally(&tx, minute, series, tally)?;
    }
    for whole in &pending.wholes {
        tx.prepare_cached(
            "INSERT INTO calls (at_ms, call, series, latency_us, outcome, reason, cause) VALUES (?1,?2,?3,?4,?5,?6,?7)",
        )?
        .execute(params![
            whole.at,
            whole.call,
            whole.series,
            whole.latency_us,
            whole.outcome,
            whole.reason.code(),
            whole.cause
        ])?;
        tx.prepare_cached("INSERT INTO bodies (id, json) VALUES (?1,?2)")?
            .execute(params![tx.last_insert_rowid(), whole.body])?;
    }
    for ((minute, fault, target), count) in &pending.faults {
        tx.prepare_cached(
            "INSERT INTO faults VALUES (?1,?2,?3,?4) ON CONFLICT DO UPDATE SET count = count + excluded.count",
        )?
        .execute(params![minute, fault, target, count])?;
    }
    for flag in &pending.flags {
        tx.prepare_cached("INSERT OR REPLACE INTO flags (code, target, since_ms, cleared_ms, severity, evidence) VALUES (?1,?2,?3,?4,?5,?6)")?
            .execute(params![
                flag.code,
                flag.target,
                flag.since_unix_ms,
                flag.cleared_unix_ms,
                flag.severity,
                flag.evidence.to_string()
            ])?;
    }
    for ((minute, server), used) in &pending.resources {
        write_use(&tx, *minute, server, used)?;
    }
    write_seen(&tx, pending)?;
    tx.commit()
}

fn write_tally(tx: &Transaction<'_>, minute: u64, series: i64, tally: &Tally) -> rusqlite::Result<()> {
    let earlier: Option<Vec<u8>> = tx
        .prepare_cached("SELECT sketch FROM minutes WHERE minute = ?1 AND series = ?2")?
        .query_row(params![minute, series], |row| row.get(0))
        .optional()?;
    let sketch = match earlier {
        None => tally.sketch.encode(),
        Some(bytes) => {
            let mut merged = Sketch::default();
            // One that is damaged is replaced.
            if merged.merge_encoded(&bytes).is_err() {
                merged = Sketch::default();
            }
            merged.merge(&tally.sketch);
            merged.encode()
        }
    };
    tx.prepare_cached(
        "INSERT INTO minutes VALUES (?1,?2,?3,?4,?5,?6,?7,?8) ON CONFLICT DO UPDATE SET calls = calls + excluded.calls,
         errors = errors + excluded.errors, timeouts = timeouts + excluded.timeouts,
         request_bytes = request_bytes + excluded.request_bytes,
         response_bytes = response_bytes + excluded.response_bytes, sketch = excluded.sketch",
    )?
    .execute(params![
        minute,
        series,
        tally.calls,
        tally.errors,
        tally.timeouts,
        tally.request_bytes,
        tally.response_bytes,
        sketch
    ])?;
    tx.prepare_cached("UPDATE series SET last_minute = max(last_minute, ?1) WHERE id = ?2")?
        .execute(params![minute, series])?;
    Ok(())
}

fn write_use(tx: &Transaction<'_>, minute: u64, server: &str, used: &Used) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO resources VALUES (?1,?2,?3,?4,?5,?6,?7,?8) ON CONFLICT DO UPDATE SET looks = looks + excluded.looks,
         processes = max(processes, excluded.processes), cores_sum = cores_sum + excluded.cores_sum,
         cores_peak = max(cores_peak, excluded.cores_peak), memory_sum = memory_sum + excluded.memory_sum,
         memory_peak = max(memory_peak, excluded.memory_peak)",
    )?
    .execute(params![
        minute,
        server,
        used.looks,
        used.processes,
        used.cores_sum,
        used.cores_peak,
        used.memory_sum,
        used.memory_peak
    ])
    .map(|_| ())
}

fn write_seen(tx: &Transaction<'_>, pending: &Pending) -> rusqlite::Result<()> {
    for (id, session) in &pending.sessions {
        let Seen {
            first,
            last,
            calls,
            errors,
        } = session.seen;
        tx.prepare_cached(
            "INSERT INTO sessions VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9) ON CONFLICT DO UPDATE SET
             last_ms = max(last_ms, excluded.last_ms), calls = calls + excluded.calls,
             errors = errors + excluded.errors, version = coalesce(excluded.version, version),
             server = excluded.server, client = excluded.client",
        )?
        .execute(params![
            id,
            session.server,
            session.client,
            session.transport,
            session.version,
            first,
            last,
            calls,
            errors
        ])?;
    }
    for (&(pid, start_time, role), endpoint) in &pending.endpoints {
        let Seen { first, last, calls, .. } = endpoint.seen;
        tx.prepare_cached(
            "INSERT INTO endpoints VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10) ON CONFLICT DO UPDATE SET
             name = excluded.name, version = coalesce(excluded.version, version),
             last_ms = max(last_ms, excluded.last_ms), calls = calls + excluded.calls",
        )?
        .execute(params![
            pid,
            start_time,
            role,
            endpoint.name,
            endpoint.version,
            endpoint.exe,
            endpoint.transport,
            first,
            last,
            calls
        ])?;
    }
    Ok(())
}

/// Notes that a run of the agent begins; its number.
pub(super) fn begin_run(db: &Connection, now: UnixMillis) -> rusqlite::Result<i64> {
    // What was up when the run before ended: nobody has watched it since.
    db.execute(
        "UPDATE flags SET cleared_ms = max(since_ms, coalesce((SELECT max(last_ms) FROM runs), since_ms))
         WHERE cleared_ms IS NULL",
        [],
    )?;
    db.execute("INSERT INTO runs (began_ms, last_ms) VALUES (?1, ?1)", [now])?;
    Ok(db.last_insert_rowid())
}

/// Notes that the run goes on.
pub(super) fn continue_run(db: &Connection, run: i64, now: UnixMillis) -> rusqlite::Result<()> {
    db.execute("UPDATE runs SET last_ms = ?2 WHERE id = ?1", params![run, now])
        .map(|_| ())
}

/// Series and their names.
pub(super) fn series(db: &Connection) -> rusqlite::Result<Vec<(i64, [String; 4])>> {
    let mut statement = db.prepare("SELECT id, server, client, method, tool FROM series")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?]))
    })?;
    rows.collect()
}

/// Deletes what is too old, and then what is too much: whole calls that were sampled, other whole
/// calls, and the minutes, the oldest first. Returns the series that are gone.
pub(super) fn trim(db: &mut Connection, limits: &Limits, now: UnixMillis) -> rusqlite::Result<Vec<i64>> {
    let age = u64::try_from(limits.max_age.as_millis()).unwrap_or(u64::MAX);
    let gone = delete_before(db, now.saturating_sub(age))?;
    if used(db)? > limits.max_bytes / 100 * TRIM_ABOVE {
        shrink(db, limits.max_bytes / 100 * TRIM_TO)?;
        db.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    }
    Ok(gone)
}

fn delete_before(db: &mut Connection, oldest: UnixMillis) -> rusqlite::Result<Vec<i64>> {
    let tx = db.transaction()?;
    let minute = oldest / MILLIS_A_MINUTE;
    tx.execute("DELETE FROM minutes WHERE minute < ?1", [minute])?;
    tx.execute("DELETE FROM faults WHERE minute < ?1", [minute])?;
    tx.execute("DELETE FROM resources WHERE minute < ?1", [minute])?;
    tx.execute(
        "DELETE FROM bodies WHERE id IN (SELECT id FROM calls WHERE at_ms < ?1)",
        [oldest],
    )?;
    tx.execute("DELETE FROM calls WHERE at_ms < ?1", [oldest])?;
    tx.execute("DELETE FROM flags WHERE coalesce(cleared_ms, since_ms) < ?1", [oldest])?;
    for table in ["sessions", "endpoints", "runs"] {
        tx.execute(&format!("DELETE FROM {table} WHERE last_ms < ?1"), [oldest])?;
    }
    let gone = tx
        .prepare("DELETE FROM series WHERE last_minute < ?1 RETURNING id")?
        .query_map([minute], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    tx.commit()?;
    Ok(gone)
}

/// Deletes until no more than `bytes` are in use.
fn shrink(db: &mut Connection, bytes: u64) -> rusqlite::Result<()> {
    const DOOMED: &str = "SELECT id FROM calls ORDER BY reason = 'sampled' DESC, at_ms LIMIT ?1";
    while used(db)? > bytes {
        let tx = db.transaction()?;
        tx.execute(&format!("DELETE FROM bodies WHERE id IN ({DOOMED})"), [TRIM_BATCH])?;
        let calls = tx.execute(&format!("DELETE FROM calls WHERE id IN ({DOOMED})"), [TRIM_BATCH])?;
        let mut minutes = 0;
        if calls == 0 {
            for table in ["minutes", "resources"] {
                minutes += tx.execute(
                    &format!("DELETE FROM {table} WHERE minute < ?1 + (SELECT min(minute) FROM {table})"),
                    [TRIM_MINUTES],
                )?;
            }
        }
        tx.commit()?;
        if calls + minutes == 0 {
            break;
        }
    }
    Ok(())
}

/// Bytes in use: the file without its free pages.
fn used(db: &Connection) -> rusqlite::Result<u64> {
    Ok((pragma(db, "page_count")? - pragma(db, "freelist_count")?) * pragma(db, "page_size")?)
}

/// Bytes of the file.
pub(super) fn size(db: &Connection) -> rusqlite::Result<u64> {
    Ok(pragma(db, "page_count")? * pragma(db, "page_size")?)
}

fn pragma(db: &Connection, name: &str) -> rusqlite::Result<u64> {
    db.pragma_query_value(None, name, |row| row.get(0))
}

/// A call's JSON, as it is stored.
pub(super) fn deflate(call: &crate::calls::CallRecord) -> Result<Vec<u8>, HistoryError> {
    let mut out = flate2::write::DeflateEncoder::new(Vec::with_capacity(1024), flate2::Compression::fast());
    serde_json::to_writer(&mut out, call)
        .map_err(std::io::Error::from)
        .and_then(|()| out.finish())
        .map_err(HistoryError::Record)
}
