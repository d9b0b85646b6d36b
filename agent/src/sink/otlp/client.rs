//! The way to the collector: one request, by gRPC or HTTP, and what its failure means.

use std::{io::Write as _, time::Duration};

use flate2::{Compression, write::GzEncoder};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri, body::Bytes, header, http::uri::PathAndQuery};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::{HttpClient as _, hyper::HyperClient};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tokio::time::error::Elapsed;
use tonic::{Code, Status, codec::CompressionEncoding, metadata::MetadataMap, transport::Channel};
use tonic_types::StatusExt as _;

use super::{OtlpError, OtlpProtocol, codec::Raw, failed, route::Route, settings::check_url, tls};

/// Bytes of a collector's answer by gRPC that are read; by HTTP the client has a bound of its own.
const MAX_ANSWER: usize = 64 << 10;
const AGENT: &str = concat!("mcpsonar/", env!("CARGO_PKG_VERSION"));

/// Why a request has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It would fail again.
    Final(String),
    /// The collector asks for patience.
    Later {
        reason: String,
        /// For so much of it.
        after: Option<Duration>,
    },
    /// There was no answer.
    Unreached(String),
}

/// What the collector has not taken of what it has taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rejected {
    /// Spans or points.
    pub(super) count: u64,
    pub(super) reason: String,
}

/// Sends requests of one signal.
pub(super) struct Client {
    wire: Wire,
    headers: HeaderMap,
    timeout: Duration,
    gzip: bool,
}

enum Wire {
    Grpc(Box<tonic::client::Grpc<Channel>>, PathAndQuery),
    Http(Box<HyperClient<HttpsConnector<HttpConnector>>>, Uri),
}

impl Client {
    /// Connects when it is used. Within a tokio runtime.
    pub(super) fn new(route: &Route) -> Result<Self, OtlpError> {
        let url = &*route.url;
        check_url(url)?;
        let wire = match route.protocol {
            OtlpProtocol::Grpc => {
                let mut grpc = tonic::client::Grpc::new(tls::channel(route)?).max_decoding_message_size(MAX_ANSWER);
                if route.gzip {
                    grpc = grpc.send_compressed(CompressionEncoding::Gzip);
                }
                Wire::Grpc(Box::new(grpc), PathAndQuery::from_static(route.signal.method()))
            }
            OtlpProtocol::Http => {
                let client = HyperClient::new(tls::connector(route)?, route.timeout, None);
                let uri = url
                    .parse()
                    .map_err(|error: hyper::http::uri::InvalidUri| failed(url, &error))?;
                Wire::Http(Box::new(client), uri)
            }
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &route.headers {
            let bad = || failed(url, &format!("{name} cannot be a header"));
            let name = header::HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes());
            let value = header::HeaderValue::from_str(value);
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(bad());
            };
            headers.insert(name, value);
        }
        Ok(Self {
            wire,
            headers,
            timeout: route.timeout,
            gzip: route.gzip,
        })
    }

    /// Sends a request, which is encoded.
    pub(super) async fn send(&mut self, request: Bytes) -> Result<Rejected, Failure> {
        let answer = match &mut self.wire {
            Wire::Grpc(grpc, method) => {
                let exchange = call(grpc, method.clone(), self.headers.clone(), request);
                let answer = tokio::time::timeout(self.timeout, exchange).await;
                answer.unwrap_or_else(|_elapsed| Err(unanswered(self.timeout)))?
            }
            Wire::Http(client, uri) => {
                let request = post(uri.clone(), &self.headers, self.gzip, request)
                    .map_err(|error| Failure::Final(error.to_string()))?;
                let answer = client.send_bytes(request).await.map_err(|error| {
                    if error.is::<Elapsed>() {
                        unanswered(self.timeout)
                    } else {
                        Failure::Unreached(chain(&*error))
                    }
                })?;
                if !answer.status().is_success() {
                    return Err(of_http(answer.status(), answer.headers()));
                }
                answer.into_body()
            }
        };
        // That of metrics has the same fields.
        let response = ExportTraceServiceResponse::decode(answer)
            .map_err(|_error| Failure::Unreached("the answer makes no sense".to_owned()))?;
        let partial = response.partial_success.unwrap_or_default();
        Ok(Rejected {
            count: u64::try_from(partial.rejected_spans).unwrap_or_default(),
            reason: crate::sink::sanitise(&partial.error_message).into_owned(),
        })
    }
}

async fn call(
    grpc: &mut tonic::client::Grpc<Channel>,
    method: PathAndQuery,
    headers: HeaderMap,
    request: Bytes,
) -> Result<Bytes, Failure> {
    grpc.ready().await.map_err(|error| Failure::Unreached(chain(&error)))?;
    let mut request = tonic::Request::new(request);
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    let answer = grpc.unary(request, method, Raw).await;
    Ok(answer.map_err(|status| of_status(&status))?.into_inner())
}

fn unanswered(timeout: Duration) -> Failure {
    Failure::Unreached(format!("there was no answer within {timeout:?}"))
}

fn post(uri: Uri, headers: &HeaderMap, gzip: bool, body: Bytes) -> std::io::Result<Request<Bytes>> {
    let body = if gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&body)?;
        encoder.finish()?.into()
    } else {
        body
    };
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let out = request.headers_mut();
    out.insert(header::USER_AGENT, header::HeaderValue::from_static(AGENT));
    out.extend(headers.clone());
    out.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/x-protobuf"),
    );
    if gzip {
        out.insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
    }
    Ok(request)
}

/// OTLP, failures over HTTP: these four are worth another try.
fn of_http(status: StatusCode, headers: &HeaderMap) -> Failure {
    let reason = format!("the collector answers {status}");
    match status.as_u16() {
        429 | 502 | 503 | 504 => {
            let after = headers.get(header::RETRY_AFTER);
            let after = after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
            Failure::Later {
                reason,
                after: after.map(Duration::from_secs),
            }
        }
        _ => Failure::Final(reason),
    }
}

/// OTLP, failures over gRPC. What has a source has never come from the collector.
fn of_status(status: &Status) -> Failure {
    let reason = match status.message() {
        "" => format!("the collector answers {:?}", status.code()),
        message => format!("{:?}: {}", status.code(), crate::sink::sanitise(message)),
    };
    if let Some(source) = std::error::Error::source(status) {
        return Failure::Unreached(chain(source));
    }
    let after = status.get_details_retry_info().and_then(|info| info.retry_delay);
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Failure::Later { reason, after },
        Code::ResourceExhausted if after.is_some() => Failure::Later { reason, after },
        _ => Failure::Final(reason),
    }
}

/// An error with what has caused it: the libraries' own words begin with "transport error".
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !causes.iter().any(|told| told.contains(&text)) {
            causes.push(text);
        }
        next = cause.source();
    }
    crate::sink::sanitise(&causes.join(": ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worth_another_try() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("7"));
        for status in [429, 502, 503, 504] {
            let failure = of_http(StatusCode::from_u16(status).unwrap(), &headers);
            let Failure::Later { after, .. } = failure else {
                panic!("{failure:?}")
            };
            assert_eq!(after, Some(Duration::from_secs(7)));
        }
        for status in [301, 400, 401, 404, 413, 500] {
            let failure = of_http(StatusCode::from_u16(status).unwrap(), &headers);
            assert!(matches!(failure, Failure::Final(_)), "{failure:?}");
        }
        for (code, again) in [
            (Code::Unavailable, true),
            (Code::Aborted, true),
            (Code::ResourceExhausted, false),
            (Code::InvalidArgument, false),
            (Code::Unimplemented, false),
            (Code::PermissionDenied, false),
        ] {
            let failure = of_status(&Status::new(code, "no"));
            assert_eq!(matches!(failure, Failure::Later { .. }), again, "{failure:?}");
        }
        let wait = Some(Duration::from_secs(3));
        let details = tonic_types::ErrorDetails::with_retry_info(wait);
        let patient = of_status(&Status::with_error_details(Code::ResourceExhausted, "full", details));
        assert!(
            matches!(patient, Failure::Later { after, .. } if after == wait),
            "{patient:?}"
        );
    }
}
