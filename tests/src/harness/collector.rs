//! A collector whose manner can change, and what has arrived at it.

mod grpc;
mod http;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

pub use grpc::serve_grpc;
pub use http::Door;

/// What a busy collector asks for.
pub const LATER: Duration = Duration::from_secs(1);

/// How a collector takes a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    #[default]
    Well,
    /// It takes its time, and less than the agent gives it.
    Slow,
    /// It never answers.
    Silent,
    /// It asks for patience.
    Busy,
    /// It refuses one span of the next request, and is well then.
    Partial,
    /// It refuses all, for good.
    Refusing,
    /// It ends its half of the connection instead of an answer.
    HalfClosing,
    /// Its answers make no sense: by turns no HTTP, and no protobuf in it.
    Babbling,
}

impl Manner {
    /// Whether what was asked for is done.
    fn accepts(self) -> bool {
        matches!(self, Self::Well | Self::Slow | Self::Partial)
    }
}

/// A collector.
#[derive(Clone, Debug, Default)]
pub struct Collector(Arc<Mutex<State>>);

/// What has been accepted, repetitions included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Spans.
    pub spans: u64,
    /// Points of metrics.
    pub points: u64,
}

#[derive(Debug, Default)]
struct State {
    manner: Manner,
    /// Spans are counted and forgotten.
    counts_only: bool,
    accepted: Accepted,
    /// What it was at each request of spans, and when that was.
    asked: Vec<(Manner, Instant)>,
    /// Of calls of each server, how often each SERVER span has come.
    calls: HashMap<String, HashMap<Vec<u8>, u32>>,
    /// All spans.
    spans: HashSet<Vec<u8>>,
}

impl Collector {
    /// One that knows no span by its id: for more of them than a test wants to remember.
    #[must_use]
    pub fn that_counts_only() -> Self {
        let collector = Self::default();
        collector.state().counts_only = true;
        collector
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on.
    pub fn behave(&self, manner: Manner) {
        self.state().manner = manner;
    }

    /// When it was asked in this manner.
    #[must_use]
    pub fn asked(&self, manner: Manner) -> Vec<Instant> {
        let state = self.state();
        let asked = state.asked.iter().filter(|(was, _)| *was == manner);
        asked.map(|(_, at)| *at).collect()
    }

    /// Calls of this server that have arrived, each once.
    pub fn arrived(&self, server: &str) -> Result<u64> {
        let state = self.state();
        let Some(spans) = state.calls.get(server) else {
            return Ok(0);
        };
        ensure!(spans.values().all(|&times| times == 1), "a span came twice: {spans:?}");
        Ok(spans.len() as u64)
    }

    /// Spans that have arrived, however often.
    #[must_use]
    pub fn spans(&self) -> u64 {
        self.state().spans.len() as u64
    }

    /// What it has accepted.
    #[must_use]
    pub fn accepted(&self) -> Accepted {
        self.state().accepted
    }

    /// A request, by the manner of the moment.
    fn take(&self, request: ExportTraceServiceRequest) -> Manner {
        let mut state = self.state();
        let manner = state.manner;
        state.asked.push((manner, Instant::now()));
        if !manner.accepts() {
            return manner;
        }
        if manner == Manner::Partial {
            state.manner = Manner::Well;
        }
        for of_resource in request.resource_spans {
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            if state.counts_only {
                state.accepted.spans += spans.count() as u64;
                continue;
            }
            let attributes = of_resource.resource.unwrap_or_default().attributes;
            let name = attributes.into_iter().find(|it| it.key == "service.name");
            let server = match name.and_then(|it| it.value?.value) {
                Some(Value::StringValue(server)) => server,
                _ => String::new(),
            };
            for span in spans {
                state.accepted.spans += 1;
                if span.kind() == SpanKind::Server {
                    let known = state.calls.entry(server.clone()).or_default();
                    *known.entry(span.span_id.clone()).or_default() += 1;
                }
                state.spans.insert(span.span_id);
            }
        }
        manner
    }

    /// The same of metrics.
    fn take_metrics(&self, request: ExportMetricsServiceRequest) -> Manner {
        let mut state = self.state();
        if state.manner.accepts() {
            let scopes = request.resource_metrics.into_iter().flat_map(|it| it.scope_metrics);
            let metrics = scopes.flat_map(|scope| scope.metrics);
            let points = metrics.filter_map(|metric| metric.data).map(|data| match data {
                Data::Gauge(gauge) => gauge.data_points.len(),
                Data::Sum(sum) => sum.data_points.len(),
                Data::Histogram(histogram) => histogram.data_points.len(),
                Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
                Data::Summary(summary) => summary.data_points.len(),
            });
            state.accepted.points += points.sum::<usize>() as u64;
        }
        state.manner
    }

    fn answer(manner: Manner) -> ExportTraceServiceResponse {
        let refused = ExportTracePartialSuccess {
            rejected_spans: 1,
            error_message: "one too many".to_owned(),
        };
        ExportTraceServiceResponse {
            partial_success: (manner == Manner::Partial).then_some(refused),
        }
    }
}
