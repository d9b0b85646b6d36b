use std::{fs, path::PathBuf};

use agent_abi::{Kind, flags};
use serde_json::Value;

use super::*;
use crate::{
    calls::recording::{RecordingError, RecordingHeader, RecordingWriter},
    cli::{FormatArgs, OtlpArgs},
    host::{ClockOffset, ProcessFacts},
};

const REQUEST: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":\
    {\"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\"clientInfo\":{\"name\":\"c\",\"version\":\"1\"}}}\n";
const RESPONSE: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\
    {\"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\"serverInfo\":{\"name\":\"s\",\"version\":\"2\"}}}\n";

/// A data record, field by field as the kernel lays it out.
fn data(tgid: u32, stream: u64, reader: bool, at: u64, len: u64, payload: &[u8]) -> Vec<u8> {
    let side = if reader { flags::READ } else { 0 };
    let header = [Kind::Data as u32, u32::try_from(payload.len()).unwrap(), tgid, tgid];
    let numbers = [stream, stream, 0, 1000 + stream, at, at + 10_000, 0, len];
    let tail = [0, side | flags::FIRST | flags::LAST];
    let mut bytes: Vec<u8> = header.iter().flat_map(|n| n.to_ne_bytes()).collect();
    bytes.extend(numbers.iter().flat_map(|n| n.to_ne_bytes()));
    bytes.extend(tail.iter().flat_map(|n: &u32| n.to_ne_bytes()));
    bytes.extend([0; size_of::<agent_abi::Totals>() + size_of::<agent_abi::Tcp>()]);
    assert_eq!(bytes.len(), size_of::<agent_abi::DataRecord>());
    bytes.extend(payload);
    bytes
}

/// One call between pids 10 and 20, over two pipes.
fn recording() -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = RecordingHeader::new("6.1".into(), "boot".into(), ClockOffset(0), vec![]);
    let mut writer = RecordingWriter::new(&mut bytes, &header).unwrap();
    writer.preexisting([5]).unwrap();
    for (pid, comm) in [(10, "client"), (20, "server")] {
        writer
            .facts(&ProcessFacts {
                pid,
                comm: Some(comm.into()),
                ..ProcessFacts::default()
            })
            .unwrap();
    }
    let (request, response) = (REQUEST.len() as u64, RESPONSE.len() as u64);
    writer.record(&data(10, 1, false, 1_000_000, request, REQUEST)).unwrap();
    writer.record(&data(20, 1, true, 1_020_000, request, b"")).unwrap();
    writer
        .record(&data(20, 2, false, 2_000_000, response, RESPONSE))
        .unwrap();
    writer.record(&data(10, 2, true, 2_020_000, response, b"")).unwrap();
    let mut losses = Losses::default();
    losses.add("ring_dropped", 1);
    writer.losses(&losses).unwrap();
    writer.finish().unwrap();
    bytes
}

/// What `replay --json` makes of a file, and how it ends.
fn replayed(recording: &[u8]) -> (Vec<Value>, Result<u8, Failure>) {
    let dir = tempfile::tempdir().unwrap();
    let [file, output]: [PathBuf; 2] = ["in", "out"].map(|name| dir.path().join(name));
    fs::write(&file, recording).unwrap();
    let format = FormatArgs {
        json: true,
        output: Some(output.clone()),
        ..FormatArgs::default()
    };
    let result = run(&ReplayArgs {
        file,
        format,
        otlp: OtlpArgs::default(),
    });
    let lines = fs::read_to_string(output).unwrap_or_default();
    (
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        result,
    )
}

#[test]
fn a_recording_gives_its_calls() {
    let (calls, result) = replayed(&recording());
    assert_eq!(result.unwrap(), 0);
    assert_eq!(calls.len(), 1);
    let call = &calls[0];
    assert_eq!(
        (&call["method"], &call["outcome"]),
        (&"initialize".into(), &"ok".into())
    );
    assert_eq!(
        (&call["client"]["name"], &call["client"]["comm"]),
        (&"c".into(), &"client".into())
    );
    assert_eq!(
        (&call["server"]["pid"], &call["server"]["comm"]),
        (&20.into(), &"server".into())
    );
    assert_eq!(
        (&call["start_unix_ns"], &call["latency_us"]),
        (&1_000_000.into(), &1030.0.into())
    );
    assert_eq!(replayed(&recording()).0, calls, "always the same");
}

#[test]
fn a_recording_that_was_cut_off() {
    let whole = recording();
    let (calls, result) = replayed(&whole[..whole.len() - 30]);
    assert!(result.is_ok());
    assert_eq!(calls.len(), 1, "pending or answered, but not lost");
}

#[test]
fn what_came_before_the_damage_is_shown() {
    let mut damaged = recording();
    damaged.extend(b"\x09\0\0\0\0");
    let (calls, result) = replayed(&damaged);
    assert_eq!(calls.len(), 1);
    assert!(matches!(
        result,
        Err(Failure::Recording(RecordingError::Damaged { records: 4, .. }))
    ));
}
