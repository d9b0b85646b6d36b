//! The lists of the live view, from a frame as the agent tells it.

use serde_json::Value;

use crate::sink::sanitise;
use crate::sink::text::{column, date_time, duration, size, time_of_day};

/// One list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Operations,
    Endpoints,
    InFlight,
    Calls,
    Flags,
}

/// A column: its title, its least width, and whether it takes what is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) width: u16,
    pub(super) grows: bool,
    pub(super) right: bool,
}

/// One field, with what it is sorted by where that is not its text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) number: Option<f64>,
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) cells: Vec<Cell>,
    /// The call that it is about and that can be explained.
    pub(super) call: Option<String>,
    /// It deserves attention.
    pub(super) bad: bool,
}

const fn fixed(title: &'static str, width: u16) -> Column {
    Column {
        title,
        width,
        grows: false,
        right: false,
    }
}

const fn number(title: &'static str, width: u16) -> Column {
    Column {
        right: true,
        ..fixed(title, width)
    }
}

const fn growing(title: &'static str, width: u16) -> Column {
    Column {
        grows: true,
        ..fixed(title, width)
    }
}

// Each fits into 80 columns, with one between two.
const OPERATIONS: &[Column] = &[
    growing("SERVER", 11),
    growing("OPERATION", 14),
    number("OPEN", 4),
    number("CALLS/S", 7),
    number("P50", 7),
    number("P95", 7),
    number("FAIL%", 5),
    fixed("TREND", 6),
    fixed("CAUSE", 10),
];
const ENDPOINTS: &[Column] = &[
    number("PID", 7),
    fixed("ROLE", 6),
    growing("NAME", 12),
    number("SESS", 4),
    number("OPEN", 4),
    number("CALLS/S", 7),
    number("P95", 7),
    number("CPU%", 5),
    number("RSS", 6),
    growing("FLAGS", 10),
];
const IN_FLIGHT: &[Column] = &[
    number("AGE", 8),
    growing("CLIENT", 11),
    growing("SERVER", 11),
    growing("OPERATION", 18),
    fixed("STAGE", 8),
    fixed("CALL", 16),
];
const CALLS: &[Column] = &[
    fixed("TIME (UTC)", 12),
    growing("CLIENT", 10),
    growing("SERVER", 10),
    growing("OPERATION", 15),
    number("LATENCY", 7),
    fixed("OUTCOME", 10),
    fixed("CAUSE", 10),
];
const FLAGS: &[Column] = &[
    fixed("SEVERITY", 8),
    fixed("FLAG", 18),
    growing("ABOUT", 18),
    fixed("SINCE (UTC)", 16),
    number("VALUE", 8),
    number("OF", 7),
];

impl Tab {
    pub(super) const ALL: [Self; 5] = [
        Self::Operations,
        Self::Endpoints,
        Self::InFlight,
        Self::Calls,
        Self::Flags,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Operations => "Operations",
            Self::Endpoints => "Endpoints",
            Self::InFlight => "In flight",
            Self::Calls => "Calls",
            Self::Flags => "Flags",
        }
    }

    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Self::Operations => OPERATIONS,
            Self::Endpoints => ENDPOINTS,
            Self::InFlight => IN_FLIGHT,
            Self::Calls => CALLS,
            Self::Flags => FLAGS,
        }
    }

    /// The lines of the list, in the order of the frame.
    pub(super) fn rows(self, frame: &Value) -> Vec<Row> {
        let now = &frame["frame"];
        let (list, row): (_, fn(&Value) -> Row) = match self {
            Self::Operations => (&now["operations"], operation),
            Self::Endpoints => (&now["endpoints"], endpoint),
            Self::InFlight => (&now["in_flight"], in_flight),
            Self::Calls => (&frame["last_calls"], call),
            Self::Flags => (&now["flags"], flag),
        };
        list.as_array().into_iter().flatten().map(row).collect()
    }
}

fn operation(it: &Value) -> Row {
    let (calls, failed) = (
        it["calls"].as_f64().unwrap_or(0.0),
        it["failed"].as_f64().unwrap_or(0.0),
    );
    let share = if calls > 0.0 { failed / calls * 100.0 } else { 0.0 };
    let name = it["tool"].as_str().or(it["method"].as_str());
    Row {
        cells: vec![
            word(&it["server"]),
            Cell::of(name.unwrap_or("-")),
            amount(&it["in_flight"]),
            figure(it["per_second"].as_f64(), |rate| format!("{rate:.1}")),
            figure(it["p50_us"].as_f64(), duration),
            figure(it["p95_us"].as_f64(), duration),
            figure(Some(share), |share| format!("{share:.1}")),
            Cell::of(&trend(&it["trend_us"])),
            word(&it["cause"]),
        ],
        call: None,
        bad: failed > 0.0,
    }
}

fn endpoint(it: &Value) -> Row {
    let flags = it["flags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let flags = flags.collect::<Vec<_>>().join(",");
    Row {
        bad: !flags.is_empty(),
        cells: vec![
            amount(&it["pid"]),
            word(&it["role"]),
            party(it),
            amount(&it["sessions"]),
            amount(&it["in_flight"]),
            figure(it["recent"]["per_second"].as_f64(), |rate| format!("{rate:.1}")),
            figure(it["recent"]["p95_us"].as_f64(), duration),
            figure(it["cpu"].as_f64(), |cores| format!("{:.1}", cores * 100.0)),
            figure(it["rss_bytes"].as_f64(), |_| {
                it["rss_bytes"].as_u64().map_or_else(String::new, size)
            }),
            Cell::of(&flags),
        ],
        call: None,
    }
}

fn in_flight(it: &Value) -> Row {
    Row {
        cells: vec![
            figure(it["age_us"].as_f64(), duration),
            party(&it["client"]),
            party(&it["server"]),
            operation_of(it),
            word(&it["stage"]),
            word(&it["call"]),
        ],
        call: None,
        bad: it["stage"] == "unread",
    }
}

fn call(it: &Value) -> Row {
    let start = it["start_unix_ns"].as_u64();
    Row {
        cells: vec![
            figure(it["start_unix_ns"].as_f64(), |_| {
                start.map_or_else(String::new, time_of_day)
            }),
            party(&it["client"]),
            party(&it["server"]),
            operation_of(it),
            figure(it["latency_us"].as_f64(), duration),
            word(&it["outcome"]),
            word(&it["dominant_cause"]),
        ],
        call: it["call"].as_str().map(str::to_owned),
        bad: it["outcome"] != "ok",
    }
}

fn flag(it: &Value) -> Row {
    let since = it["since_unix_ns"].as_u64();
    Row {
        cells: vec![
            word(&it["severity"]),
            word(&it["flag"]),
            word(&it["target"]),
            figure(it["since_unix_ns"].as_f64(), |_| {
                since.map_or_else(String::new, |since| date_time(since / 1_000_000))
            }),
            figure(it["value"].as_f64(), |value| format!("{value:.2}")),
            figure(it["threshold"].as_f64(), |value| format!("{value:.2}")),
        ],
        call: None,
        bad: it["severity"] == "critical",
    }
}

impl Cell {
    fn of(text: &str) -> Self {
        Self {
            text: sanitise(text).into_owned(),
            number: None,
        }
    }
}

fn word(value: &Value) -> Cell {
    Cell::of(value.as_str().unwrap_or("-"))
}

fn party(value: &Value) -> Cell {
    Cell::of(value["name"].as_str().or(value["comm"].as_str()).unwrap_or("-"))
}

fn operation_of(call: &Value) -> Cell {
    let target = ["tool", "prompt", "resource"]
        .iter()
        .find_map(|name| call[name].as_str());
    let method = call["method"].as_str().unwrap_or("-");
    Cell::of(&target.map_or_else(|| method.to_owned(), |target| format!("{method} {target}")))
}

fn amount(value: &Value) -> Cell {
    figure(value.as_f64(), |_| value.to_string())
}

fn figure(number: Option<f64>, show: impl Fn(f64) -> String) -> Cell {
    Cell {
        text: number.map_or_else(|| "-".to_owned(), show),
        number,
    }
}

/// Mean latencies as bars, each relative to the highest.
fn trend(values: &Value) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values: Vec<Option<f64>> = values.as_array().into_iter().flatten().map(Value::as_f64).collect();
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    let bar = |value: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 7")]
        let height = if most > 0.0 {
            (value / most * 7.0).round() as usize
        } else {
            0
        };
        BARS[height.min(7)]
    };
    values.into_iter().map(|value| value.map_or(' ', bar)).collect()
}

/// All lists as plain text.
pub(super) fn text(frame: &Value) -> String {
    let mut out = format!("{}\n", headline(frame));
    for tab in Tab::ALL {
        let rows = tab.rows(frame);
        if rows.is_empty() {
            continue;
        }
        let columns = tab.columns();
        out.push_str(&format!("\n{}\n", tab.title()));
        let titles = columns.iter().map(|column| column.title.to_owned());
        out.push_str(&padded(columns, titles));
        for row in rows {
            out.push_str(&padded(columns, row.cells.into_iter().map(|cell| cell.text)));
        }
    }
    out
}

fn padded(columns: &[Column], cells: impl Iterator<Item = String>) -> String {
    let fields = columns.iter().zip(cells).map(|(it, text)| {
        let width = usize::from(it.width) + if it.grows { 8 } else { 0 };
        if it.right {
            format!("{text:>width$}")
        } else {
            column(&text, width)
        }
    });
    format!("{}\n", fields.collect::<Vec<_>>().join(" ").trim_end())
}

/// The host and the sums.
pub(super) fn headline(frame: &Value) -> String {
    let now = &frame["frame"];
    let operations = now["operations"].as_array().into_iter().flatten();
    let rate: f64 = operations.filter_map(|it| it["per_second"].as_f64()).sum();
    let percent = |value: &Value| {
        value
            .as_f64()
            .map_or_else(|| "-".to_owned(), |share| format!("{:.0}%", share * 100.0))
    };
    let count = |name: &str| now[name].as_array().map_or(0, Vec::len);
    format!(
        "mcpsonar {}  {}  {rate:.1} calls/s  {} open  {} endpoints  {} flags  cpu {}  memory {}",
        sanitise(frame["host"].as_str().unwrap_or("?")),
        frame["at_unix_ms"]
            .as_u64()
            .map_or_else(String::new, |at| time_of_day(at * 1_000_000)),
        now["open_calls"].as_u64().unwrap_or(0),
        count("endpoints"),
        count("flags"),
        percent(&now["host_cpu"]),
        percent(&now["host_memory"]),
    )
}
