//! No flag on a healthy host, and no flapping on one that is at the edge.

use proptest::prelude::*;

use super::*;

/// Ten minutes and more of a host with twenty servers that do little.
fn healthy(noise: &[f64]) -> Vec<FlagEvent> {
    let mut engine = engine();
    for (n, noise) in (0..).zip(noise) {
        let at = 1000 * SECOND + n * INTERVAL;
        engine.host(&HostSample {
            cpu: Some(0.05 + noise * 0.4),
            ..host(at)
        });
        engine.cgroup(&cgroup(at));
        for pid in 0..20 {
            let server = ProcessRef {
                program: u64::from(pid) + 9,
                ..server(SERVER + pid)
            };
            engine.server(server, Some(client(CLIENT)), at);
            engine.process(&ProcessSample {
                cpu: Some(noise * 0.1),
                rss: 80 * MIB + (noise * 20.0) as u64 * MIB,
                run_queue: Some(noise * 0.03),
                ..process(SERVER + pid, at)
            });
            engine.ends(SERVER + pid, &open_ends(), at);
            engine.in_flight(SERVER + pid, InFlight::default(), at);
        }
        // A health check, as clients send it.
        let ping = CallInput {
            kind: CallKind::Other("ping"),
            latency_ms: Some(1.0 + noise),
            ..call(at)
        };
        engine.call(&ping);
        engine.tick(at);
    }
    take(&mut engine)
}

#[test]
fn ten_minutes_without_anything() {
    assert_eq!(healthy(&[0.0; 130]), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn nor_with_a_little_to_do(noise in prop::collection::vec(0.0f64..1.0, 130)) {
        prop_assert_eq!(healthy(&noise), []);
    }

    /// CPU that hovers about its threshold by less than the room between raise and clear.
    #[test]
    fn the_edge_raises_at_most_once(noise in prop::collection::vec(-0.09f64..0.09, 200)) {
        let mut engine = engine();
        for (n, noise) in (0..).zip(&noise) {
            engine.host(&HostSample { cpu: Some(0.8 + noise), ..host(n * INTERVAL) });
        }
        let events = take(&mut engine);
        let changes = events.iter().filter(|event| event.code() != "updated").count();
        prop_assert!(changes <= 1, "{:?}", events);
    }

    /// Whatever comes in any order: no panic, every clear has its raise, and nothing grows without end.
    #[test]
    fn any_input(inputs in prop::collection::vec((0u8..7, 0u32..6, 0.0f64..2.0, any::<bool>()), 1..600)) {
        let mut engine = engine();
        let mut raised = std::collections::HashSet::new();
        for (n, (kind, pid, x, odd)) in (0..).zip(inputs) {
            let at = n * SECOND;
            let reference = ProcessRef { start_time: odd.then_some(u64::from(pid)), ..server(pid) };
            match kind {
                0 => engine.host(&HostSample { cpu: Some(x), ..host(at) }),
                1 => engine.process(&ProcessSample { cpu: Some(x), start_time: u64::from(odd), ..process(pid, at) }),
                2 => engine.call(&CallInput { server: odd.then_some(reference), latency_ms: Some(x * 200.0), ..call(at) }),
                3 => engine.ends(pid, &Ends { stdin: if odd { End::Closed } else { End::Open }, parent: pid, ..open_ends() }, at),
                4 => engine.event(pid, if odd { ProcessEvent::Exited } else { ProcessEvent::OomKilled }, at),
                5 => engine.in_flight(pid, InFlight { pending: pid, oldest: Some(0), ..InFlight::default() }, at),
                _ => engine.fault(&FaultInput { code: "id_reuse", writer: odd.then_some(reference), bytes: 1, at }),
            }
            engine.tick(at);
            for event in take(&mut engine) {
                let key = (event.flag.flag, event.flag.subject.clone());
                match event.code() {
                    "raised" => prop_assert!(raised.insert(key), "raised twice: {:?}", event),
                    "cleared" => prop_assert!(raised.remove(&key), "cleared unraised: {:?}", event),
                    _ => prop_assert!(raised.contains(&key), "updated unraised: {:?}", event),
                }
            }
        }
        prop_assert_eq!(engine.active().count(), raised.len());
        let later = 10_000 * SECOND;
        engine.tick(later);
        prop_assert!(engine.stats().watches <= 40, "{:?}", engine.stats());
    }
}
