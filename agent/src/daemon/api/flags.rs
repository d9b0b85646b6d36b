//! `/v1/flags`: flags that are up, and that were.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{DAY, line, lines, period, refuse, stream};
use crate::daemon::{State, now};
use crate::flags::{Flag, definition};
use crate::history::{FlagRow, HistoryError, Reader};
use crate::sink::{CallDocument, FlagDocument};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FlagsQuery {
    /// Those of the past too.
    all: bool,
    since: Option<String>,
    /// Changes as they come.
    watch: bool,
}

/// One flag a line: those of the past first, then those that are up; then each change.
pub(super) async fn list(Shared(state): Shared<Arc<State>>, Query(query): Query<FlagsQuery>) -> Response {
    let Some(since) = period(query.since.as_deref(), DAY) else {
        return refuse(StatusCode::BAD_REQUEST, "since is a duration: 90s, 15m, 24h");
    };
    // Before what is up is looked up: no change falls in between.
    let next = query.watch.then(|| state.live.listen_to_flags());
    let asked = Arc::clone(&state);
    let known = tokio::task::spawn_blocking(move || {
        let mut flags = if query.all {
            past(&asked, now().saturating_sub(since), now())?
        } else {
            Vec::new()
        };
        flags.extend(asked.picture().flags());
        Ok::<_, HistoryError>(lines(flags))
    });
    let known: Bytes = match known.await {
        Ok(Ok(known)) => known,
        Ok(Err(error)) => return refuse(StatusCode::SERVICE_UNAVAILABLE, error),
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, error),
    };
    stream(known, next, |event| Some(line(&**event)))
}

/// The flags of the history that have been cleared, the oldest first.
fn past(state: &State, from: u64, to: u64) -> Result<Vec<Value>, HistoryError> {
    let Some((path, _)) = &state.history else {
        return Ok(Vec::new());
    };
    let rows = Reader::open(path)?.flags(from, to)?;
    let cleared = rows.iter().rev().filter(|row| row.cleared_unix_ms.is_some());
    Ok(cleared.map(of_row).collect())
}

/// A row in the words of an event.
fn of_row(row: &FlagRow) -> Value {
    let about = Flag::from_code(&row.code).map(definition);
    let nanos = |millis: u64| millis.saturating_mul(1_000_000);
    let mut evidence = row.evidence.clone();
    let mut take = |key: &str| evidence.as_object_mut().and_then(|all| all.remove(key));
    let [value, threshold, subject, name] = ["value", "threshold", "subject", "name"].map(&mut take);
    json!({
        "event": if row.cleared_unix_ms.is_some() { "cleared" } else { "raised" },
        "flag": row.code,
        "family": about.map(|about| about.family),
        "severity": row.severity,
        "title": about.map_or("", |about| about.title),
        "subject": subject,
        "name": name,
        "target": row.target,
        "since_unix_ns": nanos(row.since_unix_ms),
        "since_mono_ns": 0,
        "value": value,
        "threshold": threshold,
        "evidence": evidence,
        "advice": about.map_or("", |about| about.advice),
        "at_unix_ns": row.cleared_unix_ms.map(nanos),
        "at_mono_ns": 0,
        "cleared_because": null,
    })
}

/// The flags that were up at any time of a call and may have to do with it.
pub(super) fn during(state: &State, call: &Value) -> Result<Vec<Value>, HistoryError> {
    let Ok(document) = serde_json::from_value::<CallDocument>(call.clone()) else {
        return Ok(Vec::new());
    };
    let Some(start) = document.start_unix_ns else {
        return Ok(Vec::new());
    };
    let took = std::time::Duration::from_secs_f64(document.latency_us.unwrap_or(0.0).max(0.0) / 1e6);
    let end = start.saturating_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    let mut flags = past(state, start / 1_000_000, end / 1_000_000 + 1)?;
    let up = state.picture().flags();
    flags.extend(
        up.into_iter()
            .filter(|flag| flag["since_unix_ns"].as_u64() <= Some(end)),
    );
    flags
        .retain(|flag| serde_json::from_value::<FlagDocument>(flag.clone()).is_ok_and(|flag| flag.concerns(&document)));
    Ok(flags)
}
