use serde_json::json;

use super::*;

fn call() -> serde_json::Value {
    json!({
        "call": "0123456789abcdef", "trace_id": "ab".repeat(16), "transport": "stdio",
        "direction": "client_to_server", "method": "tools/call", "tool": "fetch\u{1b}[2J",
        "request_id": 3, "client": { "pid": 7, "name": null, "comm": "claude" },
        "server": { "pid": 8, "name": "weather", "comm": "node" },
        "start_unix_ns": 1_000_000_000u64, "start_mono_ns": 1000, "latency_us": 400_000.0,
        "parts_us": { "request_queue": 100_000.0, "server": 300_000.0, "response_queue": 0.0, "transfer": null },
        "outcome": "tool_error", "error_code": null, "request_bytes": 10, "response_bytes": 2000,
        "causes_us": { "on_cpu": 60_000.0, "upstream": 240_000.0, "disk": 0.0, "unknown": null },
        "dominant_cause": "upstream", "shared_window": true, "loss": ["gap"],
        "upstreams": [
            { "peer": "api.example.com", "kind": "connection", "address": "192.0.2.7:443", "us": 200_000.0,
              "bytes": 1300, "connect_us": 1200.0, "first_byte_us": 190_000.0, "exit_status": null },
            { "peer": "sh", "kind": "process", "address": null, "us": 40_000.0, "bytes": 0,
              "connect_us": null, "first_byte_us": null, "exit_status": 3 },
        ],
        "syscalls": [
            { "name": "epoll_wait", "count": 9, "us": 230_000.0,
              "durations": [{ "below_us": 1.024, "count": 1 }, { "below_us": 4.096, "count": 8 }] },
            { "name": "read", "count": 1, "us": 3.0 },
        ],
        "resources": { "cpu_us": 61_000.0, "major_faults": 2, "stream_bytes": 2010 },
    })
}

fn flag(subject: &serde_json::Value) -> FlagDocument {
    serde_json::from_value(json!({
        "event": "raised", "flag": "host_cpu", "severity": "critical", "title": "Host CPU is short",
        "subject": subject, "name": null, "advice": "Find what uses it.", "since_mono_ns": 1, "at_mono_ns": 1,
    }))
    .unwrap()
}

#[test]
fn everything_is_on_the_page() {
    let call = serde_json::from_value(call()).unwrap();
    let page = waterfall(&call, &[flag(&json!({ "kind": "host" }))], Colour::Off);
    let expected = "\
tools/call fetch\u{fffd}[2J  tool_error in 400ms at 00:00:01.000 UTC
claude[7] → weather[8] over stdio, 10B asked, 2.00K answered
call 0123456789abcdef  trace abababababababababababababababab  id 3
incomplete: gap

Where the time went
  request queue    ██████████                                  100ms  25.0 %
  server                     ██████████████████████████████    300ms  75.0 %
  response queue                                                 0us   0.0 %
  transfer         not seen

What the server's time was spent on
  upstream         ████████████████████████████████            240ms  80.0 %  dominant
  on cpu           ████████                                   60.0ms  20.0 %
  Other calls overlap this one: only what the thread that served it did is its own.

Whom the server waited for
  connection       api.example.com                             200ms  at 192.0.2.7:443, connected in 1.20ms, \
first byte after 190ms, 1.30K
  process          sh                                         40.0ms  exit status 3

System calls that took longest, in all threads
  epoll_wait          230ms  9 times  0.51us ▁ █ 4.10us
  read               3.00us  1 time

What the server's process used meanwhile
  61.0ms of CPU in all threads, 2 major page faults, 2.01K read and written on MCP streams

Flags that were raised then
  host_cpu (critical): Host CPU is short
    Find what uses it.
";
    assert_eq!(page, expected);
}

#[test]
fn a_call_without_anything_has_a_page() {
    let mut call = call();
    for field in [
        "latency_us",
        "causes_us",
        "client",
        "server",
        "resources",
        "start_unix_ns",
    ] {
        call.as_object_mut().unwrap().remove(field);
    }
    call["parts_us"] = json!({});
    let page = waterfall(&serde_json::from_value(call).unwrap(), &[], Colour::On);
    assert!(page.contains("an unseen end → an unseen end"), "{page}");
    assert_eq!(page.matches("not seen").count(), 4);
}

#[test]
fn bars_fill_their_columns() {
    use unicode_width::UnicodeWidthStr as _;
    for (before, part, all) in [
        (0.0, 0.0, 0.0),
        (0.0, 1.0, 1.0),
        (1.0, 1e-9, 1.0),
        (0.3, 0.7, 1.0),
        (0.999, 0.001, 1.0),
    ] {
        assert_eq!(bar(before, part, all).width(), BAR, "{before} {part} {all}");
    }
    assert!(bar(1.0, 1e-9, 1.0).ends_with('▏'));
}

#[test]
fn flags_of_others_do_not_concern_a_call() {
    let call = serde_json::from_value(call()).unwrap();
    let concerns = |subject| flag(&subject).concerns(&call);
    assert!(concerns(json!({ "kind": "host" })));
    assert!(concerns(json!({ "kind": "process", "pid": 8 })));
    assert!(!concerns(json!({ "kind": "process", "pid": 9 })));
    assert!(concerns(json!({ "kind": "server", "server": "weather" })));
    assert!(!concerns(
        json!({ "kind": "tool", "server": "weather", "tool": "other" })
    ));
    assert!(!concerns(json!({ "kind": "group", "client_pid": 7 })));
}
