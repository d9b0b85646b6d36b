//! HTTP and JSON over the unix socket.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Query, Request, State as Shared};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::IncomingStream;
use http_body_util::channel::{Channel, Sender};
use serde::Deserialize;
use serde_json::json;
use tokio::net::UnixListener;
use tokio::net::unix::UCred;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::socket::{Claim, may_ask};
use super::{DaemonError, State, now};
use crate::calls::CallRecord;
use crate::config::duration;
use crate::history::{CallFilter, Reader, is_error, is_timeout};
use crate::report::{Report, html, text};

/// Lines that may wait for a reader.
const WAITING: usize = 16;
const DEFAULT_LIMIT: usize = 50;
/// Calls of an answer at most.
const MAX_LIMIT: usize = 10_000;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
struct Peer(Option<UCred>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok())
    }
}

/// Answers in a thread of its own: no question makes the ring wait.
pub(super) fn start(claim: &Claim, state: Arc<State>) -> Result<JoinHandle<()>, DaemonError> {
    let failed = |source| DaemonError::Setup {
        what: "the API",
        source,
    };
    let listener = claim.listener.try_clone().map_err(failed)?;
    let app = router(state, claim.group);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(failed)?;
    let serve = async {
        let listener = UnixListener::from_std(listener)?;
        axum::serve(listener, app.into_make_service_with_connect_info::<Peer>()).await
    };
    let run = move || {
        if let Err(error) = runtime.block_on(serve) {
            tracing::error!(%error, "the API has ended; the observation goes on");
        }
    };
    thread::Builder::new().name("api".to_owned()).spawn(run).map_err(failed)
}

fn router(state: Arc<State>, group: Option<u32>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/calls", get(calls))
        .route("/v1/report", get(report))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            check(group, request, next)
        }))
        .with_state(state)
}

async fn check(group: Option<u32>, request: Request, next: Next) -> Response {
    let peer = request
        .extensions()
        .get::<ConnectInfo<Peer>>()
        .and_then(|info| info.0.0);
    if peer.is_some_and(|peer| may_ask(&peer, group)) {
        return next.run(request).await;
    }
    refuse(
        StatusCode::FORBIDDEN,
        "only root, the agent's own user and its group (socket.group) may ask",
    )
}

fn refuse(status: StatusCode, error: impl std::fmt::Display) -> Response {
    (status, axum::Json(json!({"error": format!("{error}")}))).into_response()
}

async fn status(Shared(state): Shared<Arc<State>>) -> Response {
    let body = json!({
        "mcpsonar": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "host": state.host,
        "began_unix_ms": state.began,
        "records_dropped": state.dropped_records.load(Ordering::Relaxed),
        "history": state.history.as_ref().map(|(_, status)| status.read()),
    });
    axum::Json(body).into_response()
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CallsQuery {
    since: Option<String>,
    slow: bool,
    errors: bool,
    tool: Option<String>,
    server: Option<String>,
    limit: Option<usize>,
    watch: bool,
}

/// One JSON object a line, the oldest call first.
async fn calls(Shared(state): Shared<Arc<State>>, Query(query): Query<CallsQuery>) -> Response {
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
    let body = match next {
        None => Body::from(lines),
        Some(next) => {
            let (out, body) = Channel::<Bytes>::new(WAITING);
            tokio::spawn(watch(lines, next, out, state, filter));
            Body::new(body)
        }
    };
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// Sends calls as they end, until nobody reads them any more.
async fn watch(
    lines: Bytes,
    mut next: Receiver<Arc<CallRecord>>,
    mut out: Sender<Bytes>,
    state: Arc<State>,
    filter: CallFilter,
) {
    if out.send_data(lines).await.is_err() {
        return;
    }
    loop {
        let line = match next.recv().await {
            Ok(call) if wanted(&state, &filter, &call) => line(&call),
            Ok(_) => continue,
            Err(RecvError::Lagged(missed)) => format!("{}\n", json!({"missed": missed})).into_bytes(),
            Err(RecvError::Closed) => return,
        };
        if out.send_data(line.into()).await.is_err() {
            return;
        }
    }
}

async fn report(Shared(state): Shared<Arc<State>>, Query(query): Query<ReportQuery>) -> Response {
    let Some(since) = period(query.since.as_deref(), DAY) else {
        return refuse(StatusCode::BAD_REQUEST, "since is a duration: 90m, 24h, 3d");
    };
    let Some((path, _)) = state.history.clone() else {
        return refuse(StatusCode::NOT_FOUND, "there is no history: history.enabled is false");
    };
    let host = state.host.clone();
    let made = tokio::task::spawn_blocking(move || {
        let to = now();
        Report::of(&Reader::open(&path)?, &host, to.saturating_sub(since), to)
    });
    let report = match made.await {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => return refuse(StatusCode::SERVICE_UNAVAILABLE, error),
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, error),
    };
    match query.format.as_deref() {
        None | Some("json") => axum::Json(report).into_response(),
        Some("text") => text(&report).into_response(),
        Some("html") => axum::response::Html(html(&report)).into_response(),
        Some(_) => refuse(StatusCode::BAD_REQUEST, "format is json, text or html"),
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ReportQuery {
    since: Option<String>,
    format: Option<String>,
}

/// Milliseconds.
fn period(text: Option<&str>, or: Duration) -> Option<u64> {
    let length = text.map_or(Some(or), duration)?;
    u64::try_from(length.as_millis()).ok()
}

/// Calls of the history and the last ones of all, as lines.
fn known(state: &State, filter: &CallFilter) -> Result<Vec<u8>, crate::history::HistoryError> {
    let last = state.live.last();
    let mut lines: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for call in last.iter().filter(|call| wanted(state, filter, call)) {
        seen.insert(call.call.to_string());
        lines.push((ended(call), line(call)));
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

fn line(call: &CallRecord) -> Vec<u8> {
    let mut line = serde_json::to_vec(call).unwrap_or_default();
    line.push(b'\n');
    line
}
