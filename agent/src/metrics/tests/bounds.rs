//! Whoever chooses names does not choose how many series there are.

use mcp_proto::Outcome;

use super::*;

#[test]
fn names_from_the_wire_are_bounded() {
    let nasty = |round: usize| {
        with(move |call| {
            call.tool = Some(format!("tool{}", round % 700).into());
            call.method.0 = format!("x/method{}", round % 400).into();
            call.server.name = Some(format!("server{}", round % 500).into());
            call.error_code = Some(i64::try_from(round).unwrap());
            call.outcome = Outcome::RpcError;
            call.protocol_version = Some(format!("v{round}").into());
        })
    };
    let mut recorder = recorder();
    for round in 0..6000 {
        recorder.call(&nasty(round));
    }
    let snapshot = recorder.snapshot(1);
    for id in [
        Id::ClientOperation,
        Id::ServerOperation,
        Id::Requests,
        Id::RequestDuration,
    ] {
        let most = limits::CALL_SERIES + limits::OVERFLOW_SERIES + 1;
        assert!(
            points(&snapshot, id).len() <= most,
            "{id:?}: {}",
            points(&snapshot, id).len()
        );
        assert_eq!(total(&snapshot, id), 6000, "{id:?}: nothing is lost, only blurred");
    }
    assert!(total(&snapshot, Id::AgentOverflows) > 0);
    // What comes later and is new shares; what was known before is still told apart.
    recorder.call(&with(|call| call.tool = Some("late".into())));
    recorder.call(&nasty(0));
    let later = recorder.snapshot(2);
    let texts: Vec<String> = points(&later, Id::ServerOperation)
        .iter()
        .map(|it| text(&it.attributes))
        .collect();
    assert!(
        texts
            .iter()
            .any(|text| text.contains("_OTHER") && text.contains("execute_tool"))
    );
    let first = points(&later, Id::Requests)
        .iter()
        .find(|it| text(&it.attributes).ends_with("server=server0"))
        .unwrap();
    assert!(matches!(first.data, Data::Count(count) if count >= 2));
}

#[test]
fn one_service_cannot_crowd_out_another() {
    let mut recorder = recorder();
    for round in 0..5000 {
        recorder.call(&with(|call| call.tool = Some(format!("tool{round}").into())));
    }
    recorder.call(&with(|call| call.server.name = Some("other".into())));
    let snapshot = recorder.snapshot(1);
    let other = points(&snapshot, Id::ServerOperation)
        .iter()
        .map(|it| text(&it.attributes));
    assert!(
        other
            .into_iter()
            .any(|it| it.starts_with("service.name=other") && it.contains("gen_ai.tool.name=echo"))
    );
    let tools = points(&snapshot, Id::ServerOperation).len();
    assert_eq!(
        tools,
        limits::TOOLS + 2,
        "the tools of one, _OTHER of it, and the other's"
    );
}

#[test]
fn idle_series_make_room() {
    let mut recorder = recorder();
    let at = |second: u64, tool: usize, server: usize| {
        with(move |call| {
            call.ended = second * 1_000_000_000;
            call.server.name = Some(format!("server{server}").into());
            call.tool = Some(format!("tool{tool}").into());
        })
    };
    for round in 0..limits::CALL_SERIES {
        recorder.call(&at(1, round % 100, round / 100));
    }
    recorder.call(&at(100, 200, 3));
    let full = recorder.snapshot(1);
    assert_eq!(points(&full, Id::ServerOperation).len(), limits::CALL_SERIES + 1);
    recorder.call(&at(2 + limits::IDLE_NS / 1_000_000_000, 201, 3));
    let swept = recorder.snapshot(1);
    assert!(points(&swept, Id::ServerOperation).len() <= 2);
}

#[test]
fn idle_services_make_room() {
    let mut recorder = recorder();
    let at = |second: u64, server: usize| {
        with(move |call| {
            call.ended = second * 1_000_000_000;
            call.server.name = Some(format!("server{server}").into());
        })
    };
    let servers = |recorder: &Recorder| {
        let snapshot = recorder.snapshot(1);
        let servers = points(&snapshot, Id::Requests)
            .iter()
            .filter_map(|it| it.attributes.get("server"));
        servers.map(Value::to_string).collect::<Vec<_>>()
    };
    (0..limits::SERVICES + 9).for_each(|server| recorder.call(&at(1, server)));
    assert!(servers(&recorder).iter().any(|server| server == "_OTHER"));
    recorder.call(&at(100, 5000));
    assert!(!servers(&recorder).iter().any(|server| server == "server5000"));
    recorder.call(&at(2 + limits::IDLE_NS / 1_000_000_000, 5001));
    assert!(servers(&recorder).iter().any(|server| server == "server5001"));
}

#[test]
fn long_and_evil_names() {
    let evil = "\x1b]0;x\n\"\\é".repeat(100);
    let snapshot = of(&[with(|call| call.tool = Some(evil.as_str().into()))]);
    let Some(Value::Text(tool)) = only(&snapshot, Id::ServerOperation).attributes.get("gen_ai.tool.name") else {
        panic!("no tool")
    };
    assert!(
        tool.len() <= 3 * limits::VALUE_BYTES && !tool.chars().any(char::is_control),
        "{tool}"
    );
}
