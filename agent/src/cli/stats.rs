//! What a run captured, lost and concluded, as one JSON object.

use std::collections::BTreeMap;

use mcp_proto::Stats;
use serde_json::{Value, json};

use crate::{observe::Report, sink::Losses};

pub(super) fn json(report: &Report, calls: u64, faults: &BTreeMap<&'static str, u64>, losses: &Losses) -> Value {
    let Report {
        command: _,
        tier,
        hooks,
        counters,
        stats,
        losses: _,
        usage,
    } = report;
    json!({
        "mcpsonar": env!("CARGO_PKG_VERSION"),
        "tier": *tier as u8,
        "calls": calls,
        "faults": faults,
        "losses": losses,
        "counters": counters,
        "protocol": protocol(stats),
        "usage": usage,
        "hooks": hooks,
    })
}

/// Every field: a new one does not compile until it is told.
fn protocol(stats: &Stats) -> Value {
    let &Stats {
        bytes,
        bytes_parsed,
        bytes_skipped,
        bytes_missing,
        bytes_pending,
        bytes_duplicate,
        requests,
        responses,
        notifications,
        calls,
        responses_unpaired,
        messages_truncated,
        messages_cut,
        lines_polluted,
        lines_malformed,
        held_dropped,
        calls_evicted,
        sessions_evicted,
        bytes_undecoded,
        streams_evicted,
        faults_suppressed,
        events_dropped,
    } = stats;
    json!({
        "bytes": bytes,
        "bytes_parsed": bytes_parsed,
        "bytes_skipped": bytes_skipped,
        "bytes_missing": bytes_missing,
        "bytes_pending": bytes_pending,
        "bytes_duplicate": bytes_duplicate,
        "requests": requests,
        "responses": responses,
        "notifications": notifications,
        "calls": calls,
        "responses_unpaired": responses_unpaired,
        "messages_truncated": messages_truncated,
        "messages_cut": messages_cut,
        "lines_polluted": lines_polluted,
        "lines_malformed": lines_malformed,
        "held_dropped": held_dropped,
        "calls_evicted": calls_evicted,
        "sessions_evicted": sessions_evicted,
        "bytes_undecoded": bytes_undecoded,
        "streams_evicted": streams_evicted,
        "faults_suppressed": faults_suppressed,
        "events_dropped": events_dropped,
    })
}
