//! One call: where its time went, and why.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _};
use std::path::Path;

use serde::Deserialize as _;
use serde_json::Value;

use super::ask::{ask_all, escape};
use super::outputs::{colour, no_color};
use super::pages::print;
use super::{ExplainArgs, Failure, replay};
use crate::calls::recording::{RecordingReader, is_recording};
use crate::calls::{CallRecord, FaultRecord};
use crate::sink::{CallDocument, FlagDocument, Losses, Outputs, Sink, waterfall};

/// Explains the call of which the id begins as asked, or the slowest.
///
/// # Errors
/// When a file cannot be read, or no call or more than one is meant.
pub(super) fn run(args: &ExplainArgs) -> Result<u8, Failure> {
    let Some(from) = &args.from else {
        return explain(args, &asked(args)?);
    };
    let calls = calls(from)?;
    let (line, call) = find(&calls, &args.call, from)?;
    let flags = match &args.events {
        Some(path) => active(&lines(path)?, &call).into_iter().map(|(line, _)| line).collect(),
        None => Vec::new(),
    };
    let mut line = line.clone();
    line["flags"] = Value::Array(flags);
    explain(args, &line)
}

/// The call with its flags, as the agent knows it.
fn asked(args: &ExplainArgs) -> Result<Value, Failure> {
    let answer = ask_all(&args.config, &format!("/v1/calls/{}", escape(&args.call)))?;
    serde_json::from_slice(&answer).map_err(|error| Failure::Io {
        what: "the agent's answer is not understood".to_owned(),
        source: error.into(),
    })
}

/// Prints a call that has its flags with it.
fn explain(args: &ExplainArgs, line: &Value) -> Result<u8, Failure> {
    let text = if args.json {
        format!("{line}\n")
    } else {
        let call = CallDocument::deserialize(line)
            .map_err(|error| Failure::Usage(format!("a call is not understood: {error}")))?;
        let flags = line["flags"].as_array().into_iter().flatten();
        let flags: Vec<_> = flags.filter_map(|flag| FlagDocument::deserialize(flag).ok()).collect();
        let colour = colour(args.color, io::stdout().is_terminal(), no_color());
        waterfall(&call, &flags, colour)
    };
    print(text.as_bytes()).map(|()| 0)
}

fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    let file = File::open(path).map_err(|source| cannot_read(path, source))?;
    Ok(BufReader::with_capacity(256 << 10, file))
}

fn cannot_read(path: &Path, source: io::Error) -> Failure {
    Failure::File {
        action: "read calls from the file",
        path: path.to_owned(),
        source,
    }
}

/// The calls of a file: a recording, or what `trace --json` has written.
fn calls(path: &Path) -> Result<Vec<Value>, Failure> {
    let mut file = open(path)?;
    let beginning = file.fill_buf().map_err(|source| cannot_read(path, source))?;
    if !is_recording(beginning) {
        return parse(file, path);
    }
    let mut outputs = Outputs::default();
    let (collected, collector) = std::sync::mpsc::channel();
    outputs.add(Collector(collected));
    replay::replay(&mut RecordingReader::new(file)?, &mut outputs, &mut Losses::default())?;
    drop(outputs);
    Ok(collector.into_iter().collect())
}

fn lines(path: &Path) -> Result<Vec<Value>, Failure> {
    parse(open(path)?, path)
}

/// Lines that are not JSON, as the last one of a trace that goes on, are left out.
fn parse(file: impl BufRead, path: &Path) -> Result<Vec<Value>, Failure> {
    let mut values = Vec::new();
    for line in file.lines() {
        let line = line.map_err(|source| cannot_read(path, source))?;
        values.extend(serde_json::from_str::<Value>(&line).ok());
    }
    Ok(values)
}

/// The call that is meant, as it was written and as it is shown.
fn find<'a>(calls: &'a [Value], wanted: &str, path: &Path) -> Result<(&'a Value, CallDocument), Failure> {
    let is_call = |line: &&Value| line["call"].is_string();
    let none = |what: String| Failure::Usage(format!("{what} in {}", path.display()));
    let found = if wanted == "slowest" {
        let latency = |line: &&Value| line["latency_us"].as_f64().unwrap_or(0.0);
        let slowest = calls
            .iter()
            .filter(is_call)
            .max_by(|a, b| latency(a).total_cmp(&latency(b)));
        slowest.ok_or_else(|| none("there is no call".to_owned()))?
    } else {
        let begins = |line: &&Value| line["call"].as_str().is_some_and(|id| id.starts_with(wanted));
        let mut matching = calls.iter().filter(begins);
        match (matching.next(), matching.count()) {
            (Some(call), 0) => call,
            (Some(_), more) => {
                let all = more + 1;
                return Err(none(format!(
                    "{all} calls have ids that begin with {wanted}: give more of it"
                )));
            }
            (None, _) => return Err(none(format!("no call has the id {wanted}"))),
        }
    };
    let document =
        CallDocument::deserialize(found).map_err(|error| none(format!("a call is not understood ({error})")))?;
    Ok((found, document))
}

/// The flags that were raised at any time during the call, by their latest event.
fn active(events: &[Value], call: &CallDocument) -> Vec<(Value, FlagDocument)> {
    let Some(start) = call.start_mono_ns else {
        return Vec::new();
    };
    let latency = std::time::Duration::from_secs_f64(call.latency_us.unwrap_or(0.0).max(0.0) / 1e6);
    let end = start.saturating_add(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    let mut active: Vec<(Value, FlagDocument)> = Vec::new();
    for event in events {
        let Ok(flag) = FlagDocument::deserialize(event) else {
            continue;
        };
        if flag.since_mono_ns > end || !flag.concerns(call) {
            continue;
        }
        if flag.event == "cleared" && flag.at_mono_ns < start {
            active.retain(|(_, earlier)| !earlier.is_same(&flag));
        } else if flag.event != "cleared" && flag.at_mono_ns <= end {
            active.retain(|(_, earlier)| !earlier.is_same(&flag));
            active.push((event.clone(), flag));
        }
    }
    active
}

/// Keeps the calls of a recording.
#[derive(Debug)]
struct Collector(std::sync::mpsc::Sender<Value>);

impl Sink for Collector {
    fn name(&self) -> &'static str {
        "the explanation"
    }

    fn call(&mut self, call: &CallRecord) -> io::Result<()> {
        // The receiver outlives it.
        self.0.send(serde_json::to_value(call)?).map_err(io::Error::other)
    }

    fn fault(&mut self, _fault: &FaultRecord) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _losses: &Losses) -> io::Result<()> {
        Ok(())
    }

    fn dropped(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(id: &str, latency: f64) -> Value {
        json!({
            "call": id, "trace_id": "", "transport": "stdio", "direction": "client_to_server", "method": "ping",
            "request_id": 1, "start_mono_ns": 1000, "latency_us": latency, "parts_us": {}, "outcome": "ok",
            "request_bytes": 1, "response_bytes": 1,
        })
    }

    #[test]
    fn a_call_by_the_beginning_of_its_id() {
        let calls = [
            call("ab12", 1.0),
            json!({ "fault": "x" }),
            call("ab34", 9.0),
            call("cd", 2.0),
        ];
        let id = |wanted: &str| find(&calls, wanted, Path::new("f")).map(|(_, call)| call.call);
        assert_eq!(id("ab1").unwrap(), "ab12");
        assert_eq!(id("slowest").unwrap(), "ab34");
        assert_eq!(
            id("ab").unwrap_err().to_string(),
            "2 calls have ids that begin with ab: give more of it in f"
        );
        assert_eq!(id("x").unwrap_err().to_string(), "no call has the id x in f");
    }

    #[test]
    fn flags_of_the_time_of_the_call() {
        let call = CallDocument::deserialize(&call("ab", 1.0)).unwrap();
        let event = |event: &str, flag: &str, since: u64, at: u64| {
            json!({
                "event": event, "flag": flag, "severity": "warning", "title": "", "subject": { "kind": "host" },
                "name": null, "advice": "", "since_mono_ns": since, "at_mono_ns": at,
            })
        };
        let events = [
            event("raised", "over", 10, 10),
            event("cleared", "over", 10, 900),
            event("raised", "before", 10, 10),
            event("raised", "during", 1500, 1500),
            event("cleared", "during", 1500, 1600),
            event("raised", "after", 2500, 2500),
        ];
        let active = active(&events, &call);
        let flags: Vec<_> = active.iter().map(|(_, flag)| &*flag.flag).collect();
        assert_eq!(flags, ["before", "during"]);
    }
}
