//! One aligned line a call, and a summary at the end, for people.

use std::io;

use mcp_proto::{Direction, Outcome};

use super::{
    LineWriter, Losses, Sink,
    summary::{Summary, operation, outcome_label},
    text::{column, duration, fit, size, time_of_day},
};
use crate::calls::{CallRecord, FaultRecord, Parts, Party};

/// Columns of a name.
const NAME: usize = 14;
/// Columns of how it travels.
const VIA: usize = 7;
/// Columns of method and target.
const OPERATION: usize = 30;
/// Columns of the parts of the latency.
const PARTS: usize = 50;
/// Columns of the outcome.
const OUTCOME: usize = 16;
/// Columns of the sizes.
const SIZES: usize = 13;

pub(super) const BOLD: &str = "1";
pub(super) const DIM: &str = "2";
pub(super) const RED: &str = "31";
const GREEN: &str = "32";
pub(super) const YELLOW: &str = "33";

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// With escape sequences.
    On,
    /// Plain.
    Off,
}

impl Colour {
    /// The text, in this colour if there are any.
    pub(super) fn paint(self, code: &str, text: String) -> String {
        if self == Self::Off {
            return text;
        }
        // The spaces stay outside, so that trailing ones can be trimmed.
        let word = text.trim_end();
        format!("\x1b[{code}m{word}\x1b[0m{}", &text[word.len()..])
    }
}

/// Writes calls as lines for people.
#[derive(Debug)]
pub struct Human {
    out: LineWriter,
    colour: Colour,
    summary: Summary,
    began: bool,
}

impl Human {
    /// Lines for people to `out`.
    #[must_use]
    pub fn new(out: LineWriter, colour: Colour) -> Self {
        Self {
            out,
            colour,
            summary: Summary::default(),
            began: false,
        }
    }

    fn line(&mut self, line: String) -> io::Result<()> {
        if !self.began {
            self.began = true;
            let header = self.paint(BOLD, header());
            self.out.write(format!("{header}\n").into_bytes())?;
        }
        let mut line = line.into_bytes();
        line.push(b'\n');
        self.out.write(line)
    }

    fn render(&self, call: &CallRecord) -> String {
        let time = call.start_unix_ns.map_or_else(|| "-".to_owned(), time_of_day);
        let arrow = match call.direction {
            Direction::ClientToServer => '→',
            Direction::ServerToClient => '←',
        };
        let [client, server] = [&call.client, &call.server].map(|party| column(label(party.as_ref()), NAME));
        let latency = call.latency_us.map_or_else(|| "-".to_owned(), duration);
        let sizes = format!("{}→{}", size(call.request_bytes), size(call.response_bytes));
        let outcome = self.paint(colour_of(call.outcome), column(&outcome_label(call), OUTCOME));
        let parts = self.paint(DIM, column(&parts(&call.parts_us), PARTS));
        let operation = column(&operation(call), OPERATION);
        let mut line = format!(
            "{time:<12} {client} {arrow} {server} {} {operation} {latency:>8} {parts} {outcome} {}",
            column(via(call), VIA),
            column(&sizes, SIZES),
        );
        if !call.loss.is_empty() {
            let codes: Vec<_> = call.loss.iter().map(|loss| loss.code()).collect();
            line.push_str(&self.paint(YELLOW, format!(" incomplete: {}", codes.join(","))));
        }
        line.truncate(line.trim_end().len());
        line
    }

    fn paint(&self, code: &str, text: String) -> String {
        self.colour.paint(code, text)
    }
}

impl Sink for Human {
    fn name(&self) -> &str {
        self.out.name()
    }

    fn call(&mut self, call: &CallRecord) -> io::Result<()> {
        self.summary.call(call);
        let line = self.render(call);
        self.line(line)
    }

    fn fault(&mut self, fault: &FaultRecord) -> io::Result<()> {
        self.summary.fault(fault);
        let who = fit(fault.comm.as_deref().unwrap_or("?"), NAME);
        let pid = fault.pid.map_or_else(String::new, |pid| format!("[{pid}]"));
        let text = format!(
            "{:<12} {who}{pid}: {} ({})",
            time_of_day(fault.at_unix_ns),
            fault.fault,
            size(fault.bytes)
        );
        let line = self.paint(YELLOW, text);
        self.line(line)
    }

    fn finish(&mut self, losses: &Losses) -> io::Result<()> {
        let summary = self.summary.render(losses);
        self.out.write(summary.into_bytes())?;
        self.out.finish()
    }

    fn dropped(&self) -> u64 {
        self.out.dropped()
    }
}

fn header() -> String {
    format!(
        "{:<12} {} {} {} {:>8} {} {} REQ→RESP",
        "TIME (UTC)",
        column("CLIENT → SERVER", 2 * NAME + 3),
        column("VIA", VIA),
        column("METHOD", OPERATION),
        "LATENCY",
        column("PARTS (ms)", PARTS),
        column("OUTCOME", OUTCOME),
    )
}

/// How messages travel, by the scheme that a URL would have.
fn via(call: &CallRecord) -> &'static str {
    match (call.transport, call.tls) {
        ("http", true) => "https",
        ("sse", true) => "sse/tls",
        ("websocket", false) => "ws",
        ("websocket", true) => "wss",
        (transport, _) => transport,
    }
}

fn label(party: Option<&Party>) -> &str {
    party.and_then(Party::label).unwrap_or("?")
}

fn parts(parts: &Parts) -> String {
    let Parts {
        request_queue,
        server,
        response_queue,
        transfer,
    } = *parts;
    let part = |micros: Option<f64>| micros.map_or_else(|| "-".to_owned(), millis);
    format!(
        "(queue {} server {} back {} xfer {})",
        part(request_queue),
        part(server),
        part(response_queue),
        part(transfer)
    )
}

/// Milliseconds without a unit, as few digits as tell something.
fn millis(micros: f64) -> String {
    let millis = micros / 1e3;
    match millis {
        ms if ms < 0.0005 => "0".to_owned(),
        ms if ms < 0.0095 => format!("{ms:.3}"),
        ms if ms < 9.95 => format!("{ms:.2}"),
        ms if ms < 99.5 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

fn colour_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => GREEN,
        Outcome::ToolError | Outcome::RpcError | Outcome::HttpError | Outcome::ClientExit | Outcome::ServerExit => RED,
        Outcome::Cancelled | Outcome::Abandoned | Outcome::Pending => YELLOW,
    }
}
