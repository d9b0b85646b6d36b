//! Asking over HTTP.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::runtime::Runtime;

use super::FleetError;
use super::answer::{self, Answer, Series};
use super::gather::Ask;
use super::url::Address;
use crate::cli::escape;
use crate::history::UnixMillis;

/// Time for one answer: a day of a large fleet is read from disk.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of one answer.
const MAX_ANSWER: usize = 256 << 20;

/// A header that goes with every question.
pub type Header = (HeaderName, HeaderValue);

/// A database with the API of Prometheus.
#[derive(Debug)]
pub struct Database {
    runtime: Runtime,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    headers: Vec<Header>,
}

impl Database {
    /// The one at `url`. Nothing is asked yet.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn at(url: &str, mut headers: Vec<Header>) -> Result<Self, FleetError> {
        let Address { base, authorization } = Address::parse(url)?;
        let unreachable = |reason: String| FleetError::Unreachable {
            url: base.clone(),
            reason,
        };
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| unreachable(format!("no root certificates: {error}")))?
            .https_or_http()
            .enable_http1()
            .build();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| unreachable(error.to_string()))?;
        if let Some(authorization) = authorization {
            // Base64 is a value of a header.
            headers.extend(
                HeaderValue::try_from(authorization)
                    .ok()
                    .map(|value| (AUTHORIZATION, value)),
            );
        }
        Ok(Self {
            runtime,
            client: Client::builder(TokioExecutor::new()).build(connector),
            base,
            headers,
        })
    }

    /// Its address, without a password.
    pub(super) fn url(&self) -> &str {
        &self.base
    }

    fn unreachable(&self, reason: &impl ToString) -> FleetError {
        FleetError::Unreachable {
            url: self.base.clone(),
            reason: reason.to_string(),
        }
    }

    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Result<(StatusCode, Bytes), FleetError> {
        let form: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", escape(value)))
            .collect();
        // By POST: queries are longer than some proxies let a URL be.
        let mut request = Request::post(format!("{}/api/v1/{path}", self.base))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form.join("&")))
            .map_err(|_unnamed| FleetError::Url {
                url: self.base.clone(),
                reason: "it is no URL",
            })?;
        request.headers_mut().extend(self.headers.iter().cloned());
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| self.unreachable(&whole(&error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER);
        let body = body.collect().await.map_err(|error| self.unreachable(&error))?;
        Ok((status, body.to_bytes()))
    }

    fn question(&self, path: &str, query: &str, times: &[(&str, String)]) -> Result<Vec<Series>, FleetError> {
        let mut fields = vec![("query", query)];
        fields.extend(times.iter().map(|(name, value)| (*name, value.as_str())));
        let within = async { tokio::time::timeout(PATIENCE, self.send(path, &fields)).await };
        let answered = self.runtime.block_on(within);
        let (status, body) =
            answered.map_err(|_late| self.unreachable(&format!("no answer within {} s", PATIENCE.as_secs())))??;
        if matches!(status.as_u16(), 401 | 403) {
            return Err(FleetError::Refused {
                url: self.base.clone(),
                status: status.as_u16(),
            });
        }
        match answer::parse(&body) {
            Answer::Series(series) => Ok(series),
            Answer::Error(reason) => Err(FleetError::Query {
                url: self.base.clone(),
                query: query.to_owned(),
                reason,
            }),
            Answer::Other => Err(FleetError::NotPrometheus {
                url: self.base.clone(),
                reason: format!("/api/v1/{path} answers with HTTP {} and other content", status.as_u16()),
            }),
        }
    }
}

impl Ask for Database {
    fn instant(&self, query: &str, at: UnixMillis) -> Result<Vec<Series>, FleetError> {
        self.question("query", query, &[("time", seconds(at))])
    }

    fn range(&self, query: &str, from: UnixMillis, to: UnixMillis, step: u64) -> Result<Vec<Series>, FleetError> {
        let times = [
            ("start", seconds(from)),
            ("end", seconds(to)),
            ("step", format!("{step}s")),
        ];
        self.question("query_range", query, &times)
    }
}

/// As the API takes times.
fn seconds(millis: UnixMillis) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// An error with what has led to it.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
