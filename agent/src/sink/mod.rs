//! Where calls go: one exporter a file. A sink never makes its caller wait for a slow consumer.

mod human;
mod jsonl;
mod losses;
mod metering;
mod otlp;
mod prometheus;
mod summary;
pub(crate) mod text;
mod waterfall;
mod writer;

use std::io;

pub use human::{Colour, Human};
pub use jsonl::JsonLines;
pub use losses::Losses;
pub use metering::{Metering, Source};
pub use otlp::{
    Otlp, OtlpError, OtlpLosses, OtlpProtocol, OtlpSettings, Sampler, SignalSettings, check_endpoint, check_url, pairs,
};
pub use prometheus::{DEFAULT_ADDRESS as DEFAULT_PROMETHEUS_ADDRESS, Prometheus, PrometheusError};
pub use text::sanitise;
pub use waterfall::{CallDocument, FlagDocument, waterfall};
pub use writer::{LineWriter, WhenFull};

use crate::calls::{CallRecord, FaultRecord};

/// A consumer of calls. `ErrorKind::BrokenPipe` says that whoever read the output is gone.
pub trait Sink {
    /// What the sink writes to, for messages.
    fn name(&self) -> &str;

    /// A call has ended.
    ///
    /// # Errors
    /// When the output cannot take any more.
    fn call(&mut self, call: &CallRecord) -> io::Result<()>;

    /// A peer broke the protocol.
    ///
    /// # Errors
    /// When the output cannot take any more.
    fn fault(&mut self, fault: &FaultRecord) -> io::Result<()>;

    /// Nothing more will come. Returns when all is out, or after a deadline.
    ///
    /// # Errors
    /// When something could not be written.
    fn finish(&mut self, losses: &Losses) -> io::Result<()>;

    /// What to do when it fails.
    fn advice(&self) -> &'static str {
        "check that there is room and that it may be written"
    }

    /// How many calls and faults this sink has dropped because its consumer was too slow.
    fn dropped(&self) -> u64;
}

/// An output has failed for good.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Whoever read it is gone: the usual end of `mcpsonar trace | head`.
    #[error("the reader of {output} has gone away")]
    Closed {
        /// What was written to.
        output: String,
    },
    /// It cannot be written.
    #[error("cannot write to {output}: {source}; {advice}")]
    Failed {
        /// What was written to.
        output: String,
        /// Why.
        source: io::Error,
        /// What to do next.
        advice: &'static str,
    },
}

impl OutputError {
    fn new(sink: &dyn Sink, source: io::Error) -> Self {
        let output = sink.name().to_owned();
        match source.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed { output },
            _ => Self::Failed {
                output,
                source,
                advice: sink.advice(),
            },
        }
    }
}

/// Every sink of a run. One that fails does not keep the others from getting their copy.
#[derive(Default)]
pub struct Outputs {
    sinks: Vec<Box<dyn Sink>>,
}

impl Outputs {
    /// Adds a sink.
    pub fn add(&mut self, sink: impl Sink + 'static) {
        self.sinks.push(Box::new(sink));
    }

    /// Hands a call to every sink.
    ///
    /// # Errors
    /// The first sink's that failed.
    pub fn call(&mut self, call: &CallRecord) -> Result<(), OutputError> {
        self.each(|sink| sink.call(call))
    }

    /// Hands a fault to every sink.
    ///
    /// # Errors
    /// The first sink's that failed.
    pub fn fault(&mut self, fault: &FaultRecord) -> Result<(), OutputError> {
        self.each(|sink| sink.fault(fault))
    }

    /// Ends every sink. What sinks dropped is added to `losses` before the first one reports them.
    ///
    /// # Errors
    /// The first sink's that failed.
    pub fn finish(&mut self, losses: &mut Losses) -> Result<(), OutputError> {
        let dropped = self.sinks.iter().map(|sink| sink.dropped()).sum();
        losses.add("output_dropped", dropped);
        self.each(|sink| sink.finish(losses))
    }

    fn each(&mut self, mut act: impl FnMut(&mut dyn Sink) -> io::Result<()>) -> Result<(), OutputError> {
        let mut first = Ok(());
        for sink in &mut self.sinks {
            if let Err(error) = act(sink.as_mut())
                && first.is_ok()
            {
                first = Err(OutputError::new(sink.as_ref(), error));
            }
        }
        first
    }
}

#[cfg(test)]
pub(crate) mod tests;
