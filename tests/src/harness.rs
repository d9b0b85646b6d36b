//! Runs the agent around the fixtures and holds what it saw against what happened.

mod agent;
mod calls;
pub mod causes;
#[cfg(feature = "e2e")]
mod collector;
mod database;
pub mod events;
mod guard;
mod holder;
mod listening;
mod load;
pub mod pair;
mod posted;
pub mod sdk;
mod service;
#[cfg(feature = "e2e")]
mod tls;
pub mod usage;

pub use agent::{Attached, Run, Trace, agent, fixture, need_agent, text};
pub use calls::{check_lines, check_perfect, check_score, pick};
#[cfg(feature = "e2e")]
pub use collector::{Collector, Door, LATER, Manner, serve_grpc};
pub use database::{Database, Kind};
pub use guard::{Guard, output_within, wait_within};
pub use holder::Holder;
pub use listening::Listening;
pub use load::{Load, Loaded};
pub use posted::Posted;
pub use service::{Running, Service};
#[cfg(feature = "e2e")]
pub use tls::{Authority, Certificates};
