//! Pressure stall information: how long tasks waited for CPU, memory and I/O.
//!
//! Format: Documentation/accounting/psi.rst of the kernel; the same for the host and for a v2 group.

use mcp_proto::Nanos;
use serde::Serialize;

use crate::host::cgroup::ratio;

/// What tasks wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// A processor.
    Cpu,
    /// Reclaim, swap-in and thrashing.
    Memory,
    /// Block devices.
    Io,
}

impl Resource {
    /// Name of its file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Io => "io",
        }
    }
}

/// Time lost so far, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// While at least one task waited.
    pub some: u64,
    /// While all of them did.
    pub full: u64,
}

/// Time lost so far, by resource. `None` where the kernel does not count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PressureTotals {
    /// Waiting for a processor.
    pub cpu: Option<Totals>,
    /// Waiting for memory.
    pub memory: Option<Totals>,
    /// Waiting for block devices.
    pub io: Option<Totals>,
}

/// Shares of a while that were lost to waiting, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stall {
    /// At least one task waited.
    pub some: f64,
    /// All of them did.
    pub full: f64,
}

/// Shares that were lost, by resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stalls {
    /// Waiting for a processor.
    pub cpu: Option<Stall>,
    /// Waiting for memory.
    pub memory: Option<Stall>,
    /// Waiting for block devices.
    pub io: Option<Stall>,
}

/// One line of a file of `/proc/pressure`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PressureLine {
    /// Whether at least one task waited (`some`) or all of them did (`full`).
    pub stall: &'static str,
    /// Stalled shares of the last 10 s, minute and 5 minutes, 0 to 1.
    pub shares: [f64; 3],
    /// Stalled since boot, in microseconds.
    pub total: u64,
}

impl PressureLine {
    /// The lines of the host's files that can be read, with their resource.
    #[must_use]
    pub fn read_all() -> Vec<(Resource, Self)> {
        let resources = [Resource::Cpu, Resource::Memory, Resource::Io].into_iter();
        let texts = resources.filter_map(|resource| {
            let text = std::fs::read_to_string(format!("/proc/pressure/{}", resource.name())).ok()?;
            Some((resource, text))
        });
        let lines = texts.flat_map(|(resource, text)| {
            let both = ["some", "full"].map(|stall| Self::parse(&text, stall));
            both.into_iter().flatten().map(move |line| (resource, line))
        });
        lines.collect()
    }

    /// The line `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, or the one of `full`. The crate's
    /// parser wants both lines, which cpu files had not before 5.13, and panics on a short one.
    fn parse(text: &str, stall: &'static str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix(stall))?;
        let value = |key: &str| line.split_whitespace().find_map(|field| field.strip_prefix(key));
        let share = |key: &str| value(key)?.parse::<f64>().ok().map(|percent| percent / 100.0);
        Some(Self {
            stall,
            shares: [share("avg10=")?, share("avg60=")?, share("avg300=")?],
            total: value("total=")?.parse().ok()?,
        })
    }
}

impl PressureTotals {
    /// The totals of what `text` gives for `cpu`, `memory` and `io`.
    pub fn read(text: impl Fn(&'static str) -> Option<String>) -> Self {
        let totals = |resource: Resource| text(resource.name()).as_deref().and_then(Totals::parse);
        Self {
            cpu: totals(Resource::Cpu),
            memory: totals(Resource::Memory),
            io: totals(Resource::Io),
        }
    }

    /// What was lost since `before`, `interval` nanoseconds ago.
    #[must_use]
    pub fn since(&self, before: &Self, interval: Nanos) -> Stalls {
        let stall = |after: Option<Totals>, before: Option<Totals>| {
            let (after, before) = after.zip(before)?;
            let share = |after: u64, before: u64| {
                ratio(after.saturating_sub(before).saturating_mul(1000), interval).map(|share| share.min(1.0))
            };
            Some(Stall {
                some: share(after.some, before.some)?,
                full: share(after.full, before.full)?,
            })
        };
        Stalls {
            cpu: stall(self.cpu, before.cpu),
            memory: stall(self.memory, before.memory),
            io: stall(self.io, before.io),
        }
    }
}

impl Totals {
    fn parse(text: &str) -> Option<Self> {
        let total = |stall| PressureLine::parse(text, stall).map(|line| line.total);
        Some(Self {
            some: total("some")?,
            full: total("full").unwrap_or(0),
        })
    }
}

impl Stalls {
    /// Each resource that is known with what was lost to it.
    pub fn iter(&self) -> impl Iterator<Item = (Resource, Stall)> {
        let all = [
            (Resource::Cpu, self.cpu),
            (Resource::Memory, self.memory),
            (Resource::Io, self.io),
        ];
        all.into_iter().filter_map(|(resource, stall)| Some((resource, stall?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: &str = "some avg10=4.50 avg60=0.91 avg300=0.00 total=681245\n\
        full avg10=2.10 avg60=0.12 avg300=0.00 total=391926\n";
    const LATER: &str = "some avg10=4.50 avg60=0.91 avg300=0.00 total=1181245\n\
        full avg10=2.10 avg60=0.12 avg300=0.00 total=391926\n";

    #[test]
    fn shares_of_a_while() {
        let totals = |text: &'static str| PressureTotals::read(|name| (name == "memory").then(|| text.to_owned()));
        let (before, after) = (totals(MEMORY), totals(LATER));
        assert_eq!(
            (before.cpu, before.memory.map(|memory| memory.full)),
            (None, Some(391_926))
        );
        let stalls = after.since(&before, 1_000_000_000);
        assert_eq!(stalls.memory, Some(Stall { some: 0.5, full: 0.0 }));
        assert_eq!(stalls.iter().count(), 1);
        assert_eq!(after.since(&before, 1000).memory.map(|memory| memory.some), Some(1.0));
        assert_eq!(after.since(&before, 0), Stalls::default());
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        let old = PressureTotals::read(|_| Some("some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n".to_owned()));
        assert_eq!(old.cpu, Some(Totals { some: 7, full: 0 }), "a cpu file before 5.13");
        for text in ["", "some\n", "some avg10=0.00\n", "full total=x", "\0\n\n"] {
            assert_eq!(
                PressureTotals::read(|_| Some(text.to_owned())),
                PressureTotals::default(),
                "{text}"
            );
        }
    }
}
