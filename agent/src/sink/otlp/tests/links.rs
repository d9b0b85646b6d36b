//! What hangs on the spans of a call: links, events, and the spans of what was waited for.

use mcp_proto::{HttpVersion, Notice};

use super::*;
use crate::calls::{Phase, UpstreamKind, UpstreamWait};

#[test]
fn the_context_of_the_message_wins_and_that_of_http_is_linked() {
    let context = |byte| TraceContext {
        trace_id: [byte; 16],
        parent_id: [byte; 8],
        flags: 1,
    };
    let spans = spans_of(&with(|call| {
        call.trace_context = Some(context(7));
        call.ambient_context = Some(context(9));
    }));
    for OwnedSpan { span, .. } in &spans {
        assert_eq!(span.trace_id, [7; 16]);
        let [link] = &span.links[..] else { panic!("{span:?}") };
        assert_eq!((&*link.trace_id, &*link.span_id), (&[9; 16][..], &[9; 8][..]));
        assert_eq!(text(&link.attributes, "mcpsonar.link.kind"), Some("ambient"));
    }
}

#[test]
fn a_call_leads_to_the_hop_that_passes_it_on() {
    let outer = record(call());
    let mut inner = with(|call| {
        call.sequence = 9;
        call.request_id = RequestId("77".into());
    });
    inner.parent_call = Some(outer.call);
    let mut hops = Hops::default();
    assert_eq!(hops.take(&inner), None);
    let hop = hops.take(&outer).unwrap();
    assert_eq!(
        (hop.trace_id, hop.span_id),
        (inner.trace_id, inner.client_span_id.unwrap())
    );
    assert_eq!(hops.take(&outer), None, "once");
    let spans = spans_with(&outer, Some(&hop));
    let [client, server] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert!(client.span.links.is_empty());
    assert_eq!(server.span.links[0].span_id, hop.span_id.0);
    assert_eq!(
        text(&server.span.links[0].attributes, "mcpsonar.link.kind"),
        Some("hop")
    );
}

#[test]
fn notifications_are_events_of_who_was_asked() {
    let noticed = with(|call| {
        call.notifications = 3;
        call.notices = [Some("notifications/progress"), None]
            .map(|method| Notice { at: 20_000, method })
            .to_vec();
    });
    let spans = spans_of(&noticed);
    assert!(spans[0].span.events.is_empty());
    let told: Vec<_> = spans[1]
        .span
        .events
        .iter()
        .map(|event| (&*event.name, event.time_unix_nano))
        .collect();
    assert_eq!(told, [("notifications/progress", 1_020_000), ("_OTHER", 1_020_000)]);
    assert_eq!(spans[1].span.dropped_events_count, 1);
    let alone = spans_of(&with(|call| {
        call.notices = vec![Notice { at: 1, method: None }];
        call.server = Endpoint::default();
    }));
    assert_eq!((alone.len(), alone[0].span.events.len()), (1, 1));
}

#[test]
fn what_was_waited_for_is_below_the_responder() {
    let mut waited = record(call());
    let wait = |kind, peer: &str, address, exit_status| UpstreamWait {
        peer: peer.into(),
        kind,
        phase: Phase::FirstByte,
        address,
        from: 13_000,
        to: 15_000,
        bytes: 5,
        exit_status,
    };
    let address = "192.0.2.1:443".parse().ok();
    waited.waits = vec![
        wait(UpstreamKind::Lookup, "api.example.com", None, None),
        wait(UpstreamKind::Connection, "api.example.com", address, None),
        wait(UpstreamKind::Process, "git", None, Some(128)),
    ];
    let spans = spans_of(&waited);
    assert_eq!(spans.len(), 5);
    let server = waited.server_span_id.unwrap();
    let mut ids = std::collections::BTreeSet::new();
    for (name, kind, attribute, value) in [
        (
            "lookup api.example.com",
            SpanKind::Client,
            "dns.question.name",
            "api.example.com",
        ),
        ("upstream api.example.com", SpanKind::Client, "network.peer.port", "443"),
        (
            "upstream api.example.com",
            SpanKind::Client,
            "server.address",
            "api.example.com",
        ),
        (
            "upstream api.example.com",
            SpanKind::Client,
            "mcpsonar.upstream.first_byte",
            "0.000002",
        ),
        ("process git", SpanKind::Internal, "process.exit.code", "128"),
        ("process git", SpanKind::Internal, "error.type", "128"),
    ] {
        let OwnedSpan { owner, span } = spans.iter().find(|it| it.span.name == name).unwrap();
        assert_eq!((span.kind(), &*span.parent_span_id), (kind, &server.0[..]));
        assert_eq!(
            shown(&span.attributes, attribute).as_deref(),
            Some(value),
            "{attribute} of {name}"
        );
        assert_eq!(owner.label(), Some("python"));
        assert_eq!(
            (span.start_time_unix_nano, span.end_time_unix_nano),
            (1_013_000, 1_015_000)
        );
        ids.insert(span.span_id.clone());
    }
    assert_eq!(ids.len(), 3);
}

#[test]
fn sessions_and_versions_of_http() {
    let over = |version: &str, http: HttpVersion| {
        let mut over = call();
        (over.transport, over.carrier) = (Transport::Http, Carrier::Tcp);
        over.http_version = Some(http);
        over.protocol_version = Some(version.into());
        let mut over = record_over(over, Some(network()));
        over.session = Some(crate::calls::ShortId([0xab; 8]));
        spans_of(&over)
    };
    let value = |spans: &[OwnedSpan], name: &str| shown(&spans[0].span.attributes, name);
    let (old, new) = (
        over("2025-06-18", HttpVersion::Http1),
        over("2026-07-28", HttpVersion::Http2),
    );
    assert_eq!(value(&old, "mcp.session.id").as_deref(), Some("abababababababab"));
    assert_eq!(value(&new, "mcp.session.id"), None);
    assert_eq!(value(&old, "network.protocol.version").as_deref(), Some("1.1"));
    assert_eq!(value(&new, "network.protocol.version").as_deref(), Some("2"));
    let stdio = spans_of(&record(call()));
    assert_eq!(value(&stdio, "mcp.session.id"), None);
    assert!(value(&stdio, "mcpsonar.session.id").is_some());
}
