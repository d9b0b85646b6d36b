use std::sync::{Arc, Mutex};

use mcp_proto::{Call, Loss, Outcome, Transport};

use super::*;
use crate::calls::record::tests::{call, network, record, record_over};

/// Memory that a test can still read after it was handed to a sink.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    pub(crate) fn writer(&self) -> LineWriter {
        LineWriter::spawn("memory", self.clone(), WhenFull::Wait).unwrap()
    }
}

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn with(change: impl FnOnce(&mut Call)) -> CallRecord {
    let mut call = call();
    change(&mut call);
    record(call)
}

fn fault() -> FaultRecord {
    FaultRecord {
        fault: "stdout_pollution",
        at_unix_ns: 0,
        at_mono_ns: 0,
        pid: Some(2),
        comm: Some("py\x1bx".into()),
        bytes: 12,
    }
}

fn human(records: &[CallRecord], colour: Colour, losses: &Losses) -> String {
    let shared = Shared::default();
    let mut sink = Human::new(shared.writer(), colour);
    for record in records {
        sink.call(record).unwrap();
    }
    sink.fault(&fault()).unwrap();
    sink.finish(losses).unwrap();
    shared.text()
}

#[test]
fn lines_of_json() {
    let shared = Shared::default();
    let mut sink = JsonLines::new(shared.writer());
    sink.call(&record(call())).unwrap();
    sink.fault(&fault()).unwrap();
    sink.call(&with(|call| call.tool = Some("a\nb".into()))).unwrap();
    sink.finish(&Losses::default()).unwrap();
    let text = shared.text();
    let calls: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[1]["tool"], "a\nb");
}

#[test]
fn lines_for_people() {
    let error = with(|call| {
        call.outcome = Outcome::RpcError;
        call.error_code = Some(-32602);
        call.loss = vec![Loss::Gap];
    });
    let mut losses = Losses::default();
    losses.add("ring_dropped", 3);
    let text = human(&[record(call()), error], Colour::Off, &losses);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("TIME (UTC)   CLIENT → SERVER"), "{text}");
    let expected = "00:00:00.001 host           → python         stdio   tools/call echo                  \
                    42.0us (queue 0.001 server 0.04 back 0.001 xfer 0.002)    ok               100B→2.00K";
    assert_eq!(lines[1], expected);
    assert!(lines[2].contains("rpc_error -32602"), "{text}");
    assert!(lines[2].ends_with("incomplete: gap"), "{text}");
    assert!(lines[3].contains("py\u{fffd}x[2]: stdout_pollution (12B)"), "{text}");
    for part in [
        "2 calls: 1 ok, 1 rpc_error -32602",
        "slowest:",
        "broken protocol: 1: 1 stdout_pollution",
        "lost: 1 calls incomplete; ring_dropped=3",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!text.contains('\x1b'));
}

#[test]
fn how_a_call_travels() {
    let over = |transport, outcome, status| {
        let mut call = call();
        (call.transport, call.outcome, call.http_status) = (transport, outcome, status);
        call
    };
    let records = [
        record(over(Transport::Http, Outcome::Ok, Some(200))),
        record_over(over(Transport::Http, Outcome::HttpError, Some(404)), Some(network())),
        record_over(over(Transport::Sse, Outcome::Ok, Some(202)), Some(network())),
        record(over(Transport::WebSocket, Outcome::HttpError, None)),
    ];
    let text = human(&records, Colour::Off, &Losses::default());
    let lines: Vec<_> = text.lines().collect();
    for (line, via, outcome) in [
        (1, "http", "ok"),
        (2, "https", "http_error 404"),
        (3, "sse/tls", "ok"),
        (4, "ws", "http_error"),
    ] {
        assert!(lines[line].contains(&format!(" {via:<7} tools/call ")), "{text}");
        assert!(lines[line].contains(&format!(" {outcome:<16} 100B")), "{text}");
    }
    assert!(text.contains("1 http_error 404"), "{text}");
}

#[test]
fn colours_keep_the_columns() {
    let coloured = human(&[record(call())], Colour::On, &Losses::default());
    assert!(coloured.contains("\x1b[32mok\x1b[0m"), "{coloured}");
    let mut plain = coloured;
    while let Some(start) = plain.find('\x1b') {
        let end = start + plain[start..].find('m').unwrap();
        plain.replace_range(start..=end, "");
    }
    assert_eq!(plain, human(&[record(call())], Colour::Off, &Losses::default()));
}

#[test]
fn names_from_the_wire_are_harmless() {
    let evil = "\x1b]0;x\x07\u{9b}2J\r\n\u{202e}";
    let nasty = with(|call| {
        call.tool = Some(evil.into());
        call.server.name = Some(evil.into());
        call.method.0 = evil.into();
    });
    let text = human(&[nasty], Colour::Off, &Losses::default());
    let controls: Vec<_> = text.chars().filter(|c| c.is_control() && *c != '\n').collect();
    assert!(controls.is_empty(), "{controls:?}");
    assert!(!text.contains('\u{202e}'));
    assert_eq!(
        text.lines().filter(|line| line.contains("\u{fffd}]0;x")).count(),
        3,
        "call, row and slowest: {text}"
    );
}

#[test]
fn percentiles_and_bounds() {
    let mut records: Vec<_> = (1..=100u64)
        .map(|n| {
            with(|call| {
                if let Some(response) = &mut call.response {
                    response.last_read = Some(10_000 + n * 1_000_000);
                }
            })
        })
        .collect();
    records.extend((0..500).map(|n| with(|call| call.tool = Some(format!("tool{n}").into()))));
    let text = human(&records, Colour::Off, &Losses::default());
    let row = text
        .lines()
        .find(|line| line.starts_with("python") && line.contains(" echo "))
        .unwrap();
    let columns: Vec<_> = row.split_whitespace().rev().take(3).collect();
    assert_eq!(columns[0], "100ms", "{row}");
    let p95: f64 = columns[1].trim_end_matches("ms").parse().unwrap();
    let p50: f64 = columns[2].trim_end_matches("ms").parse().unwrap();
    assert!((p50 - 50.0).abs() < 1.5 && (p95 - 95.0).abs() < 3.0, "{row}");
    assert!(text.lines().any(|line| line.starts_with("_OTHER")), "{text}");
    assert!(text.lines().filter(|line| line.starts_with("python")).count() <= 200);
}

#[test]
fn a_failing_output_does_not_starve_the_others() {
    struct Broken;
    impl io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let shared = Shared::default();
    let mut outputs = Outputs::default();
    outputs.add(JsonLines::new(
        LineWriter::spawn("stdout", Broken, WhenFull::Wait).unwrap(),
    ));
    outputs.add(JsonLines::new(shared.writer()));
    // Whether the first one already knows is a matter of timing; at the end it must.
    let early = outputs.call(&record(call()));
    assert!(matches!(early, Ok(()) | Err(OutputError::Closed { .. })));
    let error = outputs.finish(&mut Losses::default()).unwrap_err();
    assert!(
        matches!(&error, OutputError::Closed { output } if output == "stdout"),
        "{error}"
    );
    assert_eq!(shared.text().lines().count(), 1);
}
