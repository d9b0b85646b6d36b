//! Calls: what the protocol package found, joined with the processes that took part.

pub mod parts;
pub mod pipeline;
pub mod record;
pub mod recording;
pub mod trace_id;

pub use parts::{Instants, Parts};
pub use pipeline::{Origin, Output, Pipeline, Selection};
pub use record::{CallRecord, CallSource, Causes, FaultRecord, Party, TaskRecord};
pub use trace_id::{ConnectionKey, Ids, ShortId, TraceId};
