//! A snapshot of metrics as messages of OTLP.

use std::collections::BTreeMap;

use opentelemetry::KeyValue;
use opentelemetry_proto::{
    tonic::{
        collector::metrics::v1::ExportMetricsServiceRequest,
        common::v1,
        metrics::v1::{
            AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
            HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar,
            exponential_histogram_data_point::Buckets, metric, number_data_point,
        },
        resource::v1::Resource,
    },
    transform::common::tonic::{Attributes, ResourceAttributesWithSchema},
};

use super::super::{attributes, resource::Resources, span::scope};
use crate::metrics::{self, Data, Instrument, Kind, Origin, Point, Snapshot, Temporality, Value};

/// Points of a message at most: it stays below the 4 MiB that gRPC's servers take by default.
const POINTS: usize = 4000;

/// The attributes that say who is measured.
type Owner<'a> = Vec<(&'static str, &'a Value)>;
type Owned<'a> = BTreeMap<Owner<'a>, Vec<Metric>>;

/// The messages that tell `snapshot`: one resource for everyone who is measured.
pub(super) fn requests(
    snapshot: &Snapshot,
    temporality: Temporality,
    resources: &Resources,
) -> Vec<ExportMetricsServiceRequest> {
    let mut requests = Vec::new();
    let (mut resource_metrics, mut points) = (Vec::new(), 0);
    for (owner, metrics) in by_owner(snapshot, temporality) {
        let more = metrics.iter().map(points_of).sum::<usize>();
        if points > 0 && points + more > POINTS {
            requests.push(ExportMetricsServiceRequest {
                resource_metrics: std::mem::take(&mut resource_metrics),
            });
            points = 0;
        }
        points += more;
        resource_metrics.push(of_owner(&owner, metrics, resources));
    }
    if points > 0 {
        requests.push(ExportMetricsServiceRequest { resource_metrics });
    }
    requests
}

fn by_owner(snapshot: &Snapshot, temporality: Temporality) -> Owned<'_> {
    let mut owned = Owned::new();
    let families = snapshot.families.iter();
    for family in families.filter(|family| family.instrument.origin != Origin::Operators) {
        let mut points: BTreeMap<Owner<'_>, Vec<&Point>> = BTreeMap::new();
        for point in &family.points {
            points.entry(owner(family.instrument, point)).or_default().push(point);
        }
        for (owner, points) in points {
            let metric = of_points(family.instrument, &points, temporality, snapshot.at_unix_ns);
            owned.entry(owner).or_default().push(metric);
        }
    }
    owned
}

/// Points of a request.
pub(super) fn points(request: &ExportMetricsServiceRequest) -> u64 {
    let scopes = request.resource_metrics.iter().flat_map(|of| &of.scope_metrics);
    scopes.flat_map(|scope| &scope.metrics).map(points_of).sum::<usize>() as u64
}

fn identifies(instrument: &Instrument, name: &str) -> bool {
    instrument.attributes.iter().any(|it| it.name == name && it.identifies)
}

fn owner<'a>(instrument: &Instrument, point: &'a Point) -> Owner<'a> {
    let attributes = point.attributes.iter();
    attributes.filter(|(name, _)| identifies(instrument, name)).collect()
}

/// What nobody else is measured by belongs to the agent.
fn of_owner(owner: &Owner<'_>, metrics: Vec<Metric>, resources: &Resources) -> ResourceMetrics {
    let resource = if owner.is_empty() {
        resources.agent()
    } else {
        let attributes = owner.iter().map(|(name, value)| key_value(name, value));
        resources.of(attributes::Attributes(attributes.collect()))
    };
    ResourceMetrics {
        resource: Some(Resource {
            attributes: ResourceAttributesWithSchema::from(&resource).attributes.0,
            ..Resource::default()
        }),
        scope_metrics: vec![ScopeMetrics {
            scope: Some((scope(), None).into()),
            metrics,
            ..ScopeMetrics::default()
        }],
        ..ResourceMetrics::default()
    }
}

fn of_points(instrument: &Instrument, points: &[&Point], temporality: Temporality, at: u64) -> Metric {
    let aggregation_temporality = match (instrument.kind, temporality) {
        (Kind::UpDownCounter | Kind::Gauge, _) | (_, Temporality::Cumulative) => AggregationTemporality::Cumulative,
        (_, Temporality::Delta) => AggregationTemporality::Delta,
    } as i32;
    let numbers = || {
        points
            .iter()
            .filter_map(|point| number(instrument, point, at))
            .collect()
    };
    let exponential: Vec<_> = points
        .iter()
        .filter_map(|point| exponential(instrument, point, at))
        .collect();
    let data = match instrument.kind {
        Kind::Gauge => metric::Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Counter | Kind::UpDownCounter => metric::Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality,
            is_monotonic: instrument.kind == Kind::Counter,
        }),
        Kind::Histogram(_) if exponential.is_empty() => metric::Data::Histogram(Histogram {
            data_points: points
                .iter()
                .filter_map(|point| explicit(instrument, point, at))
                .collect(),
            aggregation_temporality,
        }),
        Kind::Histogram(_) => metric::Data::ExponentialHistogram(ExponentialHistogram {
            data_points: exponential,
            aggregation_temporality,
        }),
    };
    Metric {
        name: instrument.name.to_owned(),
        description: instrument.description.to_owned(),
        unit: instrument.unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn points_of(metric: &Metric) -> usize {
    match &metric.data {
        Some(metric::Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(metric::Data::Sum(sum)) => sum.data_points.len(),
        Some(metric::Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(metric::Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(metric::Data::Summary(_)) | None => 0,
    }
}

fn number(instrument: &Instrument, point: &Point, at: u64) -> Option<NumberDataPoint> {
    let value = match &point.data {
        Data::Count(count) => number_data_point::Value::AsInt(i64::try_from(*count).unwrap_or(i64::MAX)),
        Data::Number(number) => number_data_point::Value::AsDouble(*number),
        Data::Histogram(_) => return None,
    };
    Some(NumberDataPoint {
        attributes: attributes(instrument, point),
        // A gauge has no beginning.
        start_time_unix_nano: if instrument.kind == Kind::Gauge {
            0
        } else {
            point.start_unix_ns
        },
        time_unix_nano: at,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn explicit(instrument: &Instrument, point: &Point, at: u64) -> Option<HistogramDataPoint> {
    let Data::Histogram(histogram) = &point.data else {
        return None;
    };
    let (min, max) = histogram.range.unzip();
    Some(HistogramDataPoint {
        attributes: attributes(instrument, point),
        start_time_unix_nano: point.start_unix_ns,
        time_unix_nano: at,
        count: histogram.count(),
        sum: Some(histogram.sum),
        bucket_counts: histogram.counts.to_vec(),
        explicit_bounds: histogram.bounds.to_vec(),
        exemplars: exemplars(histogram),
        flags: 0,
        min,
        max,
    })
}

fn exponential(instrument: &Instrument, point: &Point, at: u64) -> Option<ExponentialHistogramDataPoint> {
    let Data::Histogram(histogram) = &point.data else {
        return None;
    };
    let exponential = histogram.exponential.as_ref()?;
    let (min, max) = histogram.range.unzip();
    Some(ExponentialHistogramDataPoint {
        attributes: attributes(instrument, point),
        start_time_unix_nano: point.start_unix_ns,
        time_unix_nano: at,
        count: histogram.count(),
        sum: Some(histogram.sum),
        scale: exponential.scale,
        zero_count: exponential.zero_count,
        positive: Some(Buckets {
            offset: exponential.offset,
            bucket_counts: exponential.counts.clone(),
        }),
        negative: None,
        flags: 0,
        exemplars: exemplars(histogram),
        min,
        max,
        zero_threshold: 0.0,
    })
}

fn exemplars(histogram: &metrics::Histogram) -> Vec<Exemplar> {
    let known = histogram.exemplars.iter().flatten();
    let message = |exemplar: &metrics::Exemplar| Exemplar {
        filtered_attributes: Vec::new(),
        time_unix_nano: exemplar.at_unix_ns,
        span_id: exemplar.span_id.map_or_else(Vec::new, |id| id.0.to_vec()),
        trace_id: exemplar.trace_id.0.to_vec(),
        value: Some(exemplar::Value::AsDouble(exemplar.value)),
    };
    known.map(message).collect()
}

/// Those that do not belong to the resource.
fn attributes(instrument: &Instrument, point: &Point) -> Vec<v1::KeyValue> {
    let attributes = point.attributes.iter();
    let own = attributes.filter(|(name, _)| !identifies(instrument, name));
    Attributes::from(own.map(|(name, value)| key_value(name, value))).0
}

fn key_value(name: &'static str, value: &Value) -> KeyValue {
    match value {
        Value::Text(text) => KeyValue::new(name, text.to_string()),
        Value::Integer(number) => KeyValue::new(name, *number),
    }
}
