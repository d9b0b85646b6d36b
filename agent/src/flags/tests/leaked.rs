//! Two thousand leaked servers.

use std::time::Instant;

use super::*;

const LEAKED: u32 = 2000;

#[test]
fn two_thousand_leaked_servers_are_no_trouble() {
    let began = Instant::now();
    let mut engine = engine();
    let at = |seconds: u64| (1000 + seconds) * SECOND;
    for pid in 0..LEAKED {
        engine.server(server(1000 + pid), Some(client(CLIENT)), at(0));
    }
    engine.event(CLIENT, ProcessEvent::Exited, at(1));
    let gone = Ends {
        stdin: End::Closed,
        stdout: End::Closed,
        parent: 1,
        holders: vec![],
    };
    let mut orphans = 0;
    for round in 0..60 {
        let now = at(5 + round * 5);
        engine.host(&host(now));
        for pid in 1000..1000 + LEAKED {
            engine.process(&ProcessSample {
                cpu: Some(1.0),
                ..process(pid, now)
            });
            if round % 2 == 0 {
                engine.ends(pid, &gone, now);
            }
        }
        engine.tick(now);
        let raised = take(&mut engine);
        orphans += raised.iter().filter(|event| event.flag.flag == Flag::Orphaned).count();
        if round == 4 {
            assert_eq!(orphans, 2000, "within 25 s");
        }
    }
    let count = |flag| engine.active().filter(|active| active.flag == flag).count();
    assert_eq!((count(Flag::Orphaned), count(Flag::Spinning)), (2000, 2000));
    assert_eq!((engine.stats().refused, engine.stats().dropped), (0, 0));
    for pid in 1000..1000 + LEAKED {
        engine.event(pid, ProcessEvent::Exited, at(400));
    }
    take(&mut engine);
    engine.tick(at(1000));
    assert_eq!((engine.active().count(), engine.stats().processes), (0, 0));
    // Five minutes of them; generous for a machine that does other things, and without optimization.
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn what_finds_no_room_is_counted() {
    let mut engine = engine();
    for pid in 0..40_000 {
        engine.fault(&FaultInput {
            code: "id_reuse",
            writer: Some(server(pid)),
            bytes: 0,
            at: SECOND,
        });
        engine.server(server(pid), None, SECOND);
    }
    let stats = engine.stats();
    assert_eq!(
        (stats.watches, stats.processes),
        (limits::MAX_WATCHES, limits::MAX_PROCESSES)
    );
    let expected = 80_000 - limits::MAX_WATCHES as u64 - limits::MAX_PROCESSES as u64;
    assert_eq!((stats.refused, stats.dropped), (expected, 0));
    for n in 0..5000 {
        let tool = format!("tool{n}");
        engine.call(&CallInput {
            server: None,
            server_name: Some(&tool),
            ..call(SECOND)
        });
    }
    assert!(engine.stats().processes <= limits::MAX_PROCESSES);
}
