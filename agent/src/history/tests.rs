use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::writer::Book;
use super::*;
use crate::calls::record::tests::{call, record};
use crate::host::ClockOffset;

const MINUTE: u64 = 60_000;
/// 2026-01-01.
const START: UnixMillis = 1_767_225_600_000;

fn at(now: UnixMillis, tool: &str, latency_us: f64) -> CallRecord {
    let mut call = call();
    call.tool = Some(tool.into());
    let mut record = record(call);
    record.clock = ClockOffset(i64::try_from(now * 1_000_000 - record.ended).unwrap());
    record.latency_us = Some(latency_us);
    record.call = crate::calls::ShortId(now.to_be_bytes());
    record
}

fn limits() -> Limits {
    Limits {
        sample_ratio: 0.0,
        ..Limits::default()
    }
}

struct Room {
    folder: TempDir,
    shared: Arc<Shared>,
}

impl Room {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            shared: Arc::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("deep/history.db")
    }

    fn book(&self, limits: Limits) -> Book {
        Book::new(&self.path(), limits, Arc::clone(&self.shared))
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.path()).unwrap()
    }

    fn calls(&self) -> u64 {
        let mut calls = 0;
        self.reader()
            .minutes(0, i64::MAX as u64, |row| calls += row.calls)
            .unwrap();
        calls
    }
}

fn all(limit: usize) -> CallFilter {
    CallFilter {
        limit,
        ..CallFilter::default()
    }
}

#[test]
fn minutes_add_up_over_flushes_and_runs() {
    let room = Room::new();
    for run in 0..2 {
        let mut book = room.book(limits());
        for second in 0..60 {
            let now = START + second * 1000;
            book.call(&at(now, "echo", 1000.0 + f64::from(run)));
            book.tick(now);
        }
        book.close(START + MINUTE);
    }
    let mut rows = 0;
    let mut sketch = Sketch::default();
    let reader = room.reader();
    reader
        .minutes(START, START + MINUTE, |row| {
            rows += 1;
            assert_eq!((row.calls, row.errors), (120, 0));
            sketch.merge_encoded(row.sketch).unwrap();
        })
        .unwrap();
    assert_eq!((rows, sketch.measured()), (1, 120));
    assert_eq!(reader.series().unwrap()[0].1, ["python", "host", "tools/call", "echo"]);
    assert_eq!(reader.runs(START, START + 2 * MINUTE).unwrap().len(), 2);
    let endpoints = reader.endpoints(START, START + MINUTE).unwrap();
    assert_eq!(endpoints.len(), 2);
    assert!(endpoints.iter().all(|endpoint| endpoint.calls == 120));
    let sessions = reader.sessions(START, START + MINUTE).unwrap();
    assert_eq!((sessions.len(), sessions[0].calls), (1, 120));
}

#[test]
fn calls_that_matter_are_kept_whole() {
    let room = Room::new();
    let mut book = room.book(limits());
    book.call(&at(START, "fast", 1000.0));
    book.call(&at(START + 1, "slow", 2e6));
    let mut failed = at(START + 2, "bad", 10.0);
    failed.outcome = mcp_proto::Outcome::ToolError;
    book.call(&failed);
    book.close(START + 10);
    let reader = room.reader();
    let kept = reader.calls(&all(10)).unwrap();
    assert_eq!(
        kept.iter().map(|call| call.reason.as_str()).collect::<Vec<_>>(),
        ["failed", "slow"]
    );
    assert_eq!(
        kept[0].json.as_ref().unwrap().get(),
        serde_json::to_string(&failed).unwrap()
    );
    let of = |filter| reader.calls(&filter).unwrap().len();
    assert_eq!(of(CallFilter { slow: true, ..all(10) }), 1);
    assert_eq!(
        of(CallFilter {
            tool: Some("bad".into()),
            ..all(10)
        }),
        1
    );
    assert_eq!(
        of(CallFilter {
            server: Some("x' OR 1".into()),
            ..all(10)
        }),
        0
    );
    assert_eq!(
        of(CallFilter {
            since: START + 2,
            ..all(10)
        }),
        1
    );
    assert_eq!(of(all(1)), 1);
}

#[test]
fn a_storm_of_slow_calls_keeps_the_slowest() {
    let room = Room::new();
    let mut book = room.book(limits());
    for n in 0..1000_u32 {
        let latency = if n == 900 { 9e6 } else { 2e6 };
        book.call(&at(START, "slow", latency));
    }
    book.close(START);
    let kept = room.reader().calls(&all(1000)).unwrap();
    assert_eq!(kept.len() as u32, limits::MAX_KEPT_A_MINUTE + 1);
    assert!(kept.iter().any(|call| call.latency_us == Some(9e6)));
    assert_eq!(room.shared.read().not_kept, 1000 - kept.len() as u64);
}

#[test]
fn old_ones_go() {
    let room = Room::new();
    let mut book = room.book(limits());
    book.call(&at(START, "old", 2e6));
    book.tick(START);
    let later = START + 8 * 24 * 60 * MINUTE;
    book.call(&at(later, "new", 2e6));
    book.close(later);
    let reader = room.reader();
    assert_eq!(room.calls(), 1);
    assert_eq!(reader.calls(&all(10)).unwrap().len(), 1);
    assert_eq!(reader.series().unwrap().len(), 1);
    assert_eq!(reader.runs(0, later + 1).unwrap().len(), 1);
}

#[test]
fn it_stays_within_its_size() {
    let room = Room::new();
    let small = Limits {
        max_bytes: 1 << 20,
        ..limits()
    };
    let mut book = room.book(small);
    for minute in 0..200 {
        for n in 0..30 {
            book.call(&at(START + minute * MINUTE + n, "slow", 2e6));
        }
        book.tick(START + minute * MINUTE + 59_000);
    }
    book.close(START + 200 * MINUTE);
    assert!(fs::metadata(room.path()).unwrap().len() <= 1 << 20);
    assert_eq!(room.calls(), 6000, "sketches outlive whole calls");
    let kept = room.reader().calls(&all(10_000)).unwrap();
    assert!((100..6000).contains(&kept.len()), "{}", kept.len());
    assert!(kept[0].at_unix_ms > START + 198 * MINUTE, "the newest stay");
    assert!(!matches!(room.shared.read().state, HistoryState::Paused { .. }));
}

#[test]
fn a_file_from_before_the_use_of_servers_was_kept_gets_its_table() {
    let room = Room::new();
    let mut book = room.book(limits());
    book.call(&at(START, "echo", 1.0));
    book.close(START);
    let db = rusqlite::Connection::open(room.path()).unwrap();
    db.execute_batch("DROP TABLE resources; PRAGMA user_version = 1")
        .unwrap();
    drop(db);
    let mut book = room.book(limits());
    let used = |cores, memory| ServerUse {
        server: "files".to_owned(),
        processes: 1,
        cores,
        memory,
    };
    book.uses(START, vec![used(0.5, 100)]);
    book.uses(START, vec![used(1.5, 300)]);
    book.close(START + MINUTE);
    assert_eq!(room.calls(), 1, "what was there stays");
    let rows = room.reader().resources(START, START + MINUTE).unwrap();
    assert_eq!(
        (rows.len(), rows[0].cores, rows[0].memory),
        (1, (1.0, 1.5), (200.0, 300.0))
    );
}

#[test]
fn damage_is_set_aside() {
    let room = Room::new();
    let mut book = room.book(limits());
    for n in 0..500 {
        book.call(&at(START + n * MINUTE, "echo", 2e6));
    }
    book.close(START + 500 * MINUTE);
    let mut bytes = fs::read(room.path()).unwrap();
    for byte in &mut bytes[8192..] {
        *byte = !*byte;
    }
    fs::write(room.path(), bytes).unwrap();
    for (junk, now) in [(false, START + 501 * MINUTE), (true, START + 502 * MINUTE)] {
        if junk {
            fs::write(
                room.path(),
                "this is not a database, and has more than one hundred bytes of text".repeat(99),
            )
            .unwrap();
        }
        let mut book = room.book(limits());
        book.call(&at(now, "after", 1.0));
        book.close(now);
        assert_eq!(room.calls(), 1);
        let aside = room.shared.read().set_aside.unwrap();
        assert!(aside.exists());
    }
    let files = fs::read_dir(room.path().parent().unwrap()).unwrap();
    let damaged = files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains("damaged"));
    assert_eq!(damaged.count(), 1, "only the last damaged one is kept");
}

#[test]
fn a_place_that_cannot_be_written_pauses_it() {
    let room = Room::new();
    let folder = room.path().parent().unwrap().to_owned();
    fs::write(&folder, "in the way").unwrap();
    let mut book = room.book(limits());
    book.call(&at(START, "echo", 2e6));
    book.tick(START);
    let HistoryState::Paused { since_unix_ms, reason } = room.shared.read().state else {
        panic!("not paused");
    };
    assert_eq!(since_unix_ms, START);
    assert!(reason.contains("history.db"), "{reason}");
    for n in 0..3000 {
        book.call(&at(START + 1 + n, "echo", 2e6));
    }
    fs::remove_file(&folder).unwrap();
    book.tick(START + 100);
    assert!(
        matches!(room.shared.read().state, HistoryState::Paused { .. }),
        "not before its time"
    );
    book.tick(START + 20_000);
    assert_eq!(room.shared.read().state, HistoryState::Writing);
    book.close(START + 30_000);
    assert_eq!(room.calls(), 3001);
}

#[test]
fn a_file_that_vanishes_begins_anew() {
    let room = Room::new();
    let mut book = room.book(limits());
    book.call(&at(START, "echo", 1.0));
    book.tick(START);
    fs::remove_dir_all(room.path().parent().unwrap()).unwrap();
    book.tick(START + 2 * MINUTE);
    book.call(&at(START + 2 * MINUTE, "echo", 1.0));
    book.close(START + 3 * MINUTE);
    assert_eq!(room.calls(), 1);
}

#[test]
fn the_thread_writes_by_the_clock_it_is_given() {
    let room = Room::new();
    let clock = Arc::new(AtomicU64::new(START));
    let now = Arc::clone(&clock);
    let mut history = History::start(&room.path(), limits(), Box::new(move || now.load(Ordering::Relaxed))).unwrap();
    for n in 0..100 {
        history.call(&at(START + n, "echo", 1.0)).unwrap();
    }
    history.flag(FlagRow {
        code: "idle".into(),
        target: "python".into(),
        severity: "warning".into(),
        since_unix_ms: START,
        cleared_unix_ms: None,
        evidence: serde_json::json!({"seconds": 3}),
    });
    clock.store(START + 5000, Ordering::Relaxed);
    history.finish(&Losses::default()).unwrap();
    assert_eq!(room.calls(), 100);
    assert_eq!(history.dropped(), 0);
    assert_eq!(
        room.reader().flags(START, START + MINUTE).unwrap()[0].evidence["seconds"],
        3
    );
    assert_eq!(history.status().read().state, HistoryState::Closed);
}
