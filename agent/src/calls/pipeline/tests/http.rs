use super::*;

fn address(text: Option<&str>) -> &str {
    text.unwrap_or("none")
}

#[test]
fn two_ends_are_one_call() {
    let mut host = Host::new();
    let mut connection = Connection::loopback(100);
    connection.open(&mut host);
    connection.call(&mut host, 1, None);
    let call = host.only_call();
    assert_eq!(
        (call.transport, call.network_transport, call.tls),
        ("http", "tcp", false)
    );
    assert_eq!(call.seen_by, ["client", "server"]);
    assert_eq!(call.client_address.as_deref(), Some("127.0.0.1:40312"));
    assert_eq!(call.server_address.as_deref(), Some("127.0.0.1:7900"));
    assert_eq!((call.http_status, call.outcome.code()), (Some(200), "ok"));
    assert_eq!(call.client.unwrap().label(), Some("client"));
    assert_eq!(call.server.unwrap().label(), Some("server"));
    assert!(call.loss.is_empty(), "{:?}", call.loss);
    let tcp = call.tcp.unwrap();
    assert_eq!((tcp.connect_us, tcp.srtt_us), (Some(150), 100), "of the client's end");
    assert_eq!((tcp.retransmits, tcp.in_flight_bytes), (2, 3));
    // Written at 3 ms, read at 4; the answer is written at 5 ms and read at 6.
    assert_eq!(tcp.time_to_first_byte_us, Some(3000.0));
    assert_eq!(call.session, None, "nobody named one");
}

#[test]
fn one_end_alone() {
    for (client_seen, seen) in [(true, "client"), (false, "server")] {
        let mut host = Host::new();
        let mut connection = Connection::new(100, "[::1]:40312", "[::1]:7900");
        connection.client.is_seen = client_seen;
        connection.server.is_seen = !client_seen;
        connection.open(&mut host);
        connection.call(&mut host, 1, None);
        let call = host.only_call();
        assert_eq!(call.seen_by, [seen]);
        assert_eq!(address(call.client_address.as_deref()), "[::1]:40312");
        assert_eq!(address(call.server_address.as_deref()), "[::1]:7900");
        let tcp = call.tcp.unwrap();
        assert_eq!(tcp.connect_us, client_seen.then_some(150));
        assert_eq!(tcp.time_to_first_byte_us.is_some(), client_seen);
    }
}

#[test]
fn a_second_end_that_shows_late() {
    let mut host = Host::new();
    let mut connection = Connection::loopback(100);
    host.socket(&connection.client, SocketEvent::Connected, 150);
    let request = post(&tool_call(1), None);
    host.write(&mut connection.client, request.as_bytes());
    host.socket(&connection.server, SocketEvent::Seen, 0);
    host.read(&mut connection.server, request.as_bytes());
    connection.answer(&mut host, &reply(&result(1), None));
    let call = host.only_call();
    assert_eq!(call.seen_by, ["client", "server"]);
    assert!(call.parts_us.request_queue.is_some() && call.loss.is_empty());
}

#[test]
fn loopback_stays_in_its_namespace() {
    let mut host = Host::new();
    let mut one = Connection::loopback(100);
    one.server.is_seen = false;
    let mut other = Connection::loopback(200);
    other.client.is_seen = false;
    other.server.netns = 2;
    for connection in [&mut one, &mut other] {
        connection.open(&mut host);
        connection.call(&mut host, 1, None);
    }
    let calls = host.finish();
    let seen: Vec<_> = calls.iter().map(|call| call.seen_by.clone()).collect();
    assert_eq!(seen, [["client"], ["server"]]);
}

#[test]
fn other_addresses_join_namespaces() {
    let mut host = Host::new();
    let mut connection = Connection::new(100, "10.1.0.2:40312", "10.1.0.3:7900");
    connection.server.netns = 2;
    connection.open(&mut host);
    connection.call(&mut host, 1, None);
    assert_eq!(host.only_call().seen_by, ["client", "server"]);
}

#[test]
fn addresses_are_used_again() {
    let mut host = Host::new();
    for socket in [100, 200, 300] {
        let mut connection = Connection::loopback(socket);
        connection.open(&mut host);
        connection.call(&mut host, 1, None);
        connection.close(&mut host);
    }
    let calls = host.finish();
    assert_eq!(calls.len(), 3);
    for call in calls {
        assert_eq!(call.seen_by, ["client", "server"]);
        assert_eq!(address(call.server_address.as_deref()), "127.0.0.1:7900");
    }
}

#[test]
fn a_call_that_comes_out_at_the_close_knows_its_connection() {
    let mut host = Host::new();
    let mut connection = Connection::loopback(100);
    connection.server.is_seen = false;
    connection.open(&mut host);
    connection.ask(&mut host, &post(&tool_call(1), None));
    connection.close(&mut host);
    host.now += 1000 * MS;
    host.pipeline.tick(host.now);
    let call = host.only_call();
    assert_eq!(call.outcome.code(), "abandoned");
    assert_eq!(address(call.client_address.as_deref()), "127.0.0.1:40312");
    assert!(call.tcp.is_some());
}

/// A server writes the head of its answer, then the message: Nagle keeps the second write back until
/// the client has acknowledged the first, which it does 40 ms later.
#[test]
fn what_the_network_keeps_back_is_not_the_servers_time() {
    let mut host = Host::new();
    let mut connection = Connection::loopback(100);
    connection.open(&mut host);
    connection.ask(&mut host, &post(&tool_call(1), None));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let event = format!("data: {}\n\n", result(1));
    let rest = format!("{:x}\r\n{event}\r\n0\r\n\r\n", event.len());
    host.write(&mut connection.server, head.as_bytes());
    host.write(&mut connection.server, rest.as_bytes());
    host.read(&mut connection.client, head.as_bytes());
    host.now += 40 * MS;
    host.read(&mut connection.client, rest.as_bytes());
    let parts = host.only_call().parts_us;
    assert!(parts.server.unwrap() < 2000.0, "{parts:?}");
    assert!(parts.response_queue.unwrap() > 40_000.0, "{parts:?}");
}

/// The message itself in two writes.
#[test]
fn the_rest_of_an_answer_is_transfer() {
    let mut host = Host::new();
    let mut connection = Connection::loopback(100);
    connection.open(&mut host);
    connection.ask(&mut host, &post(&tool_call(1), None));
    let whole = reply(&result(1), None);
    let (first, rest) = whole.split_at(whole.len() - 10);
    host.write(&mut connection.server, first.as_bytes());
    host.write(&mut connection.server, rest.as_bytes());
    host.read(&mut connection.client, first.as_bytes());
    host.now += 40 * MS;
    host.read(&mut connection.client, rest.as_bytes());
    let parts = host.only_call().parts_us;
    assert!(parts.server.unwrap() < 2000.0, "{parts:?}");
    assert!(parts.transfer.unwrap() > 40_000.0, "{parts:?}");
}

#[test]
fn a_relay_names_the_call_that_it_passes_on() {
    let mut host = Host::new();
    let mut outer = Connection::loopback(100);
    let mut inner = Connection::new(200, "127.0.0.1:50000", "127.0.0.1:7901");
    (inner.client.pid, inner.server.pid) = (20, 30);
    for connection in [&outer, &inner] {
        connection.open(&mut host);
    }
    // Who serves is known by the first call.
    outer.call(&mut host, 1, Some("s-1"));
    outer.ask(&mut host, &post(&tool_call(2), Some("s-1")));
    inner.call(&mut host, 7, Some("s-2"));
    outer.answer(&mut host, &reply(&result(2), None));
    let calls = host.finish();
    let by_id = |id: &str| calls.iter().find(|call| call.request_id.get() == id).unwrap();
    assert_eq!(by_id("7").parent_call, Some(by_id("2").call));
    assert_eq!((by_id("1").parent_call, by_id("2").parent_call), (None, None));
}

/// Text that its coding has made shorter lies within the bytes that carry it: whoever has read these has read it.
#[test]
fn a_compressed_answer_is_read_when_its_bytes_are() {
    use std::io::Write as _;

    let mut host = Host::new();
    let mut connection = Connection::loopback(100);
    connection.open(&mut host);
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[{{"type":"text","text":"{}"}}]}}}}"#,
        "x".repeat(3000)
    );
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(body.as_bytes()).unwrap();
    let coded = gzip.finish().unwrap();
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        coded.len()
    )
    .into_bytes();
    answer.extend(coded);
    connection.ask(&mut host, &post(&tool_call(1), None));
    host.write(&mut connection.server, &answer);
    host.read(&mut connection.client, &answer);
    let call = host.only_call();
    assert!(call.loss.is_empty(), "{:?}", call.loss);
    assert_eq!(call.response_bytes, body.len() as u64);
    assert_eq!(call.parts_us.response_queue, Some(1100.0));
}
