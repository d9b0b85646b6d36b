//! From answers to the report.

use std::collections::BTreeMap;

use serde_json::json;

use super::FleetError;
use super::answer::Series;
use super::buckets::Buckets;
use super::calls::{Calls, FAILED, GIVEN_UP};
use super::promql::{self, Dialect, Resource};
use crate::history::{FlagRow, UnixMillis};
use crate::report::gather::{busiest, by_server, slowest};
use crate::report::limits::{FLAGS, SLOTS};
use crate::report::{FaultCount, OperationReport, Report, ResourceUse, Sessions, Slot, Trends, recommend};

/// Seconds between two looks at a gauge: at least, and how many looks make the period at most.
const LOOK: u64 = 10;
const LOOKS: u64 = 500;
/// Seconds of a slot at least.
const SLOT: u64 = 60;

/// Notes a value.
type Put = fn(&mut ResourceUse, f64);

/// Who answers questions.
pub(super) trait Ask {
    /// The value of each series at a time.
    fn instant(&self, query: &str, at: UnixMillis) -> Result<Vec<Series>, FleetError>;
    /// Its values every `step` seconds.
    fn range(&self, query: &str, from: UnixMillis, to: UnixMillis, step: u64) -> Result<Vec<Series>, FleetError>;
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts, and saturating"
)]
pub(super) fn whole(count: f64) -> u64 {
    count.round() as u64
}

/// One period, and who is asked about it.
pub(super) struct Period<'a, A> {
    ask: &'a A,
    dialect: Dialect,
    from: UnixMillis,
    to: UnixMillis,
}

pub(super) fn report<A: Ask>(ask: &A, url: &str, from: UnixMillis, to: UnixMillis) -> Result<Report, FleetError> {
    let dialect = match ask.instant(Dialect::PROBE, to) {
        Ok(_) => Dialect::MetricsQl,
        Err(FleetError::Query { .. }) => Dialect::PromQl,
        Err(error) => return Err(error),
    };
    let now = Period { ask, dialect, from, to };
    let earlier = Period {
        ask,
        dialect,
        from: from.saturating_sub(to - from),
        to: from,
    };
    let seconds = now
        .observed()?
        .ok_or_else(|| FleetError::NoData { url: url.to_owned() })?;
    let agents = whole(
        ask.instant(&promql::agents(now.seconds()), to)?
            .first()
            .map_or(0.0, Series::value),
    );
    let calls = Calls::of(&now)?;
    let (before, seconds_before) = match earlier.observed()? {
        Some(seconds) => (Calls::of(&earlier)?, seconds),
        None => (Calls::default(), 0.0),
    };
    let operations: Vec<_> = calls
        .operations
        .iter()
        .map(|(key, tally)| {
            let figures = tally.figures(seconds);
            let earlier = before.operations.get(key).map(|tally| tally.figures(seconds_before));
            let (server, method, tool) = key.clone();
            OperationReport {
                server,
                method,
                tool: Some(tool).filter(|tool| !tool.is_empty()),
                trends: Trends::of(earlier.as_ref(), &figures),
                figures,
                dominant_causes: Vec::new(),
            }
        })
        .collect();
    let total = calls.total().figures(seconds);
    let earlier_total = Some(before.total().figures(seconds_before)).filter(|figures| figures.calls > 0);
    let servers = by_server(&operations, |server| {
        (
            calls.server(server).figures(seconds),
            before.server(server).figures(seconds_before),
        )
    });
    let slot = now.slot();
    let mut report = Report {
        host: format!("{agents} agent{} at {url}", if agents == 1 { "" } else { "s" }),
        from_unix_ms: from,
        to_unix_ms: to,
        observed_seconds: seconds,
        trends: Trends::of(earlier_total.as_ref(), &total),
        total,
        before: earlier_total,
        resources: now.resources(|name| servers.iter().any(|server| server.server == name))?,
        servers,
        slowest_operations: slowest(operations),
        slowest_calls: Vec::new(),
        sessions: now.sessions()?,
        faults: now.faults()?,
        flags: now.flags()?,
        recommendations: Vec::new(),
        timeline: now.timeline()?,
        slot_seconds: slot,
        damaged_minutes: 0,
    };
    report.recommendations = recommend::recommendations(&report);
    Ok(report)
}

impl<A: Ask> Period<'_, A> {
    /// Its length.
    fn seconds(&self) -> u64 {
        (self.to - self.from).div_ceil(1000).max(1)
    }

    fn slot(&self) -> u64 {
        self.seconds().div_ceil(SLOTS).max(SLOT)
    }

    fn look(&self) -> u64 {
        self.seconds().div_ceil(LOOKS).max(LOOK)
    }

    fn instant(&self, query: &str) -> Result<Vec<Series>, FleetError> {
        self.ask.instant(query, self.to)
    }

    /// By how much counters have grown.
    pub(super) fn growth(&self, selector: &str, by: &str) -> Result<Vec<Series>, FleetError> {
        self.instant(&self.dialect.growth(selector, by, self.seconds()))
    }

    /// Seconds in which an agent was scraped; `None` if none was.
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    fn observed(&self) -> Result<Option<f64>, FleetError> {
        let answer = self.instant(&promql::observed(self.seconds(), self.look()))?;
        let seconds = answer.first().map(Series::value).filter(|seconds| *seconds > 0.0);
        Ok(seconds.map(|seconds| seconds.min(self.seconds() as f64)))
    }

    /// What the processes of those used that are servers.
    fn resources(&self, is_server: impl Fn(&str) -> bool) -> Result<Vec<ResourceUse>, FleetError> {
        let mut all: BTreeMap<String, ResourceUse> = BTreeMap::new();
        let put: [(Resource, &str, Put); 5] = [
            (Resource::Processes, "max", |used, value| used.processes = whole(value)),
            (Resource::Cores, "avg", |used, value| used.cpu_mean_cores = Some(value)),
            (Resource::Cores, "max", |used, value| used.cpu_peak_cores = Some(value)),
            (Resource::Memory, "avg", |used, value| {
                used.memory_mean_bytes = Some(value);
            }),
            (Resource::Memory, "max", |used, value| {
                used.memory_peak_bytes = Some(value);
            }),
        ];
        for (resource, fold, set) in put {
            for series in self.instant(&resource.over_time(fold, self.seconds(), self.look()))? {
                let server = series.label("service_name");
                if !is_server(server) {
                    continue;
                }
                let used = all
                    .entry(server.to_owned())
                    .or_insert_with(|| ResourceUse::of(server.to_owned()));
                set(used, series.value());
            }
        }
        Ok(busiest(all.into_values().collect()))
    }

    /// Sessions that have ended, as the end that saw more of them has it.
    fn sessions(&self) -> Result<Sessions, FleetError> {
        let mut most = Buckets::default();
        for end in ["server", "client"] {
            let mut buckets = Buckets::default();
            for series in self.growth(&format!("mcp_{end}_session_duration_seconds_bucket"), "le")? {
                buckets.add(series.label("le"), series.value());
            }
            if buckets.count() > most.count() {
                most = buckets;
            }
        }
        Ok(Sessions {
            count: whole(most.count()),
            median_seconds: most.quantile(0.5),
            ..Sessions::default()
        })
    }

    fn faults(&self) -> Result<Vec<FaultCount>, FleetError> {
        let answer = self.growth("mcpsonar_protocol_faults_total", "mcpsonar_fault, instance")?;
        let mut faults: Vec<_> = answer
            .iter()
            .map(|series| FaultCount {
                fault: series.label("mcpsonar_fault").to_owned(),
                comm: series.label("instance").to_owned(),
                count: whole(series.value()),
            })
            .filter(|fault| fault.count > 0)
            .collect();
        faults.sort_by_key(|fault| std::cmp::Reverse(fault.count));
        Ok(faults)
    }

    /// Flags by agent, each stretch of slots in which it was up.
    fn flags(&self) -> Result<Vec<FlagRow>, FleetError> {
        let step = self.slot();
        let mut rows = Vec::new();
        for series in self
            .ask
            .range(&promql::flags(step), self.from + step * 1000, self.to, step)?
        {
            let row = |since: f64, until: f64, most: f64| FlagRow {
                code: series.label("mcpsonar_flag_code").to_owned(),
                target: series.label("instance").to_owned(),
                severity: series.label("mcpsonar_flag_severity").to_owned(),
                since_unix_ms: millis(since).saturating_sub(step * 1000),
                cleared_unix_ms: Some(millis(until)).filter(|until| until + step * 1000 <= self.to),
                evidence: json!({"targets": whole(most)}),
            };
            #[expect(clippy::cast_precision_loss, reason = "seconds of a slot")]
            let gap = step as f64 * 1.5;
            rows.extend(stretches(&series.points, gap).map(|(since, until, most)| row(since, until, most)));
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.since_unix_ms));
        rows.truncate(FLAGS);
        Ok(rows)
    }

    fn timeline(&self) -> Result<Vec<Slot>, FleetError> {
        let step = self.slot();
        let mut slots: BTreeMap<UnixMillis, (Slot, Buckets)> = BTreeMap::new();
        let first = self.from + step * 1000;
        let mut at = first;
        while at <= self.to {
            slots.entry(at).or_default().0.start_unix_ms = at - step * 1000;
            at += step * 1000;
        }
        let failed = [FAILED, GIVEN_UP].concat().join("|");
        let ask = |selector: &str, by: &str| {
            self.ask
                .range(&self.dialect.growth(selector, by, step), first, self.to, step)
        };
        for (selector, is_failed) in [
            ("mcp_requests_total".to_owned(), false),
            (format!("mcp_requests_total{{status=~\"{failed}\"}}"), true),
        ] {
            for (at, count) in ask(&selector, "")?.iter().flat_map(|series| &series.points) {
                if let Some((slot, _)) = slots.get_mut(&millis(*at)) {
                    let field = if is_failed { &mut slot.failed } else { &mut slot.calls };
                    *field = whole(*count);
                }
            }
        }
        for series in ask("mcp_request_duration_seconds_bucket", "le")? {
            for (at, count) in &series.points {
                if let Some((_, buckets)) = slots.get_mut(&millis(*at)) {
                    buckets.add(series.label("le"), *count);
                }
            }
        }
        let told = slots.into_values().map(|(slot, buckets)| {
            let micros = |q| buckets.quantile(q).map(|seconds| seconds * 1e6);
            Slot {
                p50_us: micros(0.5),
                p95_us: micros(0.95),
                p99_us: micros(0.99),
                ..slot
            }
        });
        Ok(told.collect())
    }
}

/// Runs of points no further apart than `gap`: the first, the last, and the highest value.
fn stretches(points: &[(f64, f64)], gap: f64) -> impl Iterator<Item = (f64, f64, f64)> {
    let apart = move |a: &(f64, f64), b: &(f64, f64)| b.0 - a.0 <= gap;
    points.chunk_by(apart).filter_map(|run| {
        let most = run.iter().fold(0.0, |most: f64, (_, value)| most.max(*value));
        Some((run.first()?.0, run.last()?.0, most))
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of day")]
fn millis(seconds: f64) -> UnixMillis {
    (seconds * 1e3).round() as UnixMillis
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
