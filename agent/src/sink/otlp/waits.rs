//! What a responder waited for, as spans below its own: exchanges with other hosts, lookups of
//! names, child processes.

use mcp_proto::Nanos;
use opentelemetry::{
    SpanId, TraceFlags,
    trace::{SpanContext, SpanKind},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::{
    attributes::Attributes,
    names,
    span::{OwnedSpan, scope, status, time},
};
use crate::{
    calls::{CallRecord, Operation, Phase, UpstreamKind, UpstreamWait, upstream_span},
    sink::text::sanitise,
};

/// A request and its answer, with the connection that was made for it; or one child process.
#[derive(Debug)]
struct Exchange<'a> {
    first: &'a UpstreamWait,
    connect: Option<Nanos>,
    first_byte: Option<Nanos>,
    to: Nanos,
    bytes: u64,
}

/// The spans of what `responder`, whose span is `parent`, waited for.
pub(super) fn spans(call: &CallRecord, responder: &Operation<'_>, parent: &SpanData) -> Vec<OwnedSpan> {
    let exchanges = exchanges(&call.waits);
    let context = &parent.span_context;
    let span = |(index, exchange): (u64, &Exchange<'_>)| OwnedSpan {
        owner: responder.party.cloned().unwrap_or_default(),
        clock: call.clock,
        span: SpanData {
            span_context: SpanContext::new(
                context.trace_id(),
                SpanId::from_bytes(upstream_span(responder.span_id, index).0),
                TraceFlags::SAMPLED,
                false,
                context.trace_state().clone(),
            ),
            parent_span_id: context.span_id(),
            parent_span_is_remote: false,
            span_kind: match exchange.first.kind {
                UpstreamKind::Process => SpanKind::Internal,
                UpstreamKind::Connection | UpstreamKind::Lookup => SpanKind::Client,
            },
            name: name(exchange.first).into(),
            start_time: time(call, exchange.first.from),
            end_time: time(call, exchange.to),
            attributes: attributes(call, exchange).0,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: status(failure(exchange.first).is_some()),
            instrumentation_scope: scope(),
        },
    };
    (0..).zip(&exchanges).map(span).collect()
}

/// Waits for one peer belong together until the next request to it.
fn exchanges(waits: &[UpstreamWait]) -> Vec<Exchange<'_>> {
    let mut exchanges: Vec<Exchange<'_>> = Vec::new();
    for wait in waits {
        let took = wait.to.saturating_sub(wait.from);
        let last = exchanges.iter_mut().rev().find(|it| {
            it.first.kind == UpstreamKind::Connection && it.first.kind == wait.kind && it.first.address == wait.address
        });
        let joined = last.filter(|it| match wait.phase {
            Phase::Connect => false,
            Phase::FirstByte => it.first_byte.is_none(),
            Phase::Rest => true,
        });
        let exchange = match joined {
            Some(exchange) => exchange,
            None => {
                exchanges.push(Exchange {
                    first: wait,
                    connect: None,
                    first_byte: None,
                    to: wait.to,
                    bytes: 0,
                });
                let Some(new) = exchanges.last_mut() else { continue };
                new
            }
        };
        match wait.phase {
            Phase::Connect => exchange.connect = Some(took),
            Phase::FirstByte => exchange.first_byte = Some(took),
            Phase::Rest => {}
        }
        exchange.to = exchange.to.max(wait.to);
        exchange.bytes += wait.bytes;
    }
    exchanges
}

fn name(wait: &UpstreamWait) -> String {
    let what = match wait.kind {
        UpstreamKind::Connection => "upstream",
        UpstreamKind::Lookup => "lookup",
        UpstreamKind::Process => "process",
    };
    sanitise(format!("{what} {}", wait.peer).trim_end()).into_owned()
}

fn attributes(call: &CallRecord, exchange: &Exchange<'_>) -> Attributes {
    let wait = exchange.first;
    let mut out = Attributes::default();
    let micros = |nanos: Option<Nanos>| nanos.map(crate::calls::micros);
    match wait.kind {
        UpstreamKind::Connection => {
            out.text(names::WAIT_KIND, Some("connection"));
            out.text(names::SERVER_ADDRESS[0], Some(&host(wait)));
            if let Some(address) = wait.address {
                out.number(names::SERVER_ADDRESS[1], u64::from(address.port()));
            }
            out.text(names::NETWORK_TRANSPORT, Some("tcp"));
            out.address(names::NETWORK_PEER, wait.address);
            out.seconds(names::WAIT_CONNECT, micros(exchange.connect));
            out.seconds(names::WAIT_FIRST_BYTE, micros(exchange.first_byte));
            out.number(names::WAIT_SIZE, exchange.bytes);
        }
        UpstreamKind::Lookup => {
            out.text(names::WAIT_KIND, Some("lookup"));
            out.text(
                "dns.question.name",
                Some(&wait.peer).filter(|name| !name.is_empty()).map(AsRef::as_ref),
            );
            out.address(names::NETWORK_PEER, wait.address);
        }
        UpstreamKind::Process => {
            out.text(names::WAIT_KIND, Some("process"));
            out.text(names::PROCESS_EXECUTABLE_NAME, Some(&wait.peer));
            if let Some(status) = wait.exit_status {
                out.number("process.exit.code", u64::from(status.unsigned_abs()));
            }
        }
    }
    out.text(names::ERROR_TYPE, failure(wait).as_deref());
    if call.shared_window {
        out.flag(names::SHARED, true);
    }
    out
}

/// The peer without its port.
fn host(wait: &UpstreamWait) -> String {
    match wait.address {
        Some(address) if *wait.peer == *address.to_string() => address.ip().to_string(),
        _ => wait.peer.to_string(),
    }
}

fn failure(wait: &UpstreamWait) -> Option<String> {
    wait.exit_status
        .filter(|status| *status != 0)
        .map(|status| status.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(phase: Phase, port: u16, from: Nanos, to: Nanos) -> UpstreamWait {
        UpstreamWait {
            peer: "h".into(),
            kind: UpstreamKind::Connection,
            phase,
            address: Some(([192, 0, 2, 1], port).into()),
            from,
            to,
            bytes: 1,
            exit_status: None,
        }
    }

    #[test]
    fn one_exchange_for_each_request() {
        let waits = [
            wait(Phase::Connect, 1, 10, 20),
            wait(Phase::FirstByte, 2, 15, 30),
            wait(Phase::FirstByte, 1, 20, 40),
            wait(Phase::Rest, 1, 40, 50),
            wait(Phase::FirstByte, 1, 60, 70),
        ];
        let exchanges = exchanges(&waits);
        let told: Vec<_> = exchanges
            .iter()
            .map(|it| (it.first.from, it.to, it.connect, it.first_byte, it.bytes))
            .collect();
        let expected = [
            (10, 50, Some(10), Some(20), 3),
            (15, 30, None, Some(15), 1),
            (60, 70, None, Some(10), 1),
        ];
        assert_eq!(told, expected);
    }
}
