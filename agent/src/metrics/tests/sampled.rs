//! What is told besides calls.

use super::*;

#[test]
fn sessions_of_eras_that_have_them() {
    let session = SessionSample {
        client: Some("host"),
        server: Some("py"),
        protocol_version: Some("2025-11-25"),
        network_transport: "tcp",
        network_protocol: Some("http"),
        server_address: Some(("127.0.0.1", Some(80))),
        error_type: None,
        seconds: 61.0,
        ended_unix_ns: 5,
    };
    let mut recorder = recorder();
    recorder.session(&session);
    recorder.session(&SessionSample {
        protocol_version: Some("2026-07-28"),
        ..session.clone()
    });
    let snapshot = recorder.snapshot(6);
    let client = only(&snapshot, Id::ClientSession);
    assert_eq!(histogram(client).counts[12], 1, "up to 120 s");
    assert_eq!(
        text(&client.attributes),
        "service.name=host mcp.protocol.version=2025-11-25 network.protocol.name=http network.transport=tcp \
         server.address=127.0.0.1 server.port=80"
    );
    assert_eq!(total(&snapshot, Id::ServerSession), 1);
}

#[test]
fn a_sample_replaces_the_one_before() {
    let process = |pid, bytes| ProcessSample {
        service: Some("py"),
        pid,
        program: Some("python3"),
        started_unix_ns: 1_000_000_000,
        resident_bytes: Some(bytes),
        cpu_user_seconds: Some(1.5),
        faults_major: Some(3),
        ..ProcessSample::default()
    };
    let mut recorder = recorder();
    recorder.processes(&[process(7, 100), process(8, 50)], 3_000_000_000);
    let snapshot = recorder.snapshot(1);
    let rows: Vec<_> = points(&snapshot, Id::ProcessMemoryUsage)
        .iter()
        .map(|it| text(&it.attributes))
        .collect();
    assert_eq!(
        rows,
        [7, 8].map(|pid| format!("service.name=py process.pid={pid} process.executable.name=python3"))
    );
    let memory = only(&snapshot, Id::MemoryUsage);
    assert_eq!(
        (text(&memory.attributes), &memory.data),
        ("type=rss".to_owned(), &Data::Count(150))
    );
    assert_eq!(points(&snapshot, Id::ProcessUptime)[0].data, Data::Number(2.0));
    assert_eq!(points(&snapshot, Id::ProcessCpuTime)[0].start_unix_ns, 1_000_000_000);
    recorder.processes(&[process(8, 60)], 4_000_000_000);
    assert_eq!(total(&recorder.snapshot(1), Id::ProcessMemoryUsage), 60);
    recorder.processes(&[], 5_000_000_000);
    let gone = recorder.snapshot(1);
    assert!(points(&gone, Id::ProcessFaults).is_empty() && points(&gone, Id::MemoryUsage).is_empty());

    let many: Vec<_> = (0..5000).map(|pid| process(pid, 1)).collect();
    recorder.processes(&many, 6_000_000_000);
    let crowd = recorder.snapshot(1);
    assert!(points(&crowd, Id::ProcessMemoryUsage).len() <= limits::PROCESS_SERIES + 2);
    assert_eq!(total(&crowd, Id::ProcessMemoryUsage), 5000);
}

#[test]
fn the_host_flags_streams_losses_and_the_agent() {
    let mut recorder = recorder();
    let pressure = Pressure {
        resource: "memory",
        stall: "full",
        shares: [0.5, 0.25, 0.1],
        total_seconds: 12.5,
    };
    let host = HostSample {
        booted_unix_ns: 9,
        core_percent: &[(0, 12.5), (1, 99.0)],
        pressure: &[pressure],
    };
    recorder.host(&host, 10);
    let flag = FlagCount {
        code: "cpu_high",
        severity: "warning",
        active: 1,
        raised: 4,
    };
    recorder.flags(&[flag], 10);
    let connections = [("stdio", 2), ("http", 3)].map(|(transport, open)| ConnectionCount {
        server: Some("py"),
        transport,
        open,
    });
    recorder.connections(&connections, 10);
    recorder.streams(
        &[StreamCount {
            state: "watched",
            streams: 8,
        }],
        10,
    );
    recorder.losses([("ring_dropped", 3), ("output_dropped", 2)], 10);
    let cost = AgentSample {
        cpu_seconds: 0.25,
        resident_bytes: 10,
        peak_bytes: 20,
    };
    recorder.agent(cost, 10);
    let off = HookCount {
        name: Some("tier 1"),
        on: false,
        hooks: 1,
    };
    let on = HookCount {
        name: None,
        on: true,
        hooks: 30,
    };
    recorder.hooks(&[off, on], 10);
    let spans = ExporterSample {
        exporter: "otlp_spans",
        sent: 5,
        failed: 1,
        dropped: Some(2),
        errors: Some(3),
        queue: Some((4, 64)),
    };
    let history = ExporterSample {
        exporter: "history",
        sent: 6,
        ..ExporterSample::default()
    };
    recorder.exporters(&[spans, history], 10);
    let load = LoadCount {
        service: Some("py"),
        unread: 7,
        read: 1,
    };
    recorder.loads(&[load], 10);
    recorder.fault(&FaultRecord {
        fault: "stdout_pollution",
        at_unix_ns: 5,
        at_mono_ns: 5,
        pid: None,
        comm: None,
        bytes: 1,
    });
    let snapshot = recorder.snapshot(11);
    let rows: Vec<String> = snapshot
        .families
        .iter()
        .flat_map(|family| family.points.iter().map(move |point| (family.instrument.name, point)))
        .map(|(name, point)| format!("{name} {} {:?}", text(&point.attributes), point.data))
        .collect();
    for row in [
        "mcpsonar.system.pressure mcpsonar.pressure.resource=memory mcpsonar.pressure.stall=full mcpsonar.pressure.window=1m Number(0.25)",
        "mcpsonar.system.pressure.time mcpsonar.pressure.resource=memory mcpsonar.pressure.stall=full Number(12.5)",
        "mcp_cpu_usage_percent core=1 Number(99.0)",
        "mcpsonar.flags.active mcpsonar.flag.code=cpu_high mcpsonar.flag.severity=warning Count(1)",
        "mcpsonar.flags.raised mcpsonar.flag.code=cpu_high mcpsonar.flag.severity=warning Count(4)",
        "mcpsonar.connections service.name=py mcpsonar.transport=stdio Count(2)",
        "mcp_active_connections server=py Count(5)",
        "mcpsonar.streams mcpsonar.stream.state=watched Count(8)",
        "mcpsonar.losses mcpsonar.loss=ring_dropped Count(3)",
        "mcpsonar.agent.cpu.time  Number(0.25)",
        "mcpsonar.agent.memory.peak  Count(20)",
        "mcpsonar.agent.hooks mcpsonar.hook.name=tier 1 mcpsonar.hook.state=off Count(1)",
        "mcpsonar.agent.hooks mcpsonar.hook.state=on Count(30)",
        "mcpsonar.exporter.items mcpsonar.exporter=otlp_spans mcpsonar.exporter.fate=dropped Count(2)",
        "mcpsonar.exporter.items mcpsonar.exporter=history mcpsonar.exporter.fate=sent Count(6)",
        "mcpsonar.exporter.errors mcpsonar.exporter=otlp_spans Count(3)",
        "mcpsonar.exporter.queue.size mcpsonar.exporter=otlp_spans Count(4)",
        "mcpsonar.exporter.queue.limit mcpsonar.exporter=otlp_spans Count(64)",
        "mcpsonar.calls.in_flight service.name=py mcpsonar.call.state=unread Count(7)",
        "mcpsonar.protocol.faults mcpsonar.fault=stdout_pollution Count(1)",
    ] {
        assert!(rows.iter().any(|it| it == row), "{row} is missing in {rows:#?}");
    }
    let queues = points(&snapshot, Id::ExporterQueue);
    assert_eq!(queues.len(), 1, "a history has no queue that could be counted");
}

#[test]
fn control_groups_of_processes() {
    let group = GroupSample {
        memory_bytes: Some(30),
        memory_limit_bytes: Some(64),
        cpu_limit: Some(0.3),
        throttled_seconds: Some(1.5),
        since_unix_ns: 2_000_000_000,
    };
    let process = ProcessSample {
        service: Some("py"),
        pid: 7,
        started_unix_ns: 1_000_000_000,
        descriptor_limit: Some(1024),
        group,
        ..ProcessSample::default()
    };
    let mut recorder = recorder();
    recorder.processes(&[process], 3_000_000_000);
    let snapshot = recorder.snapshot(1);
    for (id, data) in [
        (Id::GroupMemory, Data::Count(30)),
        (Id::GroupMemoryLimit, Data::Count(64)),
        (Id::ProcessDescriptorLimit, Data::Count(1024)),
        (Id::GroupCpuLimit, Data::Number(0.3)),
        (Id::GroupThrottled, Data::Number(1.5)),
    ] {
        assert_eq!(only(&snapshot, id).data, data, "{id:?}");
    }
    let throttled = only(&snapshot, Id::GroupThrottled);
    assert_eq!(throttled.start_unix_ns, 2_000_000_000, "since the group is known");
}
