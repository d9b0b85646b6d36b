mod idle;
mod leaked;
mod page;
mod scenarios;

use mcp_proto::{Nanos, Outcome};

use super::*;
use crate::host::{CgroupSample, ClockOffset, End, Ends, HostSample, MemoryUse, ProcessSample};

const SECOND: Nanos = 1_000_000_000;
const INTERVAL: Nanos = 5 * SECOND;
const MIB: u64 = 1 << 20;
const SERVER: u32 = 100;
const CLIENT: u32 = 50;

fn engine() -> Engine {
    Engine::new(Levels::default(), ClockOffset(0))
}

fn host(at: Nanos) -> HostSample {
    HostSample {
        at,
        interval: INTERVAL,
        cores: vec![0.1; 4],
        cpu: Some(0.1),
        memory_total: 8192 * MIB,
        memory_available: Some(6144 * MIB),
        ..HostSample::default()
    }
}

fn cgroup(at: Nanos) -> CgroupSample {
    CgroupSample {
        path: "/pod".into(),
        at,
        interval: INTERVAL,
        memory: MemoryUse {
            limit: Some(512 * MIB),
            working_set: Some(100 * MIB),
            ..MemoryUse::default()
        },
        cpu_limit: Some(2.0),
        pids: Some(5),
        pids_limit: Some(100),
        ..CgroupSample::default()
    }
}

fn process(pid: u32, at: Nanos) -> ProcessSample {
    ProcessSample {
        pid,
        start_time: 7,
        parent: CLIENT,
        comm: "node".into(),
        state: 'S',
        at,
        interval: INTERVAL,
        cpu: Some(0.0),
        rss: 80 * MIB,
        threads: 11,
        fds: Some(25),
        fd_limit: Some(1024),
        run_queue: Some(0.0),
        ..ProcessSample::default()
    }
}

fn server(pid: u32) -> ProcessRef<'static> {
    ProcessRef {
        pid,
        start_time: Some(7),
        name: Some("files"),
        program: 9,
    }
}

fn client(pid: u32) -> ProcessRef<'static> {
    ProcessRef {
        pid,
        name: Some("agent"),
        ..ProcessRef::default()
    }
}

fn call(at: Nanos) -> CallInput<'static> {
    CallInput {
        kind: CallKind::Tool("read"),
        server: Some(server(SERVER)),
        client: Some(client(CLIENT)),
        server_name: Some("files"),
        outcome: Outcome::Ok,
        session_refused: false,
        latency_ms: Some(5.0),
        queue_ms: Some(0.1),
        started: Some(at.saturating_sub(5_000_000)),
        ended: at,
        cause: None,
    }
}

fn open_ends() -> Ends {
    Ends {
        stdin: End::Open,
        stdout: End::Open,
        parent: CLIENT,
        holders: vec![CLIENT],
    }
}

/// All events so far, each of which is what its definition says.
fn take(engine: &mut Engine) -> Vec<FlagEvent> {
    let events: Vec<_> = std::iter::from_fn(|| engine.poll_event()).collect();
    for event in &events {
        let definition = definition(event.flag.flag);
        let json = serde_json::to_value(event).unwrap();
        for key in json["evidence"].as_object().unwrap().keys() {
            assert!(
                definition.evidence.iter().any(|field| field.name == key),
                "{} has {key}",
                definition.code
            );
        }
        assert!(!json["evidence"].as_object().unwrap().is_empty(), "{json}");
        assert_eq!(json["flag"], definition.code);
        assert!(
            json["subject"]["kind"].is_string() && json["advice"].is_string(),
            "{json}"
        );
        assert_eq!(json["cleared_because"].is_null(), event.code() != "cleared", "{json}");
    }
    events
}
