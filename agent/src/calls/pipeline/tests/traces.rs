use super::*;

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}"#;

/// A session over two connections, of which only the ends that are told are in scope.
fn session(client: bool, server: bool, mut skipped: usize) -> Vec<CallRecord> {
    let mut host = Host::new();
    for (index, socket) in [100, 200].into_iter().enumerate() {
        let port = 40_000 + index;
        let mut connection = Connection::new(socket, &format!("10.0.0.1:{port}"), "10.0.0.2:7900");
        let mut step = |host: &mut Host, request: &str, response: &str| {
            let late = skipped > 0;
            skipped = skipped.saturating_sub(1);
            connection.client.is_seen = client && !late;
            connection.server.is_seen = server && !late;
            if connection.client.moved == [0; 2] || skipped == 0 {
                connection.open(host);
            }
            connection.ask(host, request);
            connection.answer(host, response);
        };
        if index == 0 {
            step(&mut host, &post(INITIALIZE, None), &reply(INITIALIZED, Some("tok-1")));
        }
        for id in [2 * index + 1, 2 * index + 2] {
            let id = u32::try_from(id).unwrap();
            step(
                &mut host,
                &post(&tool_call(id), Some("tok-1")),
                &reply(&result(id), None),
            );
        }
    }
    host.finish()
}

#[test]
fn two_agents_agree_without_talking() {
    let (clients, servers) = (session(true, false, 0), session(false, true, 0));
    let both = session(true, true, 0);
    assert_eq!((clients.len(), servers.len(), both.len()), (5, 5, 5));
    for call in &clients {
        let same = |other: &&CallRecord| other.request_id.get() == call.request_id.get();
        let (theirs, ours) = (servers.iter().find(same).unwrap(), both.iter().find(same).unwrap());
        assert_eq!(call.trace_id, theirs.trace_id);
        assert_eq!((call.client_span_id, call.server_span_id), (ours.client_span_id, None));
        assert_eq!(
            (theirs.client_span_id, theirs.server_span_id),
            (None, ours.server_span_id)
        );
        assert_eq!(ours.trace_id, call.trace_id);
        assert!(call.session.is_some() && call.session == theirs.session);
    }
    let mut traces: Vec<_> = both.iter().map(|call| call.trace_id.to_string()).collect();
    traces.sort();
    traces.dedup();
    assert_eq!(traces.len(), 5, "a trace for each");
}

#[test]
fn whenever_they_began() {
    let (clients, servers) = (session(true, false, 0), session(false, true, 2));
    assert_eq!(servers.len(), 3);
    for call in &servers {
        let same = |other: &&CallRecord| other.request_id.get() == call.request_id.get();
        let other = clients.iter().find(same).unwrap();
        assert_eq!((call.trace_id, call.session), (other.trace_id, other.session));
    }
}

#[test]
fn the_token_stays_inside() {
    for call in session(true, true, 0) {
        assert!(!format!("{call:?}").contains("tok-1"));
        assert!(!serde_json::to_string(&call).unwrap().contains("tok-1"));
    }
}

/// A proxy that passes the token on.
#[test]
fn hops_of_one_session_are_different_calls() {
    let mut host = Host::new();
    for (socket, client, server) in [
        (100, "127.0.0.1:40000", "127.0.0.1:7900"),
        (200, "127.0.0.1:50000", "127.0.0.1:7901"),
    ] {
        let mut connection = Connection::new(socket, client, server);
        connection.open(&mut host);
        connection.call(&mut host, 1, Some("tok-1"));
    }
    let calls = host.finish();
    let [one, other] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((one.trace_id, one.session), (other.trace_id, other.session));
    assert_ne!(one.call, other.call);
    assert_ne!(one.client_span_id, other.client_span_id);
}

#[test]
fn a_traceparent_of_the_request_wins() {
    let mut host = Host::new();
    let mut connection = Connection::loopback(100);
    connection.open(&mut host);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let header = format!("HTTP/1.1\r\ntraceparent: 00-{trace}-b7ad6b7169203331-01\r\n");
    connection.ask(
        &mut host,
        &post(&tool_call(1), None).replacen("HTTP/1.1\r\n", &header, 1),
    );
    connection.answer(&mut host, &reply(&result(1), None));
    assert_eq!(host.only_call().trace_id.to_string(), trace);
}
