//! What is said of whoever was asked: by whom, and what its time went into.

use super::*;

#[test]
fn time_of_calls_adds_up_by_cause_and_by_upstream() {
    let snapshot = of(&[busy(&["db:5432"]), busy(&["db:5432"])]);
    let disk = only(&snapshot, Id::CauseTime);
    assert_eq!(
        (text(&disk.attributes), &disk.data),
        ("service.name=python mcpsonar.cause=disk".to_owned(), &Data::Number(2.0)),
        "what is nought has no series"
    );
    let waited = only(&snapshot, Id::UpstreamTime);
    assert_eq!(
        text(&waited.attributes),
        "service.name=python mcpsonar.upstream.peer=db:5432 mcpsonar.upstream.kind=connection"
    );
    assert_eq!(waited.data, Data::Number(2.0));
    assert_eq!(only(&snapshot, Id::UpstreamCalls).data, Data::Count(2));
    let asked = only(&snapshot, Id::CallsByRequester);
    assert_eq!(
        (text(&asked.attributes), &asked.data),
        (
            "service.name=python mcpsonar.requester=host".to_owned(),
            &Data::Count(2)
        )
    );
}

#[test]
fn differences_of_times_are_times() {
    let mut recorder = recorder();
    recorder.call(&busy(&[]));
    let earlier = recorder.snapshot(1);
    recorder.call(&busy(&[]));
    let later = recorder.snapshot(2).since(&earlier);
    assert_eq!(only(&later, Id::CauseTime).data, Data::Number(1.0));
}

#[test]
fn upstreams_are_bounded() {
    let peers: Vec<String> = (0..500).map(|n| format!("10.0.0.{n}")).collect();
    let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
    let snapshot = of(&[busy(&peers)]);
    assert_eq!(points(&snapshot, Id::UpstreamCalls).len(), limits::UPSTREAMS + 1);
    assert_eq!(total(&snapshot, Id::UpstreamCalls), 500, "blurred, not lost");
}
