//! One call on a page: its parts in order, what the server's time was spent on, whom it waited for, and
//! which flags were raised meanwhile.

mod document;
mod spread;

use std::fmt::Write as _;

pub use document::{CallDocument, FlagDocument};

use super::human::{BOLD, Colour, DIM, RED, YELLOW};
use super::text::{column, duration, fit, sanitise, size, time_of_day};
use document::{PartyDocument, SyscallDocument, UpstreamDocument};
use spread::spread;

/// Columns of the bars.
const BAR: usize = 40;
/// Columns of what they are of.
const NAME: usize = 16;
/// Columns of a peer.
const PEER: usize = 40;
/// Blocks of an eighth, two eighths, ... of a column.
const BLOCKS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// The page of a call, with the flags that were raised while it was on.
#[must_use]
pub fn waterfall(call: &CallDocument, flags: &[FlagDocument], colour: Colour) -> String {
    let mut page = Page {
        text: String::new(),
        colour,
    };
    page.head(call);
    page.parts(call);
    page.causes(call);
    page.upstreams(&call.upstreams);
    page.syscalls(&call.syscalls);
    page.resources(call);
    page.flags(flags);
    page.text
}

struct Page {
    text: String,
    colour: Colour,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn title(&mut self, title: &str) {
        self.text.push('\n');
        let title = self.colour.paint(BOLD, title.to_owned());
        self.line(&title);
    }

    fn head(&mut self, call: &CallDocument) {
        let about = call
            .tool
            .as_deref()
            .or(call.prompt.as_deref())
            .or(call.resource.as_deref());
        let operation = format!("{} {}", sanitise(&call.method), sanitise(about.unwrap_or_default()));
        let operation = self.colour.paint(BOLD, operation);
        let latency = call.latency_us.map_or_else(|| "-".to_owned(), duration);
        let code = call.error_code.map_or_else(String::new, |code| format!(" {code}"));
        let mut outcome = format!("{}{code}", call.outcome);
        if call.outcome != "ok" {
            outcome = self.colour.paint(RED, outcome);
        }
        let at = call
            .start_unix_ns
            .map_or_else(String::new, |at| format!(" at {} UTC", time_of_day(at)));
        self.line(&format!("{operation}  {outcome} in {latency}{at}"));
        let arrow = if call.direction == "server_to_client" {
            "←"
        } else {
            "→"
        };
        let [client, server] = [&call.client, &call.server].map(|party| who(party.as_ref()));
        let sizes = format!(
            "{} asked, {} answered",
            size(call.request_bytes),
            size(call.response_bytes)
        );
        self.line(&format!("{client} {arrow} {server} over {}, {sizes}", call.transport));
        let ids = format!("call {}  trace {}  id {}", call.call, call.trace_id, call.request_id);
        let ids = self.colour.paint(DIM, sanitise(&ids).into_owned());
        self.line(&ids);
        if !call.loss.is_empty() {
            let loss = format!("incomplete: {}", call.loss.join(", "));
            let loss = self.colour.paint(YELLOW, loss);
            self.line(&loss);
        }
    }

    fn parts(&mut self, call: &CallDocument) {
        let parts = &call.parts_us;
        let parts = [
            ("request queue", parts.request_queue),
            ("server", parts.server),
            ("response queue", parts.response_queue),
            ("transfer", parts.transfer),
        ];
        let all: f64 = parts.iter().filter_map(|(_, part)| *part).sum();
        self.title("Where the time went");
        let mut before = 0.0;
        for (name, part) in parts {
            let Some(part) = part else {
                self.line(&format!("  {} not seen", column(name, NAME)));
                continue;
            };
            self.bar(name, before, part, all, "");
            before += part;
        }
    }

    fn causes(&mut self, call: &CallDocument) {
        let mut causes: Vec<(&str, f64)> = call.causes_us.known().collect();
        if causes.is_empty() {
            if call.parts_us.server.is_some() {
                self.title("What the server did is not known: its time was not accounted for");
            }
            return;
        }
        let all: f64 = causes.iter().map(|(_, us)| us).sum();
        causes.sort_by(|a, b| b.1.total_cmp(&a.1));
        self.title("What the server's time was spent on");
        for (name, us) in causes.into_iter().filter(|(_, us)| *us > 0.0) {
            let note = if call.dominant_cause.as_deref() == Some(name) {
                "  dominant"
            } else {
                ""
            };
            self.bar(&name.replace('_', " "), 0.0, us, all, note);
        }
        if call.shared_window {
            let note = "  Other calls overlap this one: only what the thread that served it did is its own.";
            let note = self.colour.paint(YELLOW, note.to_owned());
            self.line(&note);
        }
    }

    fn bar(&mut self, name: &str, before: f64, part: f64, all: f64, note: &str) {
        let share = if all > 0.0 { part / all } else { 0.0 };
        let bar = bar(before, part, all);
        let took = duration(part);
        let percent = share * 100.0;
        self.line(&format!(
            "  {} {bar} {took:>8} {percent:>5.1} %{note}",
            column(name, NAME)
        ));
    }

    fn upstreams(&mut self, upstreams: &[UpstreamDocument]) {
        if upstreams.is_empty() {
            return;
        }
        self.title("Whom the server waited for");
        for upstream in upstreams {
            let mut notes = Vec::new();
            if let Some(address) = upstream.address.as_deref().filter(|address| *address != upstream.peer) {
                notes.push(format!("at {}", sanitise(address)));
            }
            if let Some(us) = upstream.connect_us {
                notes.push(format!("connected in {}", duration(us)));
            }
            if let Some(us) = upstream.first_byte_us {
                notes.push(format!("first byte after {}", duration(us)));
            }
            if upstream.bytes > 0 {
                notes.push(size(upstream.bytes));
            }
            if let Some(status) = upstream.exit_status {
                notes.push(format!("exit status {status}"));
            }
            self.line(&format!(
                "  {} {} {:>8}  {}",
                column(upstream.kind.as_deref().unwrap_or_default(), NAME),
                column(&upstream.peer, PEER),
                duration(upstream.us),
                notes.join(", ")
            ));
        }
    }

    fn syscalls(&mut self, syscalls: &[SyscallDocument]) {
        if syscalls.is_empty() {
            return;
        }
        self.title("System calls that took longest, in all threads");
        for syscall in syscalls {
            let times = if syscall.count == 1 { "time" } else { "times" };
            let each = spread(&syscall.durations);
            self.line(&format!(
                "  {} {:>8}  {} {times}  {each}",
                column(&syscall.name, NAME),
                duration(syscall.us),
                syscall.count
            ));
        }
    }

    fn resources(&mut self, call: &CallDocument) {
        let Some(used) = &call.resources else { return };
        self.title("What the server's process used meanwhile");
        self.line(&format!(
            "  {} of CPU in all threads, {} major page faults, {} read and written on MCP streams",
            duration(used.cpu_us),
            used.major_faults,
            size(used.stream_bytes)
        ));
    }

    fn flags(&mut self, flags: &[FlagDocument]) {
        if flags.is_empty() {
            return;
        }
        self.title("Flags that were raised then");
        for flag in flags {
            let name = flag.name.as_deref().map_or_else(String::new, |name| format!(" {name}"));
            let line = format!(
                "  {} ({}){}: {}",
                flag.flag,
                flag.severity,
                fit(&name, PEER),
                sanitise(&flag.title)
            );
            self.line(&line);
            let advice = self.colour.paint(DIM, format!("    {}", sanitise(&flag.advice)));
            self.line(&advice);
        }
    }
}

fn who(party: Option<&PartyDocument>) -> String {
    let Some(party) = party else {
        return "an unseen end".to_owned();
    };
    let name = party.name.as_deref().or(party.comm.as_deref()).unwrap_or("?");
    let mut out = fit(name, PEER);
    if let Some(pid) = party.pid {
        // A String takes whatever it is given.
        write!(out, "[{pid}]").unwrap_or_default();
    }
    out
}

/// `part` of `all`, `before` from its beginning, as a bar of [`BAR`] columns; what is not nothing shows.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a few hundred eighths"
)]
fn bar(before: f64, part: f64, all: f64) -> String {
    let eighths = (BAR * 8) as f64;
    let scaled = |value: f64| if all > 0.0 { value / all * eighths } else { 0.0 };
    let mut start = (scaled(before).round() as usize / 8).min(BAR);
    let mut length = (scaled(part).round() as usize).min(BAR * 8);
    if part > 0.0 {
        start = start.min(BAR - 1);
        length = length.clamp(1, (BAR - start) * 8);
    }
    let mut out = " ".repeat(start);
    out.extend(std::iter::repeat_n(BLOCKS[7], length / 8));
    if !length.is_multiple_of(8) {
        out.push(BLOCKS[length % 8 - 1]);
    }
    let used = start + length.div_ceil(8);
    out.extend(std::iter::repeat_n(' ', BAR - used));
    out
}

#[cfg(test)]
mod tests;
