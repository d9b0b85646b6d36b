//! Every flag is raised by what it is about within the stated time, and cleared when that ends.

use super::*;
use crate::host::{DiskUse, MemoryEvents, Stall};

/// How long a flag may take to be raised and to be cleared, in seconds.
fn times(flag: Flag) -> (u64, u64) {
    match flag {
        // Averages of five minutes, budgets of five minutes.
        Flag::CpuTarget | Flag::MemoryTarget => (1200, 1200),
        Flag::ErrorBudget | Flag::TimeoutBudget | Flag::SessionErrors => (60, 700),
        Flag::ScaleOut => (60, 200),
        Flag::ScaleIn => (340, 120),
        Flag::SlowToolCalls | Flag::SlowResourceReads | Flag::SlowTokenChecks => (50, 60),
        Flag::MemoryGrowth => (30, 180),
        // An hour, or what its test is told: the clock is injected.
        Flag::Idle => (3600 + 20, 20),
        Flag::UnansweredRequest => (80, 20),
        _ => (30, 310),
    }
}

/// One step of five seconds: what is true of a host on which `flag` should be raised, if `bad`.
fn step(flag: Flag, engine: &mut Engine, at: Nanos, bad: bool, round: u64) {
    let mut host = host(at);
    let mut group = cgroup(at);
    let mut sample = process(SERVER, at);
    let mut one = call(at);
    let mut ends = open_ends();
    let mut flight = InFlight {
        last_byte: Some(at),
        ..InFlight::default()
    };
    let mut calls = 1;
    let stall = |some| Some(Stall { some, full: 0.0 });
    sample.cgroup = Some("/pod".into());
    let mut fault = None;
    let mut agent = AgentInput {
        at,
        ..AgentInput::default()
    };
    if bad {
        match flag {
            Flag::HostCpu => host.cpu = Some(0.9),
            Flag::HostMemory => host.memory_available = Some(500 * MIB),
            Flag::DiskBusy => {
                let device = "sda".to_owned();
                host.disks.push(DiskUse { device, busy: 0.9 });
            }
            Flag::ProcessCpu => (sample.cpu, sample.main_thread) = (Some(1.0), Some(0.97)),
            Flag::MemoryLimit => group.memory.working_set = Some(420 * MIB),
            Flag::TaskLimit => group.pids = Some(90),
            Flag::CpuStall => group.stalls.cpu = stall(0.6),
            Flag::MemoryStall => host.stalls.memory = stall(0.2),
            Flag::IoStall => host.stalls.io = stall(0.5),
            Flag::CpuThrottled => group.throttled = Some(0.4),
            Flag::RunQueueDelay => sample.run_queue = Some(0.3),
            Flag::DescriptorsExhausted => sample.fds = Some(900),
            Flag::MemoryGrowth => sample.rss = 80 * MIB + 50 * MIB * round,
            Flag::QueueSaturated => (calls, one.queue_ms, one.latency_ms) = (20, Some(60.0), Some(65.0)),
            Flag::SlowToolCalls => one.latency_ms = Some(150.0),
            Flag::SlowResourceReads => (one.kind, one.latency_ms) = (CallKind::Resource, Some(250.0)),
            Flag::SlowTokenChecks => (one.kind, one.latency_ms) = (CallKind::TokenCheck, Some(60.0)),
            Flag::ErrorBudget => (calls, one.outcome) = (10, Outcome::ToolError),
            Flag::TimeoutBudget => (calls, one.outcome, one.latency_ms) = (10, Outcome::Cancelled, Some(6e4)),
            Flag::CpuTarget => sample.cpu = Some(1.4),
            Flag::MemoryTarget => group.memory.working_set = Some(400 * MIB),
            Flag::Orphaned => {
                if round == 0 {
                    engine.event(CLIENT, ProcessEvent::Exited, at);
                }
                (ends.stdin, ends.parent, ends.holders) = (End::Closed, 1, vec![]);
            }
            Flag::Abandoned => ends.stdin = End::Closed,
            Flag::Spinning => (ends.stdin, sample.cpu) = (End::Closed, Some(1.0)),
            Flag::DuplicateServers => engine.server(server(SERVER + 1), Some(client(CLIENT)), at),
            Flag::Hung | Flag::UnansweredRequest => {
                flight.pending = 1;
                flight.oldest = Some(at - round * INTERVAL);
                flight.last_byte = flight.oldest;
            }
            Flag::Idle => flight.last_byte = None,
            Flag::Crashed => one.outcome = Outcome::ServerExit,
            Flag::OomKilled => {
                group.events = MemoryEvents {
                    oom_kill: 1,
                    ..MemoryEvents::default()
                }
            }
            Flag::StdoutPollution => fault = Some("stdout_pollution"),
            Flag::MalformedFrame => fault = Some("malformed_frame"),
            Flag::ContentLengthFraming => fault = Some("content_length_framing"),
            Flag::UnknownResponseId => fault = Some("unknown_response_id"),
            Flag::IdReuse => fault = Some("id_reuse"),
            Flag::ResponseAfterCancel => fault = Some("response_after_cancel"),
            Flag::ClientTimedOut => (one.outcome, one.latency_ms) = (Outcome::Cancelled, Some(6e4)),
            Flag::SessionErrors => (calls, one.outcome, one.session_refused) = (3, Outcome::HttpError, true),
            Flag::ScaleOut => flight.waiting = 150,
            Flag::ScaleIn => calls = 3,
            Flag::HistoryPaused => agent.history_paused = Some("no room"),
            Flag::RecordsLost => agent.records_lost = 7,
        }
    }
    if !bad && flag == Flag::ScaleIn {
        // It is busy enough for what it has.
        sample.cpu = Some(1.0);
    }
    if !bad && flag == Flag::DuplicateServers && round == 0 {
        engine.event(SERVER + 1, ProcessEvent::Exited, at);
    }
    if !bad && flag == Flag::Orphaned && round == 0 {
        // Somebody has killed it; another takes its place.
        engine.event(SERVER, ProcessEvent::Exited, at);
    }
    engine.agent(&agent);
    engine.host(&host);
    engine.cgroup(&group);
    engine.process(&sample);
    let silent = bad && matches!(flag, Flag::Hung | Flag::Idle);
    // A call to another tool of the same server goes on while one kind is slow or queued.
    for _ in 0..if silent || (bad && flag == Flag::Orphaned) {
        0
    } else {
        calls
    } {
        engine.call(&one);
    }
    if matches!(flag, Flag::SlowResourceReads | Flag::SlowTokenChecks) && !bad {
        let kind = if flag == Flag::SlowResourceReads {
            CallKind::Resource
        } else {
            CallKind::TokenCheck
        };
        engine.call(&CallInput { kind, ..one });
    }
    engine.in_flight(SERVER, flight, at);
    if round.is_multiple_of(2) {
        engine.ends(SERVER, &ends, at);
    }
    if let Some(code) = fault {
        let writer = Some(server(SERVER));
        engine.fault(&FaultInput {
            code,
            writer,
            bytes: 12,
            at,
        });
    }
    engine.tick(at);
}

/// Steps until the flag is raised or not, at most `limit` seconds. How long it took, in seconds.
fn until(flag: Flag, engine: &mut Engine, now: &mut Nanos, bad: bool, limit: u64) -> Option<u64> {
    let began = *now;
    for round in 0..=limit / 5 {
        step(flag, engine, *now, bad, round);
        let took = (*now - began) / SECOND;
        *now += INTERVAL;
        if engine.active().any(|active| active.flag == flag) == bad {
            return Some(took);
        }
    }
    None
}

#[test]
fn every_flag_is_raised_in_time_and_cleared() {
    for definition in definitions() {
        let (flag, code) = (definition.flag, definition.code);
        let (raise, clear) = times(flag);
        let (mut engine, mut now) = (engine(), 1000 * SECOND);
        for round in 0..24 {
            step(flag, &mut engine, now, false, round + 1);
            now += INTERVAL;
        }
        let before: Vec<_> = take(&mut engine).iter().map(|event| event.flag.flag.code()).collect();
        assert!(before.is_empty(), "{code}: {before:?} on a healthy host");
        let raised = until(flag, &mut engine, &mut now, true, raise);
        assert!(raised.is_some(), "{code} was not raised within {raise} s");
        let cleared = until(flag, &mut engine, &mut now, false, clear);
        assert!(cleared.is_some(), "{code} was not cleared within {clear} s");
        let events = take(&mut engine);
        let of = |kind| {
            events
                .iter()
                .filter(|event| event.flag.flag == flag && event.code() == kind)
                .count()
        };
        assert!(of("raised") >= 1 && of("raised") == of("cleared"), "{code}: {events:?}");
    }
}

#[test]
fn the_time_to_oom_is_right_within_a_fifth() {
    let (mut engine, mut now, mut rss) = (engine(), 1000 * SECOND, 80 * MIB);
    let began = now;
    loop {
        let mut group = cgroup(now);
        group.memory.working_set = Some(rss);
        engine.host(&host(now));
        engine.cgroup(&group);
        engine.process(&ProcessSample {
            rss,
            cgroup: Some("/pod".into()),
            ..process(SERVER, now)
        });
        let raised = take(&mut engine)
            .into_iter()
            .find(|event| event.flag.flag == Flag::MemoryGrowth);
        if let Some(event) = raised {
            let left = (512 * MIB - rss) as f64 / (10 * MIB) as f64;
            assert!(
                (event.flag.value / left - 1.0).abs() < 0.2,
                "{} instead of {left}",
                event.flag.value
            );
            assert_eq!(event.flag.severity, Severity::Critical);
            return;
        }
        assert!(now - began <= 30 * SECOND, "not seen in time");
        now += INTERVAL;
        // Ten MiB a second with some noise.
        rss += 50 * MIB + (now / SECOND % 3) * MIB - MIB;
    }
}

#[test]
fn a_server_that_inherited_the_pipe_of_another_hides_no_orphan() {
    let (mut engine, mut now) = (engine(), 1000 * SECOND);
    engine.server(server(SERVER), Some(client(CLIENT)), now);
    engine.event(CLIENT, ProcessEvent::Exited, now);
    let ends = Ends {
        holders: vec![SERVER + 1],
        parent: 1,
        ..open_ends()
    };
    for _ in 0..2 {
        engine.ends(SERVER, &ends, now);
        now += 10 * SECOND;
    }
    assert!(engine.is_active(Flag::Orphaned, &Subject::Process { pid: SERVER }));
}

#[test]
fn a_server_of_init_over_the_network_is_no_orphan() {
    let (mut engine, mut now) = (engine(), 1000 * SECOND);
    engine.server(server(SERVER), None, now);
    for _ in 0..10 {
        let ends = Ends {
            parent: 1,
            ..Ends::default()
        };
        engine.ends(SERVER, &ends, now);
        now += 10 * SECOND;
    }
    assert_eq!(engine.active().count(), 0);
}

#[test]
fn a_slow_server_is_not_hung_while_it_works() {
    let (mut engine, began) = (engine(), 1000 * SECOND);
    engine.server(server(SERVER), Some(client(CLIENT)), began);
    for n in 0..60 {
        let now = began + n * INTERVAL;
        engine.process(&ProcessSample {
            cpu: Some(0.3),
            ..process(SERVER, now)
        });
        let flight = InFlight {
            pending: 1,
            oldest: Some(began),
            last_byte: Some(began),
            ..InFlight::default()
        };
        engine.in_flight(SERVER, flight, now);
        engine.tick(now);
    }
    assert_eq!(engine.active().count(), 0);
}

#[test]
fn severity_rises_at_once_and_sinks_late() {
    let mut engine = engine();
    let mut told = Vec::new();
    for (n, cpu) in [0.85, 0.85, 0.85, 0.96, 0.9, 0.96, 0.9, 0.75, 0.6, 0.6, 0.6]
        .into_iter()
        .enumerate()
    {
        let at = n as u64 * INTERVAL;
        engine.host(&HostSample {
            cpu: Some(cpu),
            ..host(at)
        });
        told.extend(
            take(&mut engine)
                .iter()
                .map(|event| (n, event.code(), event.flag.severity)),
        );
    }
    let (warning, critical) = (Severity::Warning, Severity::Critical);
    let expected = [
        (2, "raised", warning),
        (3, "updated", critical),
        (7, "updated", warning),
        (10, "cleared", warning),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_tools_own_target_and_a_flag_that_is_off() {
    let config: FlagsConfig = serde_json::from_str(
        r#"{"flags": {"host_cpu": {"enabled": false}}, "tools": {"read": {"flags": {"slow_tool_calls": {"warn": 1000}}}}}"#,
    )
    .unwrap();
    let mut engine = Engine::new(config.levels().unwrap(), ClockOffset(0));
    for n in 0..20 {
        let at = n * INTERVAL;
        engine.host(&HostSample {
            cpu: Some(1.0),
            ..host(at)
        });
        let slow = CallInput {
            latency_ms: Some(500.0),
            ..call(at)
        };
        engine.call(&slow);
        engine.call(&CallInput {
            kind: CallKind::Tool("other"),
            ..slow
        });
    }
    let active: Vec<_> = engine.active().map(|active| active.subject.clone()).collect();
    let (server, tool) = ("files".into(), "other".into());
    assert_eq!(active, [Subject::Tool { server, tool }]);
}
