//! From the rows of the history to the report: one pass over the minutes of both periods.

use std::collections::{BTreeMap, HashMap};

use super::figures::{Figures, Sum};
use super::limits::{FLAGS, SESSIONS, SLOTS, SLOWEST, SLOWEST_CALLS};
use super::{
    CauseCount, FaultCount, OperationReport, Report, ResourceUse, ServerReport, Sessions, Slot, SlowCall, Trends,
    recommend,
};
use crate::history::{CauseRow, HistoryError, Reader, RunRow, SessionRow, UnixMillis};

const MILLIS_A_MINUTE: u64 = 60_000;
const MILLIS_A_SECOND: f64 = 1e3;

/// Server, method and tool (empty where there is none).
type OperationKey = (String, String, String);

pub(super) fn report(reader: &Reader, host: &str, from: UnixMillis, to: UnixMillis) -> Result<Report, HistoryError> {
    let length = to.saturating_sub(from);
    let earlier = from.saturating_sub(length);
    let runs = reader.runs(earlier, to)?;
    let (seconds, seconds_before) = (observed(&runs, from, to), observed(&runs, earlier, from));
    let mut minutes = Minutes::new(reader.series()?, from, to);
    reader.minutes(earlier, to, |row| minutes.take(row))?;

    let mut causes = minutes.causes(reader.causes(from, to)?);
    let operations: Vec<_> = minutes
        .keys
        .iter()
        .zip(minutes.now.iter().zip(&minutes.before))
        .filter(|(_, (now, _))| now.calls > 0)
        .map(|((server, method, tool), (now, before))| {
            let figures = Figures::of(now, seconds);
            let before = Figures::of(before, seconds_before);
            OperationReport {
                server: server.clone(),
                method: method.clone(),
                tool: some(tool),
                trends: Trends::of(Some(&before), &figures),
                figures,
                dominant_causes: causes
                    .remove(&(server.clone(), method.clone(), tool.clone()))
                    .unwrap_or_default(),
            }
        })
        .collect();
    let (total, before) = (sum(&minutes.now), sum(&minutes.before));
    let total = Figures::of(&total, seconds);
    let before = (before.calls > 0).then(|| Figures::of(&before, seconds_before));
    let mut report = Report {
        host: host.to_owned(),
        from_unix_ms: from,
        to_unix_ms: to,
        observed_seconds: seconds,
        trends: Trends::of(before.as_ref(), &total),
        total,
        before,
        servers: servers(&minutes, &operations, seconds, seconds_before),
        resources: resources(reader, from, to)?,
        slowest_operations: slowest(operations),
        slowest_calls: slowest_calls(reader, from, to, &minutes)?,
        sessions: sessions(reader.sessions(from, to)?),
        faults: reader
            .faults(from, to)?
            .into_iter()
            .map(|(fault, comm, count)| FaultCount { fault, comm, count })
            .collect(),
        flags: reader.flags(from, to)?,
        recommendations: Vec::new(),
        slot_seconds: minutes.slot_minutes * 60,
        timeline: minutes.timeline(),
        damaged_minutes: minutes.damaged,
    };
    report.flags.truncate(FLAGS);
    report.recommendations = recommend::recommendations(&report);
    Ok(report)
}

/// What the minutes add up to.
struct Minutes {
    from_minute: u64,
    slot_minutes: u64,
    /// By operation.
    keys: Vec<OperationKey>,
    now: Vec<Sum>,
    before: Vec<Sum>,
    /// Place of each series among the operations.
    places: HashMap<i64, usize>,
    slots: Vec<Sum>,
    damaged: u64,
}

impl Minutes {
    fn new(series: Vec<(i64, [String; 4])>, from: UnixMillis, to: UnixMillis) -> Self {
        let mut keys = BTreeMap::new();
        let mut by_series = Vec::with_capacity(series.len());
        for (id, [server, _client, method, tool]) in series {
            let key = (server, method, tool);
            keys.insert(key.clone(), 0);
            by_series.push((id, key));
        }
        for (place, at) in keys.values_mut().enumerate() {
            *at = place;
        }
        let places = by_series
            .iter()
            .filter_map(|(id, key)| Some((*id, *keys.get(key)?)))
            .collect();
        let keys: Vec<_> = keys.into_keys().collect();
        let (from_minute, to_minute) = (from.div_ceil(MILLIS_A_MINUTE), to.div_ceil(MILLIS_A_MINUTE));
        let length = (to_minute - from_minute).max(1);
        let slot_minutes = length.div_ceil(SLOTS);
        let slots = usize::try_from(length.div_ceil(slot_minutes)).unwrap_or(1);
        Self {
            from_minute,
            slot_minutes,
            now: vec![Sum::default(); keys.len()],
            before: vec![Sum::default(); keys.len()],
            keys,
            places,
            slots: vec![Sum::default(); slots],
            damaged: 0,
        }
    }

    fn take(&mut self, row: &crate::history::MinuteRow<'_>) {
        let Some(&place) = self.places.get(&row.series) else {
            return;
        };
        let Some(since) = row.minute.checked_sub(self.from_minute) else {
            let damaged = add(&mut self.before[place], row);
            self.damaged += u64::from(damaged);
            return;
        };
        let slot = usize::try_from(since / self.slot_minutes).unwrap_or(usize::MAX);
        let damaged = add(&mut self.now[place], row);
        self.damaged += u64::from(damaged);
        if let Some(slot) = self.slots.get_mut(slot) {
            add(slot, row);
        }
    }

    fn timeline(&self) -> Vec<Slot> {
        (0..)
            .zip(&self.slots)
            .map(|(index, sum)| Slot {
                start_unix_ms: (self.from_minute + index * self.slot_minutes) * MILLIS_A_MINUTE,
                calls: sum.calls,
                failed: sum.errors + sum.timeouts,
                p50_us: sum.sketch.quantile_us(0.5),
                p95_us: sum.sketch.quantile_us(0.95),
                p99_us: sum.sketch.quantile_us(0.99),
            })
            .collect()
    }

    /// Dominant causes by operation, the most frequent first.
    fn causes(&self, rows: Vec<CauseRow>) -> HashMap<OperationKey, Vec<CauseCount>> {
        let mut all: HashMap<OperationKey, Vec<CauseCount>> = HashMap::new();
        for (series, reason, cause, calls) in rows {
            if reason == "sampled" {
                continue;
            }
            let Some(key) = self.key(series) else { continue };
            let counts = all.entry(key.clone()).or_default();
            match counts.iter_mut().find(|count| count.cause == cause) {
                Some(count) => count.calls += calls,
                None => counts.push(CauseCount { cause, calls }),
            }
        }
        for counts in all.values_mut() {
            counts.sort_by_key(|count| std::cmp::Reverse(count.calls));
        }
        all
    }

    fn key(&self, series: i64) -> Option<&OperationKey> {
        self.keys.get(*self.places.get(&series)?)
    }
}

/// Adds a row; whether its sketch is damaged.
fn add(sum: &mut Sum, row: &crate::history::MinuteRow<'_>) -> bool {
    sum.calls += row.calls;
    sum.errors += row.errors;
    sum.timeouts += row.timeouts;
    sum.bytes += row.bytes;
    sum.sketch.merge_encoded(row.sketch).is_err()
}

fn sum<'a>(sums: impl IntoIterator<Item = &'a Sum>) -> Sum {
    let mut all = Sum::default();
    for sum in sums {
        all.merge(sum);
    }
    all
}

/// Seconds of `from..to` in which the agent ran.
#[expect(clippy::cast_precision_loss, reason = "milliseconds stay below 2^52")]
fn observed(runs: &[RunRow], from: UnixMillis, to: UnixMillis) -> f64 {
    let mut covered = 0;
    let mut until = from;
    for run in runs {
        let (began, last) = (run.began_unix_ms.max(until), run.last_unix_ms.min(to));
        if last > began {
            covered += last - began;
            until = last;
        }
    }
    covered as f64 / MILLIS_A_SECOND
}

fn servers(minutes: &Minutes, operations: &[OperationReport], seconds: f64, before: f64) -> Vec<ServerReport> {
    let mut sums: BTreeMap<&str, (Sum, Sum)> = BTreeMap::new();
    for ((server, ..), (now, earlier)) in minutes.keys.iter().zip(minutes.now.iter().zip(&minutes.before)) {
        let (all_now, all_before) = sums.entry(server).or_default();
        all_now.merge(now);
        all_before.merge(earlier);
    }
    by_server(operations, |server| {
        let (now, earlier) = sums.remove(server).unwrap_or_default();
        (Figures::of(&now, seconds), Figures::of(&earlier, before))
    })
}

/// Operations under their servers; `figures` are those of a server, and of the period before.
pub(super) fn by_server(
    operations: &[OperationReport],
    mut figures: impl FnMut(&str) -> (Figures, Figures),
) -> Vec<ServerReport> {
    let mut all: BTreeMap<&str, Vec<OperationReport>> = BTreeMap::new();
    for operation in operations {
        all.entry(&operation.server).or_default().push(operation.clone());
    }
    let servers = all.into_iter().map(|(server, mut operations)| {
        let (figures, earlier) = figures(server);
        operations.sort_by_key(|operation| std::cmp::Reverse(operation.figures.calls));
        ServerReport {
            server: server.to_owned(),
            trends: Trends::of(Some(&earlier), &figures),
            figures,
            operations,
        }
    });
    let mut servers: Vec<_> = servers.collect();
    servers.sort_by_key(|server| std::cmp::Reverse(server.figures.calls));
    servers
}

fn resources(reader: &Reader, from: UnixMillis, to: UnixMillis) -> Result<Vec<ResourceUse>, HistoryError> {
    let rows = reader.resources(from, to)?.into_iter().map(|row| ResourceUse {
        server: row.server,
        processes: row.processes,
        cpu_mean_cores: Some(row.cores.0),
        cpu_peak_cores: Some(row.cores.1),
        memory_mean_bytes: Some(row.memory.0),
        memory_peak_bytes: Some(row.memory.1),
    });
    Ok(busiest(rows.collect()))
}

/// Those with most processor time first.
pub(super) fn busiest(mut resources: Vec<ResourceUse>) -> Vec<ResourceUse> {
    let cores = |server: &ResourceUse| server.cpu_mean_cores.unwrap_or(0.0);
    resources.sort_by(|a, b| cores(b).total_cmp(&cores(a)).then_with(|| a.server.cmp(&b.server)));
    resources
}

pub(super) fn slowest(mut operations: Vec<OperationReport>) -> Vec<OperationReport> {
    let p95 = |operation: &OperationReport| operation.figures.p95_us.unwrap_or(0.0);
    operations.sort_by(|a, b| p95(b).total_cmp(&p95(a)));
    operations.truncate(SLOWEST);
    operations
}

fn slowest_calls(
    reader: &Reader,
    from: UnixMillis,
    to: UnixMillis,
    minutes: &Minutes,
) -> Result<Vec<SlowCall>, HistoryError> {
    let calls = reader.slowest(from, to, SLOWEST_CALLS)?;
    Ok(calls
        .into_iter()
        .filter_map(|call| {
            let (server, method, tool) = minutes.key(call.series)?.clone();
            Some(SlowCall {
                call: call.call,
                ended_unix_ms: call.at_unix_ms,
                server,
                method,
                tool: some(&tool),
                latency_us: call.latency_us?,
                outcome: call.outcome,
                dominant_cause: call.cause,
            })
        })
        .collect())
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds stay below 2^52")]
fn sessions(mut rows: Vec<SessionRow>) -> Sessions {
    let mut lengths: Vec<_> = rows.iter().map(|row| row.last_unix_ms - row.first_unix_ms).collect();
    let mut calls: Vec<_> = rows.iter().map(|row| row.calls).collect();
    let count = rows.len() as u64;
    rows.truncate(SESSIONS);
    Sessions {
        count,
        median_seconds: median(&mut lengths).map(|millis| millis as f64 / MILLIS_A_SECOND),
        median_calls: median(&mut calls),
        latest: rows,
    }
}

fn median(values: &mut [u64]) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn some(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}
