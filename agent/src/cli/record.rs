//! What the kernel ships, to a file.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use super::{
    Failure, RecordArgs,
    trace::{block_on, status_code},
};
use crate::{
    calls::{
        Origin, Output,
        recording::{RecordingHeader, RecordingWriter},
    },
    host::{self, ProcessFacts},
    observe::{Observer, ObserverError},
};

/// Records until the command ends or a signal comes. The status is the command's, if there is one.
///
/// # Errors
/// When the observation cannot begin, or the file cannot be written.
pub(super) fn run(args: &RecordArgs) -> Result<u8, Failure> {
    let path = args.output.as_path();
    writeln!(
        io::stderr(),
        "mcpsonar: {} will hold the traffic itself, arguments and results included",
        path.display()
    )
    .unwrap_or_default();
    let mut recording = Recording {
        path,
        pids: &args.target.pids,
        writer: None,
        records: 0,
    };
    let report = block_on(&args.target, &args.capture, &mut recording)?;
    let records = recording.records;
    if let Some(mut writer) = recording.writer {
        writer.losses(&report.losses)?;
        writer.finish()?;
    }
    writeln!(io::stderr(), "mcpsonar: {records} records are in {}", path.display()).unwrap_or_default();
    Ok(report.command.map_or(0, status_code))
}

struct Recording<'a> {
    path: &'a Path,
    pids: &'a [u32],
    writer: Option<RecordingWriter<File>>,
    records: u64,
}

impl Observer for Recording<'_> {
    fn begin(&mut self, origin: &Origin) -> Result<(), ObserverError> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let pids = if self.pids.is_empty() {
            Vec::new()
        } else {
            host::descendants(self.pids).into_iter().collect()
        };
        let header = RecordingHeader::new(kernel.trim().to_owned(), origin.boot_id.clone(), origin.clock, pids);
        let mut writer = RecordingWriter::create(self.path, &header).map_err(anyhow::Error::from)?;
        writer
            .preexisting(origin.preexisting.iter().copied())
            .map_err(anyhow::Error::from)?;
        self.writer = Some(writer);
        Ok(())
    }

    fn record(&mut self, bytes: &[u8]) -> Result<(), ObserverError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.record(bytes).map_err(anyhow::Error::from)?;
        self.records += 1;
        Ok(())
    }

    fn facts(&mut self, facts: &ProcessFacts) -> Result<(), ObserverError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        Ok(writer.facts(facts).map_err(anyhow::Error::from)?)
    }

    fn output(&mut self, _output: Output) -> Result<(), ObserverError> {
        Ok(())
    }
}
