//! Sans-IO observer of the Model Context Protocol: bytes and time in, calls out.
//!
//! The crate knows no operating system, no clock and no runtime. Whoever drives it feeds
//! [`Transfer`]s (one data syscall, or a piece of one) and process exits into a [`Tracker`] and
//! takes [`Event`]s out. Time is always a parameter: nanoseconds of one monotonic clock.
#![forbid(unsafe_code)]

mod alignment;
mod call;
mod connection;
mod early;
mod event;
mod framing;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod hash;
mod http;
mod joining;
mod json;
mod lifecycle;
mod limits;
mod mcp;
mod ndjson;
mod originator;
mod output;
mod pairing;
mod recognise;
mod relay;
mod rpc;
mod serving;
mod slab;
mod stats;
mod stream;
mod survey;
mod timeline;
mod track;
mod tracker;
mod transfer;
mod users;

pub use call::{
    Call, CallRef, Continuation, Direction, Endpoint, Half, HttpVersion, Loss, Method, Notice, Outcome, RequestId,
    ResultType, SessionToken, TaskState, TraceContext, Transport,
};
pub use event::{Event, Fault, FaultKind, Verdict};
pub use limits::Limits;
pub use stats::Stats;
pub use survey::{Conversation, OpenCall, Stage, StreamCounts};
pub use tracker::Tracker;
pub use transfer::{Carrier, ConnectionId, Content, Nanos, PairId, ProcessId, Side, StreamId, Transfer};
