//! What there is to say about a flag, before anything is measured.

use std::fmt;

use serde::Serialize;

use super::Flag;

/// One flag: what it means, what raises it, what to do.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Which.
    pub flag: Flag,
    /// Stable name, for output and configuration.
    pub code: &'static str,
    /// What kind of condition.
    pub family: Family,
    /// A few words.
    pub title: &'static str,
    /// What is the case when it is raised.
    pub meaning: &'static str,
    /// One sentence: what to do about it.
    pub advice: &'static str,
    /// What it is about.
    pub subject: &'static str,
    /// How bad it is when the threshold is passed.
    pub severity: Severity,
    /// What its value is compared with.
    pub threshold: Threshold,
    /// How long it takes.
    pub hysteresis: Hysteresis,
    /// Further figures that can be set.
    pub parameters: &'static [Parameter],
    /// What its events show.
    pub evidence: &'static [EvidenceField],
}

/// Kinds of condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// A resource is short.
    Pressure,
    /// A target or a budget is missed.
    Target,
    /// A server has no business living, does not work, or has died.
    Lifecycle,
    /// The protocol is broken.
    Protocol,
    /// More or fewer instances are called for.
    Scaling,
    /// The agent itself cannot do all that it should.
    Agent,
}

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Costs something, or soon will.
    Warning,
    /// Breaks something now, or within minutes.
    Critical,
}

/// What a value is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// What is measured.
    pub value: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// Which side is bad.
    pub sense: Sense,
    /// From here on it is bad.
    pub warn: f64,
    /// From here on it is critical.
    pub critical: Option<f64>,
    /// Back here it is well again.
    pub clear: f64,
    /// What may be set: smallest and largest.
    pub range: (f64, f64),
}

/// The side of a threshold that is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// At the threshold and above.
    Above,
    /// At the threshold and below.
    Below,
}

/// Units of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A share, 0 to 1.
    Share,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// How many.
    Count,
}

/// When a value that is bad raises the flag, and when one that is well clears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hysteresis {
    /// Bad ones that it takes...
    pub raise: u8,
    /// ...among this many values.
    pub of: u8,
    /// Well ones in a row that clear it.
    pub calm: u8,
    /// Without any value for so long it is cleared, in seconds.
    pub quiet_s: u32,
}

/// A figure besides the threshold that can be set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    /// Its key in the configuration.
    pub key: &'static str,
    /// What it says.
    pub meaning: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// Its default.
    pub default: f64,
    /// What may be set: smallest and largest.
    pub range: (f64, f64),
}

/// One figure or name that an event shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvidenceField {
    /// Its key.
    pub name: &'static str,
    /// What it says, with its unit.
    pub meaning: &'static str,
}

impl Threshold {
    /// Whether `value` is bad.
    #[must_use]
    pub fn is_passed(sense: Sense, threshold: f64, value: f64) -> bool {
        match sense {
            Sense::Above => value >= threshold,
            Sense::Below => value <= threshold,
        }
    }
}

impl Family {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Pressure,
        Self::Target,
        Self::Lifecycle,
        Self::Protocol,
        Self::Scaling,
        Self::Agent,
    ];

    /// Its heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Pressure => "Resource pressure",
            Self::Target => "Targets and budgets",
            Self::Lifecycle => "Lifecycle",
            Self::Protocol => "Protocol",
            Self::Scaling => "Scaling advice",
            Self::Agent => "The agent itself",
        }
    }
}

impl Severity {
    /// Stable name for output.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Share => "share, 0 to 1",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Count => "count",
        })
    }
}
