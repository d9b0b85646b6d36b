//! Calls: what the protocol package found, joined with the processes that took part.

pub mod causes;
mod children;
mod endpoints;
mod network;
pub mod operation;
pub mod parts;
pub mod pipeline;
mod places;
mod programs;
pub mod record;
pub mod recording;
mod sessions;
mod sockets;
pub mod survey;
pub mod syscalls;
pub mod trace_id;
mod upstreams;
mod windows;

pub use causes::{Phase, Upstream, UpstreamKind, UpstreamWait};
pub use endpoints::EndpointJudgement;
pub use operation::{Operation, Role};
pub(crate) use parts::micros;
pub use parts::{Instants, Parts};
pub use pipeline::{Origin, Output, Pipeline, Selection};
pub(crate) use record::FIRST_SESSIONLESS;
pub use record::{CallRecord, CallSource, Causes, FaultRecord, Network, Party, TaskRecord, TcpRecord};
pub use survey::{OpenCall, Survey};
pub use syscalls::Architecture;
pub use trace_id::{ConnectionKey, Ids, Run, ShortId, TraceId, rejection_threshold, upstream_span};
