//! What is so at the moment: endpoints, calls under way, and all of it as a frame of the live view.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::lines;
use crate::daemon::State;
use crate::host::monotonic;

/// One process and role a line.
pub(super) async fn endpoints(Shared(state): Shared<Arc<State>>) -> Response {
    let endpoints = state.picture().endpoints(monotonic());
    ([(header::CONTENT_TYPE, "application/x-ndjson")], lines(endpoints)).into_response()
}

/// Calls that have not ended, the oldest first.
pub(super) async fn in_flight(Shared(state): Shared<Arc<State>>) -> Response {
    let calls = state.picture().in_flight().to_vec();
    ([(header::CONTENT_TYPE, "application/x-ndjson")], lines(calls)).into_response()
}

/// Everything that the live view shows.
pub(super) async fn frame(Shared(state): Shared<Arc<State>>) -> Response {
    let frame = state.picture().frame(monotonic());
    let last: Vec<_> = state.live.last().into_iter().rev().take(LAST).collect();
    axum::Json(json!({
        "host": state.host,
        "at_unix_ms": crate::daemon::now(),
        "frame": frame,
        "last_calls": last,
    }))
    .into_response()
}

/// Ended calls of a frame.
const LAST: usize = 100;
