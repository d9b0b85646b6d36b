//! The sink that makes metrics of calls, and where exporters of metrics get them.

use std::{fmt, io, sync::Arc};

use super::{Losses, Prometheus, Sink};
use crate::{
    calls::{CallRecord, FaultRecord},
    host::unix_nanos,
    metrics::{Options, Recorder, SharedRecorder, Snapshot, samples::AgentSample},
    observe::Usage,
};

/// Counts and measures calls.
#[derive(Debug)]
pub struct Metering {
    recorder: SharedRecorder,
    /// Serves the metrics as long as there are new ones.
    endpoint: Option<Prometheus>,
}

impl Metering {
    /// A meter that has seen nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            recorder: SharedRecorder::new(Recorder::new(options, unix_nanos())),
            endpoint: None,
        }
    }

    /// The recorder, for what else there is to be told.
    #[must_use]
    pub fn recorder(&self) -> &SharedRecorder {
        &self.recorder
    }

    /// Where exporters get the metrics, with what the agent costs as of then.
    #[must_use]
    pub fn source(&self) -> Source {
        let recorder = self.recorder.clone();
        Source::new(move || {
            let (agent, now) = (cost(), unix_nanos());
            let mut recorder = recorder.lock();
            recorder.agent(agent, now);
            recorder.snapshot(now)
        })
    }

    /// Keeps `endpoint` up until there is nothing more to measure.
    pub fn serve(&mut self, endpoint: Prometheus) {
        self.endpoint = Some(endpoint);
    }
}

impl Sink for Metering {
    fn name(&self) -> &'static str {
        "metrics"
    }

    fn call(&mut self, call: &CallRecord) -> io::Result<()> {
        // Records have no hash of their request yet.
        self.recorder.lock().call(call);
        Ok(())
    }

    fn fault(&mut self, fault: &FaultRecord) -> io::Result<()> {
        self.recorder.lock().fault(fault);
        Ok(())
    }

    fn finish(&mut self, losses: &Losses) -> io::Result<()> {
        self.recorder.lock().losses(losses.iter(), unix_nanos());
        self.endpoint = None;
        Ok(())
    }

    fn dropped(&self) -> u64 {
        0
    }
}

/// Gives the metrics as they are at the moment.
#[derive(Clone)]
pub struct Source(Arc<dyn Fn() -> Snapshot + Send + Sync>);

impl Source {
    /// A source that takes its snapshots by `take`.
    pub fn new(take: impl Fn() -> Snapshot + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// The metrics now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        (self.0)()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source(..)")
    }
}

fn cost() -> AgentSample {
    let usage = Usage::now();
    AgentSample {
        cpu_seconds: usage.cpu_ms / 1e3,
        resident_bytes: usage.rss_kib * 1024,
        peak_bytes: usage.peak_rss_kib * 1024,
    }
}
