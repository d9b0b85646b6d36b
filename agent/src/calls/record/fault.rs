//! A fault of the protocol, as it goes out.

use std::sync::Arc;

use mcp_proto::{Fault, Nanos};
use serde::Serialize;

use crate::host::{ClockOffset, ProcessFacts};

/// A deviation from the protocol, as it goes out.
#[derive(Clone, Debug, Serialize)]
pub struct FaultRecord {
    /// What happened.
    pub fault: &'static str,
    /// When, in nanoseconds since the Unix epoch.
    pub at_unix_ns: u64,
    /// When, in nanoseconds of CLOCK_MONOTONIC.
    pub at_mono_ns: Nanos,
    /// Who wrote it.
    pub pid: Option<u32>,
    /// Name of its main thread.
    pub comm: Option<String>,
    /// Bytes that it concerns.
    pub bytes: u64,
}

impl FaultRecord {
    /// The record of `fault`.
    #[must_use]
    pub fn new(fault: &Fault, writer: Option<&Arc<ProcessFacts>>, clock: ClockOffset) -> Self {
        Self {
            fault: fault.kind.code(),
            at_unix_ns: clock.unix(fault.at),
            at_mono_ns: fault.at,
            pid: writer.map(|facts| facts.pid),
            comm: writer.and_then(|facts| facts.comm.clone()),
            bytes: fault.bytes,
        }
    }
}
