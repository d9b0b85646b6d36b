//! Every flag there is.

mod agent;
mod lifecycle;
mod pressure;
mod protocol;
mod scaling;
mod target;

use serde::{Serialize, Serializer};

use super::definition::{Definition, EvidenceField, Hysteresis, Sense, Threshold, Unit};

/// Names a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the table is the documentation")]
pub enum Flag {
    HostCpu,
    HostMemory,
    DiskBusy,
    ProcessCpu,
    MemoryLimit,
    TaskLimit,
    CpuStall,
    MemoryStall,
    IoStall,
    CpuThrottled,
    RunQueueDelay,
    DescriptorsExhausted,
    MemoryGrowth,
    QueueSaturated,
    SlowToolCalls,
    SlowResourceReads,
    SlowTokenChecks,
    ErrorBudget,
    TimeoutBudget,
    CpuTarget,
    MemoryTarget,
    Orphaned,
    Abandoned,
    DuplicateServers,
    Hung,
    Spinning,
    Idle,
    Crashed,
    OomKilled,
    StdoutPollution,
    MalformedFrame,
    ContentLengthFraming,
    UnansweredRequest,
    UnknownResponseId,
    IdReuse,
    ResponseAfterCancel,
    ClientTimedOut,
    SessionErrors,
    ScaleOut,
    ScaleIn,
    HistoryPaused,
    RecordsLost,
}

/// In the order of the variants of [`Flag`], which a test holds them to.
static FAMILIES: [&[Definition]; 6] = [
    &pressure::TABLE,
    &target::TABLE,
    &lifecycle::TABLE,
    &protocol::TABLE,
    &scaling::TABLE,
    &agent::TABLE,
];

/// All definitions, by family.
pub fn definitions() -> impl Iterator<Item = &'static Definition> {
    FAMILIES.iter().copied().flatten()
}

/// What there is to say about a flag.
#[must_use]
pub fn definition(flag: Flag) -> &'static Definition {
    let mut position = flag as usize;
    for table in FAMILIES {
        match table.get(position) {
            Some(definition) => return definition,
            None => position -= table.len(),
        }
    }
    // Not reached: the tables hold as many definitions as there are variants.
    &pressure::TABLE[0]
}

impl Flag {
    /// Stable name for output and configuration.
    #[must_use]
    pub fn code(self) -> &'static str {
        definition(self).code
    }

    /// The flag of that name.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        definitions()
            .find(|definition| definition.code == code)
            .map(|definition| definition.flag)
    }
}

impl Serialize for Flag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// A share from which it is bad, one from which it is critical, and one at which it is well.
const fn share(value: &'static str, warn: f64, critical: f64, clear: f64) -> Threshold {
    Threshold {
        value,
        unit: Unit::Share,
        sense: Sense::Above,
        warn,
        critical: Some(critical),
        clear,
        range: (0.0, 1.0),
    }
}

/// A count from which it is bad.
const fn occurrences(value: &'static str, warn: f64) -> Threshold {
    Threshold {
        value,
        unit: Unit::Count,
        sense: Sense::Above,
        warn,
        critical: None,
        clear: 0.0,
        range: (1.0, 1e9),
    }
}

/// Raised by `raise` of the last `of` values, cleared by `calm` in a row or after `quiet_s` seconds
/// without any.
const fn after(raise: u8, of: u8, calm: u8, quiet_s: u32) -> Hysteresis {
    Hysteresis {
        raise,
        of,
        calm,
        quiet_s,
    }
}

/// Raised at once, cleared when it has not happened again for five minutes.
const ONCE: Hysteresis = after(1, 1, 1, 300);

const fn field(name: &'static str, meaning: &'static str) -> EvidenceField {
    EvidenceField { name, meaning }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_flag_has_its_own_definition() {
        let mut codes = HashSet::new();
        for (position, definition) in definitions().enumerate() {
            assert_eq!(definition.flag as usize, position, "{}", definition.code);
            assert_eq!(super::definition(definition.flag).code, definition.code);
            assert!(codes.insert(definition.code), "{} twice", definition.code);
            assert_eq!(Flag::from_code(definition.code), Some(definition.flag));
        }
        assert_eq!(codes.len(), Flag::RecordsLost as usize + 1);
        assert_eq!(Flag::from_code("nothing"), None);
    }

    #[test]
    fn every_definition_makes_sense() {
        for definition in definitions() {
            let Threshold {
                sense,
                warn,
                critical,
                clear,
                range,
                ..
            } = definition.threshold;
            let code = definition.code;
            assert!(
                !Threshold::is_passed(sense, warn, clear),
                "{code}: no room between raise and clear"
            );
            assert!(
                critical.is_none_or(|critical| Threshold::is_passed(sense, warn, critical)),
                "{code}"
            );
            assert!(range.0 <= warn && warn <= range.1 && range.0 < range.1, "{code}");
            let Hysteresis {
                raise,
                of,
                calm,
                quiet_s,
            } = definition.hysteresis;
            assert!(
                0 < raise && raise <= of && of <= 32 && calm > 0 && quiet_s > 0,
                "{code}"
            );
            assert!(!definition.evidence.is_empty(), "{code}");
            for text in [definition.meaning, definition.advice] {
                assert!(text.ends_with('.') && text.len() > 20, "{code}: {text}");
            }
            for parameter in definition.parameters {
                assert!(
                    (parameter.range.0..=parameter.range.1).contains(&parameter.default),
                    "{code}"
                );
                assert!(
                    !["enabled", "warn", "critical", "clear", "raise", "of", "calm", "quiet_s"]
                        .contains(&parameter.key)
                );
            }
        }
    }
}
