//! A history written by a clock that is given: as many calls as a busy host makes in a day, in minutes. The file stays
//! within its bound, nothing is lost, and `report` answers at once.
//!
//! One hour by default; `MCPSONAR_HISTORY_HOURS` makes it longer (`cargo xtask soak --history`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mcp_proto::{
    Call, Carrier, ConnectionId, Direction, Endpoint, Half, Method, Outcome, ProcessId, RequestId, ResultType,
    Transport,
};
use mcpsonar::calls::{CallRecord, CallSource, ConnectionKey, Run, ShortId, TraceId};
use mcpsonar::history::{History, Limits, ServerUse};
use mcpsonar::host::{ClockOffset, ProcessFacts};
use mcpsonar::sink::{Losses, Sink as _};
use mcpsonar_tests::harness::Service;

const MINUTE: u64 = 60_000;
/// Calls a second.
const RATE: u64 = 100;
/// Servers, tools of each, and clients of each.
const SERVERS: u64 = 10;
const TOOLS: u64 = 10;
const CLIENTS: u64 = 2;
/// How long a session lasts.
const SESSION: u64 = 30 * MINUTE;
/// How often servers are looked at.
const LOOK: u64 = 5000;
/// Calls that may wait for the writer: less than its queue takes.
const WAITING: u64 = 2000;
/// How long the writer may take for any of them.
const STUCK: Duration = Duration::from_secs(60);
/// What the file and its log may have together.
const MOST: u64 = 256 << 20;
/// What a report may take.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What was written.
#[derive(Default)]
struct Written {
    calls: u64,
    /// Of each minute, from the first one on: calls, and those that failed.
    minutes: Vec<[u64; 2]>,
    /// Most bytes of the file and its log.
    most: u64,
}

/// A call like any other, to be made into all others.
fn template() -> CallRecord {
    let half = |base, bytes| Half {
        first_written: Some(base),
        last_written: Some(base + 500),
        first_read: Some(base + 1000),
        last_read: Some(base + 2000),
        bytes,
    };
    let end = |process, name: &str| Endpoint {
        process: Some(ProcessId(process)),
        name: Some(name.into()),
        version: Some("1.2.3".into()),
    };
    let call = Call {
        connection: ConnectionId(1),
        streams: [None, None],
        sequence: 4,
        transport: Transport::Stdio,
        carrier: Carrier::Pipe,
        protocol_version: Some("2025-11-25".into()),
        direction: Direction::ClientToServer,
        method: Method("tools/call".into()),
        tool: Some("search".into()),
        prompt: None,
        resource: None,
        request_id: RequestId("3".into()),
        client: end(1, "client"),
        server: end(2, "server"),
        request: half(10_000, 300),
        request_hash: None,
        response: Some(half(50_000, 2000)),
        outcome: Outcome::Ok,
        ended: 52_000,
        error_code: None,
        result_type: Some(ResultType::Complete),
        task: None,
        continues: None,
        notifications: 0,
        notices: Vec::new(),
        session: None,
        http_status: None,
        http_version: None,
        position: None,
        relays: None,
        overlapped: false,
        trace_context: None,
        ambient_context: None,
        loss: Vec::new(),
    };
    let facts = |pid, program: &str| {
        Arc::new(ProcessFacts {
            pid,
            comm: Some(program.to_owned()),
            exe: Some(format!("/usr/bin/{program}")),
            cmdline: vec![program.to_owned(), "--stdio".to_owned()],
            start_time: Some(1),
            ..ProcessFacts::default()
        })
    };
    CallRecord::new(
        call,
        CallSource {
            account: None,
            run: &Run::new("boot".to_owned(), 7),
            connection: &ConnectionKey::new("boot:1:2".to_owned()),
            client: Some(&facts(1, "node")),
            server: Some(&facts(2, "python")),
            network: None,
            clock: ClockOffset(0),
        },
    )
}

/// Numbers that look like chance, the same each time.
fn hash(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// The `number`th call, which ends at `at`; whether it failed.
fn next(record: &mut CallRecord, number: u64, at: u64) -> Result<bool> {
    let chance = hash(number);
    let share = (chance >> 40) as f64 / 16_777_216.0;
    let (server, tool, client) = (chance % SERVERS, chance / 16 % TOOLS, chance / 256 % CLIENTS);
    let failed = share < 0.02;
    record.clock = ClockOffset(i64::try_from(at * 1_000_000 - record.ended)?);
    record.start_unix_ns = record.start_mono_ns.map(|start| record.clock.unix(start));
    // From 1 ms to 500 ms, and 1 % above a second.
    record.latency_us = Some(if share > 0.99 {
        1.5e6
    } else {
        1000.0 * 500_f64.powf(share)
    });
    record.outcome = if failed { Outcome::ToolError } else { Outcome::Ok };
    record.dominant_cause = (share > 0.5).then_some("upstream");
    record.tool = Some(format!("tool-{tool}").into());
    record.request_bytes = 200 + chance % 400;
    record.response_bytes = 500 + chance % 8000;
    let session = hash(at / SESSION * SERVERS * CLIENTS + server * CLIENTS + client);
    record.session = Some(ShortId(session.to_be_bytes()));
    for (party, kind, name) in [
        (&mut record.server, "server", server),
        (&mut record.client, "client", client),
    ] {
        if let Some(party) = party {
            party.name = Some(format!("{kind}-{name}").into());
            if let Some(facts) = &mut party.facts {
                // Each session has processes of its own.
                Arc::make_mut(facts).pid = 1 + u32::try_from(session % 4_000_000)? + u32::from(kind == "client");
            }
        }
    }
    let id = chance.to_be_bytes();
    record.call = ShortId(id);
    record.trace_id = TraceId([hash(chance).to_be_bytes(), id].concat().try_into().unwrap_or_default());
    Ok(failed)
}

/// Bytes of the history's file and its log.
fn bytes(path: &Path) -> u64 {
    let log = path.with_extension("db-wal");
    [path, &log]
        .iter()
        .filter_map(|file| std::fs::metadata(file).ok())
        .map(|it| it.len())
        .sum()
}

/// Writes the time from `from` to `to`, in milliseconds since the Unix epoch.
fn write(path: &Path, from: u64, to: u64) -> Result<Written> {
    let (now, asked) = (Arc::new(AtomicU64::new(from)), Arc::new(AtomicU64::new(0)));
    let clock = {
        let (now, asked) = (Arc::clone(&now), Arc::clone(&asked));
        move || {
            asked.fetch_add(1, Ordering::Relaxed);
            now.load(Ordering::Relaxed)
        }
    };
    let mut history = History::start(path, Limits::default(), Box::new(clock))?;
    let (mut record, mut written, mut entries) = (template(), Written::default(), 0);
    for second in 0..(to - from) / 1000 {
        let at = from + second * 1000;
        now.store(at, Ordering::Relaxed);
        if at % LOOK < 1000 {
            let uses = (0..SERVERS).map(|server| ServerUse {
                server: format!("server-{server}"),
                processes: CLIENTS,
                cores: 0.1,
                memory: 50 << 20,
            });
            history.uses(uses.collect());
            entries += 1;
        }
        if at % MINUTE < 1000 {
            written.minutes.push([0, 0]);
            written.most = written.most.max(bytes(path));
        }
        let minute = written.minutes.last_mut().context("it begins with a minute")?;
        for n in 0..RATE {
            let failed = next(&mut record, written.calls, at + n * 1000 / RATE)?;
            history.call(&record)?;
            written.calls += 1;
            minute[0] += 1;
            minute[1] += u64::from(failed);
        }
        entries += RATE;
        // The writer asks for the time twice for each entry: so it is known how far it is.
        let since = Instant::now();
        while entries > WAITING + asked.load(Ordering::Relaxed) / 2 {
            ensure!(
                since.elapsed() < STUCK,
                "the writer is stuck: {:?}",
                history.status().read()
            );
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    now.store(to, Ordering::Relaxed);
    written.most = written.most.max(bytes(path));
    history.finish(&Losses::default())?;
    written.most = written.most.max(bytes(path));
    let status = history.status().read();
    ensure!(
        (status.calls, status.dropped, status.lost_paused, status.overflowed) == (written.calls, 0, 0, 0),
        "{status:?}"
    );
    println!("\n{} calls, {} of them kept whole", status.calls, status.kept);
    Ok(written)
}

#[test]
fn a_busy_day_fits_and_is_reported_at_once() -> Result<()> {
    let hours = match std::env::var("MCPSONAR_HISTORY_HOURS") {
        Ok(word) => word.parse()?,
        Err(_) => 1_u64,
    };
    let service = Service::new("history")?;
    service.configure("")?;
    let path = service.file("history/history.db");
    let to = mcpsonar::host::unix_nanos() / 1_000_000 / MINUTE * MINUTE;
    // Minutes pass while it is written: the period of the report begins later.
    let from = to - hours * 60 * MINUTE - (hours + 1) * MINUTE;
    let began = Instant::now();
    let written = write(&path, from, to)?;
    let took = began.elapsed();
    ensure!(written.most < MOST, "{} bytes with the log", written.most);

    let began = Instant::now();
    let running = service.start_by({
        let mut command = service.command();
        command.arg("--no-tls");
        command
    })?;
    // It opens in the background.
    service.wait("the history is open", || {
        Ok(service.status()?["history"]["state"] == "writing")
    })?;
    let opened = began.elapsed();
    let since = format!("{hours}h");
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let began = Instant::now();
        let report = service.ask(&["report", "--since", &since])?;
        fastest = fastest.min(began.elapsed());
        let report = report.first().context("no report")?;
        let minute = |end: &str| {
            report[end]
                .as_u64()
                .map(|at| at.div_ceil(MINUTE).saturating_sub(from / MINUTE))
        };
        let (first, last) = minute("from_unix_ms").zip(minute("to_unix_ms")).context("no period")?;
        let period = written
            .minutes
            .iter()
            .take(usize::try_from(last)?)
            .skip(usize::try_from(first)?);
        let [calls, errors] = period.fold([0, 0], |sum, of| [sum[0] + of[0], sum[1] + of[1]]);
        let ours = report["servers"].as_array().into_iter().flatten();
        let ours: Vec<_> = ours
            .filter(|it| it["server"].as_str().is_some_and(|it| it.starts_with("server-")))
            .collect();
        let sum = |count: &str| ours.iter().filter_map(|it| it[count].as_u64()).sum::<u64>();
        ensure!(
            (ours.len() as u64, sum("calls"), sum("errors")) == (SERVERS, calls, errors),
            "{} servers, {} calls, {} errors instead of {calls} and {errors}",
            ours.len(),
            sum("calls"),
            sum("errors")
        );
        // Minutes are counted whole.
        ensure!(
            calls >= (hours * 60 - hours - 2) * 60 * RATE,
            "only {calls} calls of {hours} h"
        );
    }
    println!(
        "{hours} h at {RATE} calls/s written in {took:.1?}; at most {} MiB with its log; opened in {opened:.1?}; report in {fastest:.3?}",
        written.most >> 20
    );
    ensure!(fastest < AT_ONCE, "a report takes {fastest:?}");
    running.end()?;
    Ok(())
}
