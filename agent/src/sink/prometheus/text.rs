//! Prometheus's text format 0.0.4 and OpenMetrics 1.0 (OpenMetrics specification, "Text format").

use std::fmt::{self, Write};

use super::format::Format;
use crate::metrics::{Attributes, Data, Exemplar, Family, Histogram, Instrument, Kind, Snapshot, label_name};

/// All series as text.
pub(super) fn encode(snapshot: &Snapshot, format: Format) -> String {
    let mut text = Text {
        out: String::new(),
        format,
    };
    for family in &snapshot.families {
        // Memory takes any text.
        text.family(family).unwrap_or_default();
    }
    if format == Format::OpenMetrics {
        text.out.push_str("# EOF\n");
    }
    text.out
}

struct Text {
    out: String,
    format: Format,
}

impl Text {
    fn family(&mut self, family: &Family) -> fmt::Result {
        let Family { instrument, points } = family;
        let name = instrument.prometheus_name();
        self.metadata(instrument, &name)?;
        for point in points {
            let labels = labels(&point.attributes);
            match &point.data {
                Data::Count(count) => self.sample(instrument, &name, &labels, Number::Whole(*count))?,
                Data::Number(number) => self.sample(instrument, &name, &labels, Number::Real(*number))?,
                Data::Histogram(histogram) => self.histogram(&name, &labels, histogram)?,
            }
        }
        Ok(())
    }

    fn metadata(&mut self, instrument: &Instrument, name: &str) -> fmt::Result {
        let kind = match instrument.kind {
            Kind::Counter => "counter",
            Kind::UpDownCounter | Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        // Of a counter OpenMetrics names the family, the older format the sample.
        let of_sample = if self.format == Format::Text {
            total(instrument)
        } else {
            ""
        };
        let help = escaped(instrument.description, self.format == Format::OpenMetrics);
        writeln!(self.out, "# HELP {name}{of_sample} {help}")?;
        writeln!(self.out, "# TYPE {name}{of_sample} {kind}")?;
        if let (Format::OpenMetrics, Some(unit)) = (self.format, instrument.prometheus_unit()) {
            writeln!(self.out, "# UNIT {name} {unit}")?;
        }
        Ok(())
    }

    fn sample(&mut self, instrument: &Instrument, name: &str, labels: &str, value: Number) -> fmt::Result {
        write!(self.out, "{name}{}", total(instrument))?;
        self.labels(labels, None)?;
        writeln!(self.out, " {value}")
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) -> fmt::Result {
        let bounds = histogram.bounds.iter().copied().chain([f64::INFINITY]);
        let mut up_to = 0;
        for ((bound, count), exemplar) in bounds.zip(&*histogram.counts).zip(&*histogram.exemplars) {
            up_to += count;
            write!(self.out, "{name}_bucket")?;
            self.labels(labels, Some(bound))?;
            write!(self.out, " {up_to}")?;
            if let (Format::OpenMetrics, Some(exemplar)) = (self.format, exemplar) {
                self.exemplar(exemplar)?;
            }
            self.out.push('\n');
        }
        for (suffix, value) in [("_sum", Number::Real(histogram.sum)), ("_count", Number::Whole(up_to))] {
            write!(self.out, "{name}{suffix}")?;
            self.labels(labels, None)?;
            writeln!(self.out, " {value}")?;
        }
        Ok(())
    }

    /// Its labels have at most 128 characters: 67 of them.
    fn exemplar(&mut self, exemplar: &Exemplar) -> fmt::Result {
        let Exemplar {
            trace_id,
            span_id,
            value,
            at_unix_ns,
        } = exemplar;
        write!(self.out, " # {{trace_id=\"{trace_id}\"")?;
        if let Some(span_id) = span_id {
            write!(self.out, ",span_id=\"{span_id}\"")?;
        }
        let (seconds, millis) = (at_unix_ns / 1_000_000_000, at_unix_ns / 1_000_000 % 1000);
        write!(self.out, "}} {} {seconds}.{millis:03}", Number::Real(*value))
    }

    fn labels(&mut self, labels: &str, bound: Option<f64>) -> fmt::Result {
        match (labels, bound) {
            ("", None) => Ok(()),
            ("", Some(bound)) => write!(self.out, "{{le=\"{}\"}}", self.bound(bound)),
            (labels, None) => write!(self.out, "{{{labels}}}"),
            (labels, Some(bound)) => write!(self.out, "{{{labels},le=\"{}\"}}", self.bound(bound)),
        }
    }

    /// OpenMetrics wants a point in every number, and there are back ends that compare the text.
    fn bound(&self, bound: f64) -> String {
        match self.format {
            _ if bound.is_infinite() => "+Inf".to_owned(),
            Format::Text => bound.to_string(),
            Format::OpenMetrics => format!("{bound:?}"),
        }
    }
}

fn total(instrument: &Instrument) -> &'static str {
    if instrument.kind == Kind::Counter { "_total" } else { "" }
}

fn labels(attributes: &Attributes) -> String {
    let mut text = String::new();
    for (name, value) in attributes.iter() {
        let comma = if text.is_empty() { "" } else { "," };
        let value = escaped(&value.to_string(), true);
        write!(text, "{comma}{}=\"{value}\"", label_name(name)).unwrap_or_default();
    }
    text
}

fn escaped(text: &str, with_quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if with_quotes => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out
}

#[derive(Clone, Copy)]
enum Number {
    Whole(u64),
    Real(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole(number) => write!(f, "{number}"),
            Self::Real(number) if number.is_nan() => f.write_str("NaN"),
            Self::Real(number) if number.is_infinite() => f.write_str(if number > 0.0 { "+Inf" } else { "-Inf" }),
            Self::Real(number) => write!(f, "{number:?}"),
        }
    }
}
