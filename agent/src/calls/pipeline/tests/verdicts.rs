use super::*;

const BINARY: &[u8] = &[0; 128];

/// A connection that carries something else, from the offset on.
fn binary(host: &mut Host, socket: u64, offset: u64) -> Connection {
    let client = format!("127.0.0.1:{}", 41_000 + socket);
    let mut connection = Connection::new(socket, &client, "127.0.0.1:5432");
    connection.open(host);
    connection.client.moved = [offset; 2];
    connection.server.moved = [offset; 2];
    host.write(&mut connection.client, BINARY);
    host.read(&mut connection.server, BINARY);
    connection
}

#[test]
fn where_the_writer_ships_the_bytes_the_reader_need_not() {
    let mut host = Host::new();
    let mut connection = Connection::loopback(100);
    connection.open(&mut host);
    connection.call(&mut host, 1, None);
    let verdicts = host.verdicts();
    for (writer, reader) in [
        (&connection.client, &connection.server),
        (&connection.server, &connection.client),
    ] {
        assert_eq!(verdicts[&writer.key(false)], VerdictCode::Watch as u32);
        assert_eq!(verdicts[&reader.key(true)], VerdictCode::Timing as u32);
    }
    let mut alone = Connection::new(200, "127.0.0.1:40313", "127.0.0.1:7900");
    alone.client.is_seen = false;
    alone.open(&mut host);
    alone.call(&mut host, 1, None);
    assert_eq!(host.verdicts()[&alone.server.key(true)], VerdictCode::Watch as u32);
}

#[test]
fn a_server_that_speaks_something_else() {
    let mut host = Host::new();
    for socket in 1..8 {
        let connection = binary(&mut host, 10 * socket, 0);
        assert_eq!(
            host.verdicts()[&connection.client.key(false)],
            VerdictCode::Ignore as u32
        );
    }
    assert!(host.pipeline.take_endpoint_judgements().is_empty());
    binary(&mut host, 80, 0);
    let judgements = host.pipeline.take_endpoint_judgements();
    let [(endpoint, Some(VerdictCode::Ignore))] = judgements[..] else {
        panic!("{judgements:?}");
    };
    assert_eq!((endpoint.port, endpoint.netns), (5432, 1));
    assert_eq!(endpoint.address, ip_bytes("127.0.0.1".parse().unwrap()));
    host.pipeline.tick(host.now + 61_000 * MS);
    assert_eq!(host.pipeline.take_endpoint_judgements(), [(endpoint, None)]);
}

#[test]
fn a_server_that_speaks_mcp_as_well() {
    let mut host = Host::new();
    let mut connection = Connection::new(9, "127.0.0.1:40312", "127.0.0.1:5432");
    connection.open(&mut host);
    connection.call(&mut host, 1, None);
    for socket in 1..20 {
        binary(&mut host, 10 * socket, 0);
    }
    assert!(host.pipeline.take_endpoint_judgements().is_empty());
}

#[test]
fn a_server_that_spoke_mcp_before_is_expected_to() {
    let mut host = Host::new();
    let call = |host: &mut Host, socket: u16| {
        let mut connection = Connection::new(
            10 * u64::from(socket),
            &format!("127.0.0.1:{}", 40_000 + socket),
            "127.0.0.1:5432",
        );
        connection.open(host);
        connection.call(host, 1, None);
        host.pipeline.take_endpoint_judgements()
    };
    assert!(call(&mut host, 1).is_empty());
    let judgements = call(&mut host, 2);
    let [(endpoint, Some(VerdictCode::Watch))] = judgements[..] else {
        panic!("{judgements:?}");
    };
    assert_eq!(endpoint.port, 5432);
    assert!(call(&mut host, 3).is_empty());
    // Until it is seen to serve much else.
    for socket in 100..107 {
        binary(&mut host, 10 * socket, 0);
    }
    assert!(host.pipeline.take_endpoint_judgements().is_empty());
    binary(&mut host, 1080, 0);
    assert_eq!(host.pipeline.take_endpoint_judgements(), [(endpoint, None)]);
    assert_eq!(call(&mut host, 4), [(endpoint, Some(VerdictCode::Watch))]);
}

/// TLS need not look like it from its middle on: its session may still have to be bound.
#[test]
fn what_is_seen_from_its_middle_on_is_not_written_off() {
    let mut host = Host::new();
    for socket in 1..20 {
        let connection = binary(&mut host, 10 * socket, 77);
        assert_eq!(
            host.verdicts()[&connection.client.key(false)],
            VerdictCode::Sealed as u32
        );
    }
    assert!(host.pipeline.take_endpoint_judgements().is_empty());
}

#[test]
fn binary_on_a_watched_stream_is_not_taken_for_tls() {
    let mut host = Host::new();
    let mut connection = Connection::loopback(100);
    connection.open(&mut host);
    connection.call(&mut host, 1, None);
    host.write(&mut connection.client, b"\x17\x03\x03");
    assert!(host.pipeline.take_sealed().is_empty());
}
