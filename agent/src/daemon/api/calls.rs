//! `/v1/calls`: recent calls, and one of them with what else happened.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::Value;

use super::{DAY, flags, line, period, refuse, stream};
use crate::calls::CallRecord;
use crate::daemon::{State, now};
use crate::history::{CallFilter, HistoryError, Reader, is_error, is_timeout};

const DEFAULT_LIMIT: usize = 50;
/// Calls of an answer at most.
const MAX_LIMIT: usize = 10_000;
const HOUR: Duration = Duration::from_secs(3600);
/// Instead of an id: the one that took longest.
const SLOWEST: &str = "slowest";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CallsQuery {
    since: Option<String>,
    slow: bool,
    errors: bool,
    tool: Option<String>,
    server: Option<String>,
    limit: Option<usize>,
    watch: bool,
}

/// One JSON object a line, the oldest call first.
pub(super) async fn list(Shared(state): Shared<Arc<State>>, Query(query): Query<CallsQuery>) -> Response {
    let Some(since) = period(query.since.as_deref(), HOUR) else {
        return refuse(StatusCode::BAD_REQUEST, "since is a duration: 90s, 15m, 24h");
    };
    let filter = CallFilter {
        since: now().saturating_sub(since),
        slow: query.slow,
        errors: query.errors,
        tool: query.tool,
        server: query.server,
        limit: query.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT),
    };
    // Before what has been is looked up: no call falls in between.
    let next = query.watch.then(|| state.live.listen());
    let asked = (Arc::clone(&state), filter.clone());
    let lines = match tokio::task::spawn_blocking(move || known(&asked.0, &asked.1)).await {
        Ok(Ok(lines)) => Bytes::from(lines),
        Ok(Err(error)) => return refuse(StatusCode::SERVICE_UNAVAILABLE, error),
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, error),
    };
    stream(lines, next, move |call| {
        wanted(&state, &filter, call).then(|| line(&**call))
    })
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OneQuery {
    since: Option<String>,
}

/// The call of which the id begins so, or the slowest, with the flags that were up about it.
pub(super) async fn one(
    Shared(state): Shared<Arc<State>>,
    Path(wanted): Path<String>,
    Query(query): Query<OneQuery>,
) -> Response {
    let Some(since) = period(query.since.as_deref(), DAY) else {
        return refuse(StatusCode::BAD_REQUEST, "since is a duration: 90s, 15m, 24h");
    };
    let found = tokio::task::spawn_blocking(move || {
        let mut calls = find(&state, &wanted, now().saturating_sub(since))?;
        let call = match (calls.pop(), calls.len()) {
            (Some(call), 0) => call,
            (None, _) if wanted == SLOWEST => return Ok(Err("there is no call yet".to_owned())),
            (None, _) => {
                let why = "it has not ended, it is older than what is remembered, or it was not kept whole";
                return Ok(Err(format!("no call has the id {wanted}: {why}")));
            }
            (Some(_), more) => {
                let all = more + 1;
                return Ok(Err(format!(
                    "{all} calls have ids that begin with {wanted}: give more of it"
                )));
            }
        };
        let mut call: Value = serde_json::from_str(&call).unwrap_or_default();
        call["flags"] = Value::Array(flags::during(&state, &call)?);
        Ok::<_, HistoryError>(Ok(call))
    });
    match found.await {
        Ok(Ok(Ok(call))) => axum::Json(call).into_response(),
        Ok(Ok(Err(why))) => refuse(StatusCode::NOT_FOUND, why),
        Ok(Err(error)) => refuse(StatusCode::SERVICE_UNAVAILABLE, error),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

/// The calls that may be meant, as JSON.
fn find(state: &State, wanted: &str, since: u64) -> Result<Vec<String>, HistoryError> {
    let json = |call: &CallRecord| serde_json::to_string(call).unwrap_or_default();
    let last = state.live.last();
    let reader = match &state.history {
        Some((path, _)) => Some(Reader::open(path)?),
        None => None,
    };
    if wanted == SLOWEST {
        let latency = |call: &CallRecord| call.latency_us.unwrap_or(0.0);
        let slowest = last
            .iter()
            .filter(|call| ended(call) >= since)
            .max_by(|a, b| latency(a).total_cmp(&latency(b)));
        let kept = match &reader {
            Some(reader) => reader.slowest(since, now(), 1)?.pop(),
            None => None,
        };
        return Ok(match (slowest, kept, &reader) {
            (slowest, Some(kept), Some(reader)) if kept.latency_us > slowest.and_then(|call| call.latency_us) => {
                let found = reader.calls_by_id(&kept.call)?;
                found
                    .into_iter()
                    .take(1)
                    .map(|(_, json)| json.get().to_owned())
                    .collect()
            }
            (slowest, ..) => slowest.map(|call| json(call)).into_iter().collect(),
        });
    }
    let mut found: Vec<(String, String)> = last
        .iter()
        .map(|call| (call.call.to_string(), call))
        .filter(|(id, _)| id.starts_with(wanted))
        .map(|(id, call)| (id, json(call)))
        .collect();
    if let Some(reader) = reader {
        for (id, json) in reader.calls_by_id(wanted)? {
            if !found.iter().any(|(known, _)| *known == id) {
                found.push((id, json.get().to_owned()));
            }
        }
    }
    Ok(found.into_iter().map(|(_, json)| json).collect())
}

/// Calls of the history and the last ones of all, as lines.
fn known(state: &State, filter: &CallFilter) -> Result<Vec<u8>, crate::history::HistoryError> {
    let last = state.live.last();
    let mut lines: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for call in last.iter().filter(|call| wanted(state, filter, call)) {
        seen.insert(call.call.to_string());
        lines.push((ended(call), line(&**call)));
    }
    if let Some((path, _)) = &state.history {
        for call in Reader::open(path)?.calls(filter)? {
            if let Some(json) = call.json.filter(|_| !seen.contains(&call.call)) {
                lines.push((call.at_unix_ms, format!("{}\n", json.get()).into_bytes()));
            }
        }
    }
    lines.sort_by_key(|(ended, _)| *ended);
    let surplus = lines.len().saturating_sub(filter.limit);
    Ok(lines.into_iter().skip(surplus).flat_map(|(_, line)| line).collect())
}

fn wanted(state: &State, filter: &CallFilter, call: &CallRecord) -> bool {
    let failed = is_error(call) || is_timeout(call);
    let slow = !failed && state.is_slow(call.latency_us);
    let of = |wanted: &Option<String>, name: Option<&str>| wanted.is_none() || wanted.as_deref() == name;
    ended(call) >= filter.since
        && ((!filter.slow && !filter.errors) || (filter.slow && slow) || (filter.errors && failed))
        && of(&filter.tool, call.tool.as_deref())
        && of(&filter.server, call.server.as_ref().and_then(|server| server.label()))
}

fn ended(call: &CallRecord) -> u64 {
    call.clock.unix(call.ended) / 1_000_000
}
