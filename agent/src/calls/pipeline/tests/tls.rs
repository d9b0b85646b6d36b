use super::*;

const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00";

/// A connection whose both ends have shaken hands.
fn sealed(host: &mut Host) -> Connection {
    let mut wire = Connection::loopback(100);
    wire.open(host);
    host.write(&mut wire.client, HELLO);
    host.read(&mut wire.server, HELLO);
    host.write(&mut wire.server, HELLO);
    wire
}

fn sessions(wire: &Connection, fresh: [u32; 2]) -> Connection {
    Connection {
        client: wire.client.session(1000, fresh[0]),
        server: wire.server.session(2000, fresh[1]),
    }
}

#[test]
fn sessions_of_two_ends_are_one_call() {
    for fresh in [flags::FRESH, 0] {
        let mut host = Host::new();
        let wire = sealed(&mut host);
        let mut plain = sessions(&wire, [fresh; 2]);
        host.bind(&plain.client);
        // The server has written nothing: its socket is not known yet.
        plain.ask(&mut host, &post(&tool_call(1), None));
        let answer = reply(&result(1), None);
        host.bind(&plain.server);
        plain.answer(&mut host, &answer);
        let call = host.only_call();
        assert!(call.tls);
        assert_eq!((call.seen_by, call.http_status), (vec!["client", "server"], Some(200)));
        assert_eq!(call.client_address.as_deref(), Some("127.0.0.1:40312"));
        assert_eq!(call.tcp.unwrap().connect_us, Some(150));
        assert!(call.parts_us.request_queue.is_some() && call.loss.is_empty());
        assert!(host.losses().is_empty());
    }
}

#[test]
fn ciphertext_is_sealed_and_once_bound_ignored() {
    let mut host = Host::new();
    let wire = sealed(&mut host);
    let (own, others) = (wire.client.key(false), wire.server.key(false));
    let sealed = VerdictCode::Sealed as u32;
    let expected = [(own, sealed), (own | 1, sealed), (others, sealed), (others | 1, sealed)];
    assert_eq!(host.verdicts(), expected.into());
    assert_eq!(host.pipeline.take_sealed(), [10]);
    assert_eq!(host.pipeline.stats().bytes, 0, "the tracker sees nothing of it");
    host.bind(&sessions(&wire, [flags::FRESH; 2]).client);
    let ignored = VerdictCode::Ignore as u32;
    assert_eq!(
        host.verdicts(),
        [(own, ignored), (own | 1, ignored)].into(),
        "its own end only"
    );
}

#[test]
fn an_end_that_shows_after_the_other_was_sealed_is_told() {
    let mut host = Host::new();
    let mut wire = Connection::loopback(100);
    host.socket(&wire.client, SocketEvent::Seen, 0);
    host.write(&mut wire.client, HELLO);
    host.verdicts();
    host.socket(&wire.server, SocketEvent::Seen, 0);
    host.read(&mut wire.server, b"\x01\x02\x03");
    let told = host.verdicts();
    assert_eq!(told.get(&wire.server.key(true)), Some(&(VerdictCode::Sealed as u32)));
}

#[test]
fn a_session_without_a_socket_lives_alone() {
    let mut host = Host::new();
    let wire = Connection::loopback(100);
    let mut plain = sessions(&wire, [flags::FRESH; 2]);
    plain.client.is_seen = false;
    plain.call(&mut host, 1, None);
    host.pipeline.tick(host.now);
    assert_eq!(host.pipeline.stats().bytes, 0, "it may still be bound");
    host.now += 101 * MS;
    host.pipeline.tick(host.now);
    assert!(host.pipeline.stats().bytes > 0);
    let call = host.only_call();
    assert!(call.tls);
    assert_eq!(
        (call.seen_by, call.client_address, call.tcp),
        (vec!["server"], None, None)
    );
    assert_eq!(host.losses(), [("tls_sessions_unbound".to_owned(), 1)]);
}

#[test]
fn a_reader_may_wait_for_its_socket() {
    let mut host = Host::new();
    let wire = sealed(&mut host);
    let mut plain = sessions(&wire, [flags::FRESH; 2]);
    plain.client.is_seen = false;
    plain.ask(&mut host, &post(&tool_call(1), None));
    host.now += 5000 * MS;
    host.pipeline.tick(host.now);
    assert_eq!(host.pipeline.stats().bytes, 0);
    host.bind(&plain.server);
    plain.answer(&mut host, &reply(&result(1), None));
    let call = host.only_call();
    assert_eq!(call.client_address.as_deref(), Some("127.0.0.1:40312"));
    assert!(call.latency_us.unwrap() > 5_000_000.0);
}

#[test]
fn what_is_held_is_bounded() {
    let mut host = Host::new();
    let wire = Connection::loopback(100);
    let mut reader = sessions(&wire, [flags::FRESH; 2]).server;
    for _ in 0..40 {
        host.read(&mut reader, &[b'x'; 8192]);
    }
    host.pipeline.tick(host.now);
    assert_eq!(host.losses(), [("tls_sessions_unbound".to_owned(), 1)]);
    assert!(host.pipeline.stats().bytes > 256 * 1024);
}

/// Offsets that count from different bytes cannot be brought together: one end tells it all.
#[test]
fn one_end_from_its_middle_on() {
    let mut host = Host::new();
    let wire = sealed(&mut host);
    let mut plain = sessions(&wire, [flags::FRESH, 0]);
    host.bind(&plain.client);
    plain.server.is_seen = false;
    plain.call(&mut host, 1, None);
    plain.server.is_seen = true;
    plain.server.moved = [0; 2];
    host.bind(&plain.server);
    plain.call(&mut host, 2, None);
    let calls = host.finish();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.seen_by == ["client"]));
    assert_eq!(host.losses(), [("tls_records_unaligned".to_owned(), 2)]);
}

/// Nobody knows that the one end was seen from its first byte on, but it must have been.
#[test]
fn one_end_whose_beginning_was_missed() {
    for fresh in [[flags::FRESH, 0], [0, flags::FRESH]] {
        let mut host = Host::new();
        let wire = sealed(&mut host);
        let mut plain = sessions(&wire, fresh);
        for end in [&plain.client, &plain.server] {
            host.bind(end);
        }
        let request = post(&tool_call(1), None);
        // The server has read before the client's call of its library returns.
        host.now += MS;
        let began = host.now;
        host.read(&mut plain.server, request.as_bytes());
        host.entered = Some(began);
        host.write(&mut plain.client, request.as_bytes());
        host.entered = None;
        plain.answer(&mut host, &reply(&result(1), None));
        assert_eq!(host.only_call().seen_by, ["client", "server"], "{fresh:?}");
        assert!(host.losses().is_empty());
    }
}
