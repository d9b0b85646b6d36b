//! What an instrument is.

use std::borrow::Cow;

use super::table::Id;

/// One instrument: everything that can be said of it without a measurement.
#[derive(Debug)]
pub struct Instrument {
    /// Its place in the table.
    pub id: Id,
    /// Who has defined it.
    pub origin: Origin,
    /// OpenTelemetry's name; of [`Origin::Operators`] Prometheus's.
    pub name: &'static str,
    /// How its measurements are put together.
    pub kind: Kind,
    /// UCUM, with annotations in braces.
    pub unit: &'static str,
    /// One sentence or two, without a line break.
    pub description: &'static str,
    /// What tells its series apart.
    pub attributes: &'static [Attribute],
    /// How many series it may have before they share some (see [`super::limits`]).
    pub series: usize,
}

/// Who has defined an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The semantic conventions of OpenTelemetry: name, unit, kind and attributes are theirs.
    Conventions,
    /// No convention covers it.
    Own,
    /// Operators of MCP systems use this name; only for Prometheus.
    Operators,
}

/// How measurements are put together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A sum that only grows.
    Counter,
    /// A sum that grows and shrinks.
    UpDownCounter,
    /// The last value.
    Gauge,
    /// How many measurements lie up to each of these bounds.
    Histogram(&'static [f64]),
}

/// One attribute of an instrument.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// Its name; Prometheus has `_` for each dot.
    pub name: &'static str,
    /// What it can be.
    pub values: Values,
    /// Whether it tells who is measured, and so belongs to the resource in OTLP.
    pub identifies: bool,
}

/// What an attribute can be.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// One of these.
    Closed(&'static [&'static str]),
    /// Name of a service: as many as services are told apart, then `_OTHER`.
    Service,
    /// Name of a method: those that the protocol knows, so many others for each service, then `_OTHER`.
    Method,
    /// Text that others choose: so many different ones for each service, then `_OTHER`.
    Open(usize),
    /// A number that others choose: so many different ones for each service, then none.
    Number(usize),
}

impl Kind {
    /// OpenTelemetry's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "Counter",
            Self::UpDownCounter => "UpDownCounter",
            Self::Gauge => "Gauge",
            Self::Histogram(_) => "Histogram",
        }
    }
}

impl Instrument {
    /// Name of the metric in Prometheus, as the OpenTelemetry specification translates it: `_` for
    /// dots, the unit as a suffix. Counters without `_total`, which belongs to the sample in OpenMetrics.
    #[must_use]
    pub fn prometheus_name(&self) -> Cow<'static, str> {
        if self.origin == Origin::Operators {
            return Cow::Borrowed(self.name.trim_end_matches("_total"));
        }
        let mut name = self.name.replace('.', "_");
        if let Some(unit) = self.prometheus_unit()
            && !name.ends_with(&format!("_{unit}"))
        {
            name.push('_');
            name.push_str(unit);
        }
        Cow::Owned(name)
    }

    /// The unit as Prometheus spells it, with which the name ends.
    #[must_use]
    pub fn prometheus_unit(&self) -> Option<&'static str> {
        match (self.unit, self.kind) {
            ("s", _) => Some("seconds"),
            ("By", _) => Some("bytes"),
            ("%", _) => Some("percent"),
            ("1", Kind::Gauge) => Some("ratio"),
            _ => None,
        }
    }
}

/// An attribute as Prometheus spells it.
#[must_use]
pub fn label_name(attribute: &str) -> String {
    attribute.replace('.', "_")
}
