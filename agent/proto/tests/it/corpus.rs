//! Sessions of every revision as the SDKs write them: `corpus/*.jsonl`.
//!
//! A line is `> MESSAGE` (client), `< MESSAGE` (server) or `= FIELDS`, which is what the next call
//! that comes out has to look like; `! FAULT` is the next fault. `#` begins a comment.

use std::fs;
use std::path::Path;

use mcp_proto::{Call, Direction, ResultType, Stats};
use serde_json::{Map, Value, json};

use crate::host::Host;

fn describe(call: &Call) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            out.insert(key.to_owned(), value);
        }
    };
    put("id", serde_json::from_str(&call.request_id.0).unwrap());
    put("method", json!(call.method.0));
    put("outcome", json!(call.outcome.code()));
    put("version", json!(call.protocol_version));
    put("client", json!(call.client.name));
    put("server", json!(call.server.name));
    put("tool", json!(call.tool));
    put("prompt", json!(call.prompt));
    put("resource", json!(call.resource));
    put("code", json!(call.error_code));
    put("task", json!(call.task.as_ref().map(|task| &task.id)));
    put(
        "status",
        json!(call.task.as_ref().and_then(|task| task.status.as_ref())),
    );
    put("continues", json!(call.continues.map(|it| it.sequence)));
    put("trace", json!(call.trace_context.as_ref().map(|it| it.trace_id[0])));
    let result_type = call.result_type.as_ref().and_then(|it| match it {
        ResultType::Complete => None,
        ResultType::InputRequired => Some("input_required".to_owned()),
        ResultType::Task => Some("task".to_owned()),
        ResultType::Other(other) => Some(other.to_string()),
    });
    put("result_type", json!(result_type));
    if call.direction == Direction::ServerToClient {
        put("direction", json!("server_to_client"));
    }
    if call.notifications > 0 {
        put("notifications", json!(call.notifications));
    }
    if !call.loss.is_empty() {
        put(
            "loss",
            json!(call.loss.iter().map(|loss| loss.code()).collect::<Vec<_>>()),
        );
    }
    out
}

/// Plays a session, with each message in writes of at most `portion` bytes.
fn play(name: &str, text: &str, portion: usize) -> Stats {
    let mut host = Host::new();
    let mut expected = Vec::new();
    let mut faults = Vec::new();
    for line in text.lines() {
        let (mark, rest) = line.split_at_checked(2).unwrap_or(("", ""));
        match mark {
            "> " | "< " => host.message(mark == "> ", rest, portion),
            "= " => expected.push(serde_json::from_str::<Map<String, Value>>(rest).unwrap()),
            "! " => faults.push(rest.to_owned()),
            "" | "# " => {}
            _ => panic!("{name}: {line}"),
        }
    }
    let stats = host.finish();
    let got: Vec<_> = host.calls.iter().map(describe).collect();
    for (got, expected) in got.iter().zip(&expected) {
        assert_eq!(got, expected, "{name}");
    }
    assert_eq!(got.len(), expected.len(), "{name}");
    let kinds: Vec<_> = host.faults.iter().map(|fault| fault.kind.code()).collect();
    assert_eq!(kinds, faults, "{name}");
    stats
}

#[test]
fn every_session_gives_its_calls() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut sessions = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        for portion in [usize::MAX, 64, 7, 1] {
            let stats = play(&name, &text, portion);
            assert_eq!(stats.bytes_missing + stats.bytes_pending, 0, "{name}");
        }
        sessions += 1;
    }
    assert!(sessions >= 8, "{sessions}");
}
