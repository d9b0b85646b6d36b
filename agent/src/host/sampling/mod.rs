//! Facts that change: what the host, the endpoints and their control groups use, and what they wait for.

mod limits;
mod pressure;
mod process;
mod sampler;
mod source;
mod stat;
mod system;
mod thread;
mod trigger;

pub use pressure::{PressureLine, PressureTotals, Resource, Stall, Stalls, Totals};
pub use process::{Depth, ProcessCounters, ProcessSample};
pub use sampler::{Cost, Sampler, Samples, Settings};
pub use source::{LiveSource, Source};
pub(super) use stat::read_stat;
pub use system::{DiskUse, HostCounters, HostSample};
pub use thread::{Report as SamplerReport, SamplerThread};
pub use trigger::{PressureTrigger, TriggerError};
