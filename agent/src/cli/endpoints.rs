//! Endpoints, as the running agent knows them.

use serde_json::Value;

use super::ask::{ask_all, print_lines};
use super::{Failure, PsArgs, pages};
use crate::sink::text::{column, duration, size};

/// Prints one line an endpoint.
///
/// # Errors
/// When no agent answers.
pub(super) fn print(args: &PsArgs) -> Result<u8, Failure> {
    if args.json {
        print_lines(&args.config, "/v1/endpoints", true, |_| String::new())?;
        return Ok(0);
    }
    let answer = ask_all(&args.config, "/v1/endpoints")?;
    let mut text = header();
    let lines = answer.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    for line in lines {
        text.push_str(&human(&serde_json::from_slice(line).unwrap_or_default()));
    }
    pages::print(text.as_bytes())?;
    Ok(0)
}

fn header() -> String {
    format!(
        "{:>7} {} {} {} {:>5} {:>6} {:>8} {:>6} {:>8} {:>8} {:>5} {:>9} {}\n",
        "PID",
        column("ROLE", 6),
        column("NAME", 20),
        column("TRANSPORT", 10),
        "SESS",
        "FLIGHT",
        "CALLS",
        "FAILED",
        "CALLS/S",
        "P95",
        "CPU%",
        "RSS",
        "FLAGS"
    )
}

fn human(endpoint: &Value) -> String {
    let text = |name: &str| endpoint[name].as_str();
    let count = |name: &str| endpoint[name].as_u64().unwrap_or(0);
    let words = |name: &str| {
        let all = endpoint[name].as_array().into_iter().flatten();
        all.filter_map(Value::as_str).collect::<Vec<_>>().join(",")
    };
    let mut name = text("name").or(text("comm")).unwrap_or("-").to_owned();
    if let Some(version) = text("version") {
        name = format!("{name} {version}");
    }
    let known = |value: &Value, show: fn(f64) -> String| value.as_f64().map_or_else(|| "-".to_owned(), show);
    let flags = words("flags");
    let line = format!(
        "{:>7} {} {} {} {:>5} {:>6} {:>8} {:>6} {:>8.1} {:>8} {:>5} {:>9} {}",
        count("pid"),
        column(text("role").unwrap_or("-"), 6),
        column(&name, 20),
        column(&words("transports"), 10),
        count("sessions"),
        count("in_flight"),
        count("calls"),
        count("failed"),
        endpoint["recent"]["per_second"].as_f64().unwrap_or(0.0),
        known(&endpoint["recent"]["p95_us"], duration),
        known(&endpoint["cpu"], |cores| format!("{:.1}", cores * 100.0)),
        endpoint["rss_bytes"].as_u64().map_or_else(|| "-".to_owned(), size),
        flags
    );
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn any_endpoint_is_a_line() {
        let line = human(&json!({
            "pid": 7, "role": "server", "name": "fi\u{1b}les", "version": "1.2", "transports": ["stdio"], "sessions": 1,
            "calls": 20, "cpu": 0.5, "rss_bytes": 1048576, "flags": ["hung"], "recent": {"per_second": 2.0, "p95_us": 1500.0},
        }));
        assert!(
            !line.contains('\x1b') && line.contains("1.50ms") && line.contains(" 50.0 "),
            "{line}"
        );
        assert!(line.ends_with("hung\n"), "{line}");
        assert_eq!(human(&Value::Null).lines().count(), 1);
    }
}
