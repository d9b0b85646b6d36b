//! The report for a terminal.

use std::fmt::{self, Write as _};

use super::limits::ROWS;
use super::{Direction, Figures, OperationReport, Report, Trend, Urgency, causes};
use crate::sink::text::{column, date_time, duration, sanitise, size, time_of_day, written};

const NAME: usize = 44;

/// The report as text of about 100 columns.
#[must_use]
pub fn text(report: &Report) -> String {
    written(|out| write(out, report))
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    let (total, trends) = (&report.total, &report.trends);
    writeln!(
        out,
        "{} from {} to {} UTC, observed for {}",
        sanitise(&report.host),
        date_time(report.from_unix_ms),
        date_time(report.to_unix_ms),
        duration(report.observed_seconds * 1e6)
    )?;
    if total.calls == 0 {
        return writeln!(
            out,
            "\nno MCP calls in this period; `mcpsonar doctor` says whether they could be seen"
        );
    }
    writeln!(
        out,
        "\n{} calls ({}{}), {} failed, {} given up{}",
        total.calls,
        rate(total.per_second),
        change(trends.throughput),
        percent(total.error_rate),
        percent(total.timeout_rate),
        total
            .bytes
            .map_or_else(String::new, |bytes| format!(", {}", size(bytes)))
    )?;
    writeln!(
        out,
        "p50 {}{}   p95 {}{}   p99 {}   max {}",
        time(total.p50_us),
        change(trends.p50),
        time(total.p95_us),
        change(trends.p95),
        time(total.p99_us),
        time(total.max_us)
    )?;
    servers(out, report)?;
    resources(out, report)?;
    slowest(out, report)?;
    let sessions = &report.sessions;
    if let Some(seconds) = sessions.median_seconds {
        let calls = sessions.median_calls;
        writeln!(
            out,
            "\nsessions: {}, half of them longer than {}{}",
            sessions.count,
            duration(seconds * 1e6),
            calls.map_or_else(String::new, |calls| format!(" and with more than {calls} calls"))
        )?;
    }
    if !report.faults.is_empty() {
        writeln!(out, "\nbroken protocol:")?;
        for fault in report.faults.iter().take(ROWS) {
            writeln!(out, "  {:>8} {} by {}", fault.count, fault.fault, sanitise(&fault.comm))?;
        }
    }
    if !report.flags.is_empty() {
        writeln!(out, "\nflags:")?;
        for flag in &report.flags {
            let until = flag.cleared_unix_ms.map_or_else(|| "still up".to_owned(), date_time);
            let (code, target) = (sanitise(&flag.code), sanitise(&flag.target));
            writeln!(
                out,
                "  {} {code} {target}: {} to {until}",
                flag.severity,
                date_time(flag.since_unix_ms)
            )?;
        }
    }
    if !report.recommendations.is_empty() {
        writeln!(out, "\nrecommendations:")?;
    }
    for recommendation in &report.recommendations {
        writeln!(
            out,
            "  {:<6} {}: {}\n         ({})",
            urgency(recommendation.urgency),
            sanitise(&recommendation.subject),
            recommendation.advice,
            sanitise(&recommendation.evidence)
        )?;
    }
    Ok(())
}

fn servers(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(
        out,
        "\n{} {:>9} {:>9} {:>7} {:>7} {:>8} {:>8} {:>8}",
        column("SERVER AND OPERATION", NAME),
        "CALLS",
        "RATE",
        "FAILED",
        "GIVENUP",
        "P50",
        "P95",
        "P99"
    )?;
    for server in report.servers.iter().take(ROWS) {
        row(out, &server.server, &server.figures, server.trends.p95)?;
        for operation in server.operations.iter().take(ROWS) {
            let name = format!("  {}", operation_name(operation));
            row(out, &name, &operation.figures, operation.trends.p95)?;
        }
    }
    let left = report.servers.len().saturating_sub(ROWS);
    if left > 0 {
        writeln!(out, "and {left} more servers: see --json")?;
    }
    Ok(())
}

fn row(out: &mut String, name: &str, figures: &Figures, trend: Option<Trend>) -> fmt::Result {
    writeln!(
        out,
        "{} {:>9} {:>9} {:>7} {:>7} {:>8} {:>8} {:>8}{}",
        column(name, NAME),
        figures.calls,
        rate(figures.per_second),
        percent(figures.error_rate),
        percent(figures.timeout_rate),
        time(figures.p50_us),
        time(figures.p95_us),
        time(figures.p99_us),
        change(trend)
    )
}

fn resources(out: &mut String, report: &Report) -> fmt::Result {
    if report.resources.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{} {:>9} {:>9} {:>9} {:>9} {:>9}",
        column("RESOURCES OF SERVERS", NAME),
        "PROCESSES",
        "CPU MEAN",
        "CPU PEAK",
        "MEM MEAN",
        "MEM PEAK"
    )?;
    for used in report.resources.iter().take(ROWS) {
        writeln!(
            out,
            "{} {:>9} {:>9} {:>9} {:>9} {:>9}",
            column(&used.server, NAME),
            used.processes,
            cores(used.cpu_mean_cores),
            cores(used.cpu_peak_cores),
            memory(used.memory_mean_bytes),
            memory(used.memory_peak_bytes)
        )?;
    }
    Ok(())
}

fn slowest(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(
        out,
        "\nslowest operations, and what their slow or failed calls spent their time on:"
    )?;
    for operation in &report.slowest_operations {
        let name = format!("{} {}", operation.server, operation_name(operation));
        writeln!(
            out,
            "  {} p95 {:>8}  {}",
            column(&name, NAME),
            time(operation.figures.p95_us),
            cause_list(operation)
        )?;
    }
    if !report.slowest_calls.is_empty() {
        writeln!(out, "\nslowest calls:")?;
    }
    for call in &report.slowest_calls {
        let name = format!("{} {}", call.server, call.tool.as_deref().unwrap_or(&call.method));
        writeln!(
            out,
            "  {} {} {:>8} {} ({}, call {})",
            time_of_day(call.ended_unix_ms * 1_000_000),
            column(&name, NAME),
            duration(call.latency_us),
            call.outcome,
            causes::words(call.dominant_cause.as_deref()),
            call.call
        )?;
    }
    Ok(())
}

/// `the disk 12, no single cause 3`.
pub(super) fn cause_list(operation: &OperationReport) -> String {
    let counts = operation.dominant_causes.iter().take(3);
    let each: Vec<_> = counts
        .map(|count| format!("{} {}", causes::words(count.cause.as_deref()), count.calls))
        .collect();
    if each.is_empty() {
        "-".to_owned()
    } else {
        each.join(", ")
    }
}

/// The tool, else the method.
pub(super) fn operation_name(operation: &OperationReport) -> String {
    match &operation.tool {
        Some(tool) => format!("{} {tool}", operation.method),
        None => operation.method.clone(),
    }
}

pub(super) fn urgency(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::High => "high",
        Urgency::Medium => "medium",
        Urgency::Low => "low",
    }
}

pub(super) fn time(micros: Option<f64>) -> String {
    micros.map_or_else(|| "-".to_owned(), duration)
}

/// Percent of one processor.
pub(super) fn cores(cores: Option<f64>) -> String {
    cores.map_or_else(|| "-".to_owned(), percent)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of memory")]
pub(super) fn memory(bytes: Option<f64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |bytes| size(bytes as u64))
}

pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "0%".to_owned(),
        percent if percent < 10.0 => format!("{percent:.2}%"),
        percent => format!("{percent:.0}%"),
    }
}

pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate >= 100.0 => format!("{rate:.0}/s"),
        rate if rate >= 1.0 => format!("{rate:.1}/s"),
        rate if rate * 60.0 >= 1.0 => format!("{:.1}/min", rate * 60.0),
        rate => format!("{:.1}/h", rate * 3600.0),
    }
}

/// ` +12%`, or nothing where nothing is known.
pub(super) fn change(trend: Option<Trend>) -> String {
    match trend {
        None => String::new(),
        Some(Trend {
            direction: Direction::Stable,
            ..
        }) => " =".to_owned(),
        Some(Trend { change, .. }) => format!(" {:+.0}%", change * 100.0),
    }
}
