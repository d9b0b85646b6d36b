//! Named, evidenced conditions: pressure, missed targets, faults of life and of protocol, and what
//! they advise.
//!
//! [`Engine`] takes host samples, calls, faults and process events with their time, and gives
//! [`FlagEvent`]s. It does no input or output and has no clock. What each flag means is said once,
//! in [`table`](Definition); `docs/flags.md` is made from it.

mod board;
mod config;
mod definition;
mod documentation;
mod engine;
mod event;
mod gate;
mod input;
mod level;
mod limits;
mod rules;
mod table;

pub use config::{ConfigError, FlagConfig, FlagsConfig, ScopeConfig, Setting};
pub use definition::{Definition, EvidenceField, Family, Hysteresis, Parameter, Sense, Severity, Threshold, Unit};
pub use documentation::documentation;
pub use engine::{Engine, EngineStats};
pub use event::{ActiveFlag, Change, ClearReason, Evidence, FlagEvent, Subject, Value};
pub use input::{AgentInput, CallInput, CallKind, FaultInput, InFlight, ProcessEvent, ProcessRef};
pub use level::{Level, Levels};
pub use table::{Flag, definition, definitions};

#[cfg(test)]
mod tests;
