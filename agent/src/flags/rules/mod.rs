//! The rules, by what they look at. Each weighs values against the thresholds in force.

mod agent;
mod budget;
mod call;
mod growth;
mod life;
mod pressure;
mod process;
mod protocol;
mod scale;

pub(super) use budget::ServerState;
pub(super) use pressure::{CgroupState, HostState};
pub(super) use process::Usage;
