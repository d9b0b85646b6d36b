//! From figures to advice. Every rule names its evidence, and none judges by few calls.

use super::figures::Direction;
use super::limits::{ENOUGH, RECOMMENDATIONS};
use super::{OperationReport, Recommendation, Report, ServerReport, Urgency, causes};
use crate::flags::{Flag, definition};
use crate::report::text::{operation_name, percent};
use crate::sink::text::duration;

/// Share of failed calls that is too much.
const ERRORS: f64 = 0.05;
/// Share of calls given up that is too much.
const TIMEOUTS: f64 = 0.01;
/// Growth of the 95th percentile that needs a look.
const SLOWER: f64 = 0.5;
/// How many times the median the 99th percentile may be.
const TAIL: f64 = 20.0;
/// Faster than this, at the 99th percentile in microseconds, hurts nobody.
const SLOW: f64 = 100_000.0;
/// Lists of tools per session that make one wonder.
const LISTS_A_SESSION: u64 = 5;
/// Share of the period that the agent has to have run.
const COVERED: f64 = 0.9;

pub(super) fn recommendations(report: &Report) -> Vec<Recommendation> {
    let mut all = Vec::new();
    for server in &report.servers {
        for operation in server
            .operations
            .iter()
            .filter(|operation| operation.figures.calls >= ENOUGH)
        {
            all.extend(errors(operation));
            all.extend(timeouts(operation));
            all.extend(slower(operation));
            all.extend(cause(operation));
            all.extend(tail(operation));
        }
        all.extend(lists(server, report));
    }
    all.extend(faults(report));
    all.extend(flags(report));
    all.extend(coverage(report));
    all.sort_by_key(|recommendation| recommendation.urgency);
    all.truncate(RECOMMENDATIONS);
    all
}

fn of(urgency: Urgency, subject: String, advice: impl Into<String>, evidence: String) -> Recommendation {
    Recommendation {
        urgency,
        subject,
        advice: advice.into(),
        evidence,
    }
}

fn subject(operation: &OperationReport) -> String {
    format!("{}: {}", operation.server, operation_name(operation))
}

fn errors(operation: &OperationReport) -> Option<Recommendation> {
    let figures = &operation.figures;
    (figures.error_rate >= ERRORS).then(|| {
        of(
            Urgency::High,
            subject(operation),
            "find out why it fails: `mcpsonar calls --errors` lists the calls",
            format!(
                "{} of {} calls failed ({})",
                figures.errors,
                figures.calls,
                percent(figures.error_rate)
            ),
        )
    })
}

fn timeouts(operation: &OperationReport) -> Option<Recommendation> {
    let figures = &operation.figures;
    (figures.timeout_rate >= TIMEOUTS).then(|| {
        of(
            Urgency::High,
            subject(operation),
            "make it faster, let it report progress, or give its clients more patience",
            format!(
                "{} of {} calls were given up ({}); p99 {}",
                figures.timeouts,
                figures.calls,
                percent(figures.timeout_rate),
                time(figures.p99_us)
            ),
        )
    })
}

fn slower(operation: &OperationReport) -> Option<Recommendation> {
    let trend = operation
        .trends
        .p95
        .filter(|trend| trend.direction == Direction::Up && trend.change >= SLOWER)?;
    Some(of(
        Urgency::Medium,
        subject(operation),
        "it has become slower: look at what has changed since the period before",
        format!(
            "p95 {} is {} above before",
            time(operation.figures.p95_us),
            percent(trend.change)
        ),
    ))
}

fn cause(operation: &OperationReport) -> Option<Recommendation> {
    let all: u64 = operation.dominant_causes.iter().map(|count| count.calls).sum();
    let first = operation.dominant_causes.iter().find(|count| count.cause.is_some())?;
    let advice = causes::advice(first.cause.as_deref()?)?;
    // Why a call that fails at once took its time is of no interest.
    let is_slow = operation.figures.p99_us >= Some(SLOW);
    (is_slow && all >= ENOUGH && first.calls * 2 >= all).then(|| {
        of(
            Urgency::Medium,
            subject(operation),
            advice,
            format!(
                "{} dominates {} of {all} slow or failed calls; p95 {}",
                causes::words(first.cause.as_deref()),
                first.calls,
                time(operation.figures.p95_us)
            ),
        )
    })
}

fn tail(operation: &OperationReport) -> Option<Recommendation> {
    let (p50, p99) = operation.figures.p50_us.zip(operation.figures.p99_us)?;
    (p99 >= SLOW && p99 >= TAIL * p50).then(|| {
        of(
            Urgency::Low,
            subject(operation),
            "a few calls are far slower than most: compare one of `mcpsonar calls --slow` with the others",
            format!(
                "p99 {} is {:.0} times the median {}",
                duration(p99),
                p99 / p50,
                duration(p50)
            ),
        )
    })
}

fn lists(server: &ServerReport, report: &Report) -> Option<Recommendation> {
    let sessions = report
        .sessions
        .latest
        .iter()
        .filter(|session| session.server == server.server)
        .count() as u64;
    let lists = server
        .operations
        .iter()
        .find(|operation| operation.method == "tools/list")?;
    // Only where all sessions are known by name.
    let known = report.sessions.count == report.sessions.latest.len() as u64;
    (known && sessions > 0 && lists.figures.calls >= ENOUGH && lists.figures.calls > sessions * LISTS_A_SESSION).then(
        || {
            of(
                Urgency::Low,
                server.server.clone(),
                "let clients keep the list of tools until the server says that it has changed",
                format!(
                    "tools/list was called {} times in {sessions} sessions",
                    lists.figures.calls
                ),
            )
        },
    )
}

fn faults(report: &Report) -> impl Iterator<Item = Recommendation> {
    report.faults.iter().take(3).map(|fault| {
        of(
            Urgency::Medium,
            fault.comm.clone(),
            "it breaks the protocol: tell its author, and look at what it writes",
            format!("{} {} times", fault.fault, fault.count),
        )
    })
}

fn flags(report: &Report) -> impl Iterator<Item = Recommendation> {
    let up = report.flags.iter().filter(|flag| flag.cleared_unix_ms.is_none());
    up.take(3).map(|flag| {
        of(
            if flag.severity == "critical" {
                Urgency::High
            } else {
                Urgency::Medium
            },
            flag.target.clone(),
            Flag::from_code(&flag.code).map_or_else(
                || format!("a flag is up: {}", flag.code),
                |known| definition(known).advice.to_owned(),
            ),
            format!("{} is up: {}", flag.code, in_words(&flag.evidence)),
        )
    })
}

/// `value=0.93 threshold=0.8`, without what only programs need.
fn in_words(evidence: &serde_json::Value) -> String {
    let fields = evidence.as_object().into_iter().flatten();
    let told = fields.filter(|(name, value)| !["subject", "name"].contains(&name.as_str()) && !value.is_null());
    let each = told.map(|(name, value)| format!("{name}={value}"));
    each.collect::<Vec<_>>().join(" ")
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds stay below 2^52")]
fn coverage(report: &Report) -> Option<Recommendation> {
    let period = (report.to_unix_ms - report.from_unix_ms) as f64 / 1e3;
    (report.observed_seconds < period * COVERED).then(|| {
        of(
            Urgency::Low,
            report.host.clone(),
            "let the agent run all the time: rates are of the time in which it did",
            format!(
                "it ran for {} of {}",
                duration(report.observed_seconds * 1e6),
                duration(period * 1e6)
            ),
        )
    })
}

fn time(micros: Option<f64>) -> String {
    micros.map_or_else(|| "unknown".to_owned(), duration)
}
