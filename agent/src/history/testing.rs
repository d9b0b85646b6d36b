//! A history written for tests: calls as they are wanted, at times as they are wanted.

use std::path::Path;
use std::sync::Arc;

use mcp_proto::Outcome;

use super::writer::Book;
use super::{Limits, ServerUse, UnixMillis};
use crate::calls::record::tests::{call, record};
use crate::calls::{CallRecord, ShortId, TraceId};
use crate::host::ClockOffset;

/// Writes without a thread.
#[derive(Debug)]
pub(crate) struct Writer {
    book: Book,
    template: CallRecord,
    calls: u64,
}

impl Writer {
    pub(crate) fn new(path: &Path, limits: Limits) -> Self {
        Self {
            book: Book::new(path, limits, Arc::default()),
            template: record(call()),
            calls: 0,
        }
    }

    pub(crate) fn call(
        &mut self,
        ended: UnixMillis,
        server: &str,
        tool: &str,
        latency_us: f64,
        failed: bool,
        cause: Option<&'static str>,
    ) {
        self.calls += 1;
        let record = &mut self.template;
        record.clock = ClockOffset(i64::try_from(ended * 1_000_000 - record.ended).unwrap());
        record.start_unix_ns = record.start_mono_ns.map(|start| record.clock.unix(start));
        record.latency_us = Some(latency_us);
        record.outcome = if failed { Outcome::ToolError } else { Outcome::Ok };
        record.dominant_cause = cause;
        record.tool = Some(tool.into());
        if let Some(party) = &mut record.server {
            party.name = Some(server.into());
        }
        // Spread as hashes are.
        let id = self.calls.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        record.call = ShortId(id);
        record.trace_id = TraceId([id, id].concat().try_into().unwrap());
        self.book.call(record);
    }

    pub(crate) fn uses(&mut self, at: UnixMillis, server: &str, cores: f64, memory: u64) {
        let one = ServerUse {
            server: server.to_owned(),
            processes: 1,
            cores,
            memory,
        };
        self.book.uses(at, vec![one]);
    }

    pub(crate) fn tick(&mut self, now: UnixMillis) {
        self.book.tick(now);
    }

    pub(crate) fn close(&mut self, now: UnixMillis) {
        self.book.close(now);
    }
}
