//! Questions to the running agent.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};

use serde_json::Value;

use super::ask::{ask_all, escape, print_lines};
use super::{CallsArgs, Failure, FlagsArgs, ReportArgs, pages::print};
use crate::config::duration as duration_of;
use crate::host::unix_nanos;
use crate::report::{Database, Report, html, text};
use crate::sink::sanitise;
use crate::sink::text::{column, date_time, duration, time_of_day};

/// Prints calls.
///
/// # Errors
/// When no agent answers.
pub(super) fn calls(args: &CallsArgs) -> Result<u8, Failure> {
    let mut query = format!("/v1/calls?since={}&limit={}", escape(&args.since), args.limit);
    for (name, on) in [("slow", args.slow), ("errors", args.errors), ("watch", args.watch)] {
        if on {
            write!(query, "&{name}=true").unwrap_or_default();
        }
    }
    for (name, value) in [("tool", &args.tool), ("server", &args.server)] {
        if let Some(value) = value {
            write!(query, "&{name}={}", escape(value)).unwrap_or_default();
        }
    }
    if args.in_flight {
        "/v1/inflight".clone_into(&mut query);
    }
    if !args.json {
        print(header().as_bytes())?;
    }
    print_lines(&args.config, &query, args.json, human)?;
    Ok(0)
}

/// Prints a report, or writes it as HTML.
///
/// # Errors
/// When no agent answers, or the file cannot be written.
pub(super) fn report(args: &ReportArgs) -> Result<u8, Failure> {
    let format = match (args.json, &args.html) {
        (true, _) => "json",
        (false, Some(_)) => "html",
        (false, None) => "text",
    };
    let mut answer = match &args.prometheus {
        Some(url) => fleet(url, args)?,
        None => {
            let query = format!("/v1/report?since={}&format={format}", escape(&args.since));
            ask_all(&args.config, &query)?
        }
    };
    if args.json {
        answer.push(b'\n');
    }
    match &args.html {
        None => print(&answer)?,
        Some(path) => {
            fs::write(path, answer).map_err(|source| Failure::File {
                action: "write the report",
                path: path.clone(),
                source,
            })?;
            writeln!(io::stderr(), "mcpsonar: the report is in {}", path.display()).unwrap_or_default();
        }
    }
    Ok(0)
}

/// The report on all agents that a Prometheus scrapes, in the format that is asked for.
fn fleet(url: &str, args: &ReportArgs) -> Result<Vec<u8>, Failure> {
    let since = duration_of(&args.since)
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .filter(|since| *since > 0)
        .ok_or_else(|| Failure::Usage(format!("--since {}: not a duration such as 90m, 24h, 3d", args.since)))?;
    let database = Database::at(url, args.header.clone())?;
    let to = unix_nanos() / 1_000_000;
    let report = Report::of_fleet(&database, to.saturating_sub(since), to)?;
    let text = match (args.json, &args.html) {
        (true, _) => serde_json::to_string(&report).map_err(|error| Failure::Io {
            what: "cannot write the report".to_owned(),
            source: error.into(),
        })?,
        (false, Some(_)) => html(&report),
        (false, None) => text(&report),
    };
    Ok(text.into_bytes())
}

/// Prints flags.
///
/// # Errors
/// When no agent answers.
pub(super) fn flags(args: &FlagsArgs) -> Result<u8, Failure> {
    let mut query = format!("/v1/flags?since={}", escape(&args.since));
    for (name, on) in [("all", args.all), ("watch", args.watch)] {
        if on {
            write!(query, "&{name}=true").unwrap_or_default();
        }
    }
    let mut any = false;
    print_lines(&args.config, &query, args.json, |flag| {
        any = true;
        flag_line(flag)
    })?;
    if !args.json && !any {
        print(b"no flag is up; --all shows those of the past\n")?;
    }
    Ok(0)
}

/// Two lines: what is the matter since when, and what to do.
fn flag_line(flag: &Value) -> String {
    if let Some(missed) = flag["missed"].as_u64() {
        return format!("({missed} changes missed: this terminal is too slow)\n");
    }
    let text = |name: &str| flag[name].as_str().unwrap_or("-");
    let at = |name: &str| flag[name].as_u64().map(|nanos| date_time(nanos / 1_000_000));
    let since = at("since_unix_ns").unwrap_or_else(|| "-".to_owned());
    let until = match text("event") {
        "cleared" => at("at_unix_ns").map_or_else(String::new, |at| format!(" until {at}")),
        _ => String::new(),
    };
    let evidence = flag["evidence"].as_object().map(|evidence| {
        let each = evidence.iter().map(|(key, value)| format!("{key}={value}"));
        each.collect::<Vec<_>>().join(" ")
    });
    format!(
        "{} {} {} since {since}{until}: {}\n         {}\n         {}\n",
        column(text("severity"), 8),
        text("flag"),
        sanitise(text("target")),
        sanitise(text("title")),
        sanitise(&evidence.unwrap_or_default()),
        sanitise(text("advice"))
    )
}

fn header() -> String {
    format!(
        "{} {} {} {} {:>8} {} {}\n",
        column("TIME (UTC)", 12),
        column("CLIENT", 14),
        column("SERVER", 14),
        column("OPERATION", 32),
        "LATENCY",
        column("OUTCOME", 12),
        "CAUSE AND CALL"
    )
}

/// A line for people from a call, ended or not.
fn human(call: &Value) -> String {
    if let Some(missed) = call["missed"].as_u64() {
        return format!("({missed} calls missed: this terminal is too slow)\n");
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let party = |value: &Value| {
        text(if value["name"].is_string() {
            &value["name"]
        } else {
            &value["comm"]
        })
    };
    let target = ["tool", "prompt", "resource"]
        .iter()
        .find_map(|name| call[name].as_str());
    let operation = format!("{} {}", text(&call["method"]), target.unwrap_or_default());
    // Those under way have an age and a stage.
    let or = |name: &str, other: &str| {
        if call[name].is_null() {
            call[other].clone()
        } else {
            call[name].clone()
        }
    };
    let (latency, outcome) = (&or("latency_us", "age_us"), &or("outcome", "stage"));
    format!(
        "{} {} {} {} {:>8} {} {} {}\n",
        call["start_unix_ns"]
            .as_u64()
            .map_or_else(|| column("-", 12), time_of_day),
        column(&party(&call["client"]), 14),
        column(&party(&call["server"]), 14),
        column(&operation, 32),
        latency.as_f64().map_or_else(|| "-".to_owned(), duration),
        column(&text(outcome), 12),
        column(&text(&call["dominant_cause"]), 13),
        text(&call["call"])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_line_is_shown() {
        let line = human(&json(br#"{"method":"tools/call","tool":"e\u001b[2Jcho","latency_us":1500.0,"outcome":"ok","server":{"name":null,"comm":"python"}}"#));
        assert!(
            line.contains("python") && line.contains("1.50ms") && !line.contains('\x1b'),
            "{line}"
        );
        assert!(human(&Value::Null).contains('-'));
        let open = human(&json(br#"{"method":"ping","age_us":2000000.0,"stage":"unread"}"#));
        assert!(open.contains("2.00s") && open.contains("unread"), "{open}");
    }

    #[test]
    fn any_flag_is_shown() {
        let line = flag_line(&json(
            br#"{"event":"raised","flag":"hung","severity":"critical","target":"a\u001b[2J[7]",
                "since_unix_ns":0,"title":"T","advice":"A."}"#,
        ));
        assert!(
            line.contains("critical") && line.contains("[7]") && !line.contains('\x1b'),
            "{line}"
        );
        assert!(flag_line(&Value::Null).contains('-'));
    }

    fn json(text: &[u8]) -> Value {
        serde_json::from_slice(text).unwrap()
    }
}
