//! Metrics for Prometheus to fetch: `GET /metrics`.
//!
//! The text is written by [`text`], not by a library: `prometheus-client` and its like keep the
//! metrics themselves, in types of their own with no bound and no clock but their own, and none of
//! them writes both formats. The formats are a page of code each.

mod format;
mod listener;
mod text;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::{runtime::Builder, sync::oneshot};

use self::{
    format::Format,
    listener::{BoundedListener, LIFETIME},
};
use super::metering::Source;

/// Where metrics are served when nothing else is asked for: the port that OpenTelemetry's exporter
/// for Prometheus has by default. This host only, for names of tools and servers are nobody else's
/// business unless the operator says so.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:9464";

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PrometheusError {
    /// The address cannot be listened on.
    #[error("cannot serve metrics: on {address}: {source}; {advice}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
        /// What to do next.
        advice: &'static str,
    },
    /// There is no thread or event loop to be had.
    #[error("cannot serve metrics: cannot set up the event loop: {0}")]
    Setup(io::Error),
}

impl PrometheusError {
    fn listen(address: SocketAddr, source: io::Error) -> Self {
        let advice = match source.kind() {
            io::ErrorKind::AddrInUse => "give another address, or end what listens there (`ss -ltnp` names it)",
            io::ErrorKind::AddrNotAvailable => "give an address that this host has (`ip address` lists them)",
            io::ErrorKind::PermissionDenied => "give a port above 1023",
            _ => "give another address",
        };
        Self::Listen {
            address,
            source,
            advice,
        }
    }
}

/// A scrape endpoint, until it is dropped.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Prometheus {
    /// Serves `source` at `address`; port 0 takes any that is free.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(address: SocketAddr, source: Source) -> Result<Self, PrometheusError> {
        Self::start_with(address, source, LIFETIME)
    }

    fn start_with(address: SocketAddr, source: Source, lifetime: Duration) -> Result<Self, PrometheusError> {
        let failed = |source| PrometheusError::listen(address, source);
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(PrometheusError::Setup)?;
        let listener = {
            let _guard = runtime.enter();
            BoundedListener::new(tokio::net::TcpListener::from_std(listener).map_err(failed)?, lifetime)
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = async move {
            tokio::select! {
                served = axum::serve(listener, routes(source)) => {
                    if let Err(error) = served {
                        log::warn!("metrics are served no more: on {address}: {error}");
                    }
                }
                _ = stopped => {}
            }
        };
        let thread = thread::Builder::new()
            .name("prometheus".to_owned())
            .spawn(move || runtime.block_on(serve))
            .map_err(PrometheusError::Setup)?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has been told already.
            drop(thread.join());
        }
    }
}

fn routes(source: Source) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/", get(|| async { "mcpsonar: metrics are at /metrics\n" }))
        .with_state(source)
}

async fn metrics(State(source): State<Source>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let format = Format::negotiate(accept);
    let headers = [
        (header::CONTENT_TYPE, format.content_type()),
        // A connection lives for one answer: see `listener`.
        (header::CONNECTION, "close"),
    ];
    (StatusCode::OK, headers, text::encode(&source.snapshot(), format))
}

#[cfg(test)]
mod tests;
