//! One JSON object a line and call.

use std::io;

use super::{LineWriter, Losses, Sink};
use crate::calls::{CallRecord, FaultRecord};

/// Writes calls as lines of JSON. Faults and losses are not calls: they are told on stderr.
#[derive(Debug)]
pub struct JsonLines {
    out: LineWriter,
}

impl JsonLines {
    /// Lines of JSON to `out`.
    #[must_use]
    pub fn new(out: LineWriter) -> Self {
        Self { out }
    }
}

impl Sink for JsonLines {
    fn name(&self) -> &str {
        self.out.name()
    }

    fn call(&mut self, call: &CallRecord) -> io::Result<()> {
        let mut line = Vec::with_capacity(1536);
        serde_json::to_writer(&mut line, call)?;
        line.push(b'\n');
        self.out.write(line)
    }

    fn fault(&mut self, _fault: &FaultRecord) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _losses: &Losses) -> io::Result<()> {
        self.out.finish()
    }

    fn dropped(&self) -> u64 {
        self.out.dropped()
    }
}
