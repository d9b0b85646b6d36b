//! HTTP and JSON over the unix socket.

mod calls;
mod flags;
mod moment;

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
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
use http_body_util::channel::Channel;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::UnixListener;
use tokio::net::unix::UCred;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::socket::{Claim, may_ask};
use super::{DaemonError, State, now};
use crate::config::duration;
use crate::history::Reader;
use crate::report::{Report, html, text};

/// Lines that may wait for a reader.
const WAITING: usize = 16;
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
        .route("/v1/calls", get(calls::list))
        .route("/v1/calls/{call}", get(calls::one))
        .route("/v1/flags", get(flags::list))
        .route("/v1/endpoints", get(moment::endpoints))
        .route("/v1/inflight", get(moment::in_flight))
        .route("/v1/live", get(moment::frame))
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
    let (served, losses) = state.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let body = json!({
        "mcpsonar": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "host": state.host,
        "began_unix_ms": state.began,
        "reduced": state.reduced.get(),
        "records_dropped": state.dropped_records.load(Ordering::Relaxed),
        "prometheus": served,
        "losses": losses,
        "history": state.history.as_ref().map(|(_, status)| status.read()),
    });
    axum::Json(body).into_response()
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

/// What is known as lines of JSON, then what comes, as `line` makes it, until nobody reads it.
fn stream<T: Clone + Send + 'static>(
    known: Bytes,
    next: Option<Receiver<T>>,
    line: impl Fn(&T) -> Option<Vec<u8>> + Send + 'static,
) -> Response {
    let body = match next {
        None => Body::from(known),
        Some(mut next) => {
            let (mut out, body) = Channel::<Bytes>::new(WAITING);
            tokio::spawn(async move {
                let mut bytes = known;
                while out.send_data(bytes).await.is_ok() {
                    bytes = loop {
                        match next.recv().await {
                            Ok(item) => {
                                if let Some(line) = line(&item) {
                                    break line.into();
                                }
                            }
                            Err(RecvError::Lagged(missed)) => {
                                break format!("{}\n", json!({"missed": missed})).into();
                            }
                            Err(RecvError::Closed) => return,
                        }
                    };
                }
            });
            Body::new(body)
        }
    };
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// One object a line.
fn lines<T: Serialize>(items: impl IntoIterator<Item = T>) -> Bytes {
    items.into_iter().flat_map(|item| line(&item)).collect()
}

fn line(item: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(item).unwrap_or_default();
    line.push(b'\n');
    line
}
