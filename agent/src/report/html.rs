//! The report as one HTML file: no network, no scripts, prints well.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use super::limits::ROWS;
use super::text::{cause_list, change, cores, memory, operation_name, percent, rate, time, urgency};
use super::{Figures, Report, Trend, causes, plot};
use crate::sink::text::{date_time, duration, sanitise, size, written};

const STYLE: &str = include_str!("report.css");

/// The report as an HTML document.
#[must_use]
pub fn html(report: &Report) -> String {
    written(|out| write(out, report))
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    let host = escape(&report.host);
    let (total, trends) = (&report.total, &report.trends);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>MCP calls of {host}</title>\
         <style>{STYLE}</style></head><body>\n<h1>MCP calls of {host}</h1>\n\
         <p>{} to {} UTC, observed for {}</p>\n<dl>",
        date_time(report.from_unix_ms),
        date_time(report.to_unix_ms),
        duration(report.observed_seconds * 1e6)
    )?;
    for (name, value, trend) in [
        ("calls", total.calls.to_string(), None),
        ("throughput", rate(total.per_second), trends.throughput),
        ("p50", time(total.p50_us), trends.p50),
        ("p95", time(total.p95_us), trends.p95),
        ("p99", time(total.p99_us), None),
        ("failed", percent(total.error_rate), trends.error_rate),
        ("given up", percent(total.timeout_rate), None),
        ("sessions", report.sessions.count.to_string(), None),
        ("bytes", total.bytes.map_or_else(|| "-".to_owned(), size), None),
    ] {
        write!(
            out,
            "<div><dt>{name}</dt><dd>{value}<small>{}</small></dd></div>",
            change(trend)
        )?;
    }
    writeln!(out, "</dl>")?;
    recommendations(out, report)?;
    writeln!(
        out,
        "<h2>Calls</h2><p class=\"key\">a bar is {}; <b class=\"failed\">failed or given up</b></p>{}",
        duration(report.slot_seconds as f64 * 1e6),
        plot::calls(&report.timeline)
    )?;
    writeln!(
        out,
        "<h2>Latency</h2><p class=\"key\"><b class=\"p50\">p50</b> <b class=\"p95\">p95</b> <b class=\"p99\">p99</b></p>{}",
        plot::latencies(&report.timeline)
    )?;
    servers(out, report)?;
    resources(out, report)?;
    slowest(out, report)?;
    notes(out, report)?;
    writeln!(
        out,
        "<footer>mcpsonar {}. Rates are of the time in which the agent ran; a change of less than 5 % against the \
         period before shows as =.</footer></body></html>",
        env!("CARGO_PKG_VERSION")
    )
}

fn recommendations(out: &mut String, report: &Report) -> fmt::Result {
    if report.recommendations.is_empty() {
        return Ok(());
    }
    write!(out, "<h2>Recommendations</h2><ul>")?;
    for recommendation in &report.recommendations {
        let urgency = urgency(recommendation.urgency);
        write!(
            out,
            "<li><b class=\"{urgency}\">{urgency}</b> <strong>{}</strong>: {} <em>{}</em></li>",
            escape(&recommendation.subject),
            escape(&recommendation.advice),
            escape(&recommendation.evidence)
        )?;
    }
    writeln!(out, "</ul>")
}

fn servers(out: &mut String, report: &Report) -> fmt::Result {
    write!(
        out,
        "<h2>Servers and operations</h2><table><thead><tr><th>operation<th>calls<th>rate<th>failed<th>given up\
         <th>p50<th>p95<th>p99<th>max<th>p95 before</tr></thead><tbody>"
    )?;
    for server in report.servers.iter().take(ROWS) {
        row(out, "server", &server.server, &server.figures, server.trends.p95)?;
        for operation in server.operations.iter().take(ROWS) {
            row(
                out,
                "operation",
                &operation_name(operation),
                &operation.figures,
                operation.trends.p95,
            )?;
        }
    }
    writeln!(out, "</tbody></table>")
}

fn row(out: &mut String, class: &str, name: &str, figures: &Figures, trend: Option<Trend>) -> fmt::Result {
    write!(
        out,
        "<tr class=\"{class}\"><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
        escape(name),
        figures.calls,
        rate(figures.per_second),
        percent(figures.error_rate),
        percent(figures.timeout_rate),
        time(figures.p50_us),
        time(figures.p95_us),
        time(figures.p99_us),
        time(figures.max_us),
        change(trend)
    )
}

fn resources(out: &mut String, report: &Report) -> fmt::Result {
    if report.resources.is_empty() {
        return Ok(());
    }
    write!(
        out,
        "<h2>Resources of servers</h2><p class=\"key\">100 % is one processor</p><table><thead><tr><th>server\
         <th>processes<th>CPU mean<th>CPU peak<th>memory mean<th>memory peak</tr></thead><tbody>"
    )?;
    for used in report.resources.iter().take(ROWS) {
        write!(
            out,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            escape(&used.server),
            used.processes,
            cores(used.cpu_mean_cores),
            cores(used.cpu_peak_cores),
            memory(used.memory_mean_bytes),
            memory(used.memory_peak_bytes)
        )?;
    }
    writeln!(out, "</tbody></table>")
}

fn slowest(out: &mut String, report: &Report) -> fmt::Result {
    write!(
        out,
        "<h2>Slowest operations</h2><table><thead><tr><th>operation<th>p95<th>slow or failed calls were dominated by\
         </tr></thead><tbody>"
    )?;
    for operation in &report.slowest_operations {
        write!(
            out,
            "<tr><td>{} {}<td>{}<td>{}</tr>",
            escape(&operation.server),
            escape(&operation_name(operation)),
            time(operation.figures.p95_us),
            escape(&cause_list(operation))
        )?;
    }
    writeln!(out, "</tbody></table>")?;
    if report.slowest_calls.is_empty() {
        return Ok(());
    }
    write!(
        out,
        "<h2>Slowest calls</h2><table><thead><tr><th>call<th>operation<th>ended<th>latency<th>outcome\
         <th>dominant cause</tr></thead><tbody>"
    )?;
    for call in &report.slowest_calls {
        write!(
            out,
            "<tr><td><code>{}</code><td>{} {}<td>{}<td>{}<td>{}<td>{}</tr>",
            escape(&call.call),
            escape(&call.server),
            escape(call.tool.as_deref().unwrap_or(&call.method)),
            date_time(call.ended_unix_ms),
            duration(call.latency_us),
            escape(&call.outcome),
            escape(causes::words(call.dominant_cause.as_deref()))
        )?;
    }
    writeln!(out, "</tbody></table>")
}

fn notes(out: &mut String, report: &Report) -> fmt::Result {
    if !report.flags.is_empty() {
        write!(
            out,
            "<h2>Flags</h2><table><thead><tr><th>flag<th>about<th>severity<th>since<th>until</tr></thead><tbody>"
        )?;
        for flag in &report.flags {
            write!(
                out,
                "<tr><td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
                escape(&flag.code),
                escape(&flag.target),
                escape(&flag.severity),
                date_time(flag.since_unix_ms),
                flag.cleared_unix_ms.map_or_else(|| "still up".to_owned(), date_time)
            )?;
        }
        writeln!(out, "</tbody></table>")?;
    }
    if !report.faults.is_empty() {
        write!(
            out,
            "<h2>Broken protocol</h2><table><thead><tr><th>fault<th>by<th>times</tr></thead><tbody>"
        )?;
        for fault in report.faults.iter().take(ROWS) {
            write!(
                out,
                "<tr><td>{}<td>{}<td>{}</tr>",
                escape(&fault.fault),
                escape(&fault.comm),
                fault.count
            )?;
        }
        writeln!(out, "</tbody></table>")?;
    }
    Ok(())
}

/// Text from the wire, as text and nothing else.
fn escape(text: &str) -> Cow<'_, str> {
    let text = sanitise(text);
    if !text.contains(['<', '>', '&', '"', '\'']) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}
