//! The thresholds in force, for a server or a tool.

use std::collections::BTreeMap;

use mcp_proto::Nanos;

use super::limits::SECOND;
use super::{Definition, Flag, Sense, definitions};

/// A flag's thresholds in force.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Whose.
    pub flag: Flag,
    /// Whether it is wanted.
    pub enabled: bool,
    /// Which side is bad.
    pub sense: Sense,
    /// From here on it is bad.
    pub warn: f64,
    /// From here on it is critical.
    pub critical: Option<f64>,
    /// Back here it is well again.
    pub clear: f64,
    /// Bad values that it takes...
    pub raise: u8,
    /// ...among this many.
    pub of: u8,
    /// Well ones in a row that clear it.
    pub calm: u8,
    /// Without any value for so long it is cleared, in nanoseconds.
    pub quiet: Nanos,
    pub(super) parameters: [f64; 4],
}

impl Level {
    /// The defaults of a flag.
    #[must_use]
    pub fn of(definition: &Definition) -> Self {
        let Definition {
            threshold, hysteresis, ..
        } = definition;
        let mut parameters = [0.0; 4];
        for (slot, parameter) in parameters.iter_mut().zip(definition.parameters) {
            *slot = parameter.default;
        }
        Self {
            flag: definition.flag,
            enabled: true,
            sense: threshold.sense,
            warn: threshold.warn,
            critical: threshold.critical,
            clear: threshold.clear,
            raise: hysteresis.raise,
            of: hysteresis.of,
            calm: hysteresis.calm,
            quiet: Nanos::from(hysteresis.quiet_s) * SECOND,
            parameters,
        }
    }

    /// A figure besides the threshold; infinity for a key that the flag does not have.
    #[must_use]
    pub fn parameter(&self, key: &str) -> f64 {
        let named = super::definition(self.flag).parameters.iter().zip(self.parameters);
        let mut found = named.filter(|(parameter, _)| parameter.key == key);
        found.next().map_or(f64::INFINITY, |(_, value)| value)
    }
}

/// The thresholds in force for everybody, for some servers and for some tools.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    pub(super) all: Vec<Level>,
    pub(super) servers: BTreeMap<String, Vec<Level>>,
    /// By `TOOL` or `SERVER/TOOL`.
    pub(super) tools: BTreeMap<String, Vec<Level>>,
}

impl Default for Levels {
    fn default() -> Self {
        Self {
            all: definitions().map(Level::of).collect(),
            servers: BTreeMap::new(),
            tools: BTreeMap::new(),
        }
    }
}

impl Levels {
    /// The narrowest that applies: of the tool at that server, of the tool, of the server, of all.
    #[must_use]
    pub fn of(&self, flag: Flag, server: Option<&str>, tool: Option<&str>) -> &Level {
        let of_tool = || {
            let tool = tool.filter(|_| !self.tools.is_empty())?;
            let at_server = server.and_then(|server| self.tools.get(&format!("{server}/{tool}")));
            at_server.or_else(|| self.tools.get(tool))
        };
        let levels = of_tool().or_else(|| self.servers.get(server?)).unwrap_or(&self.all);
        &levels[flag as usize]
    }
}
