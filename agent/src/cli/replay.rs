//! A recording through the same pipeline again.

use std::{
    fs::File,
    io::{self, BufReader, Write},
};

use super::{
    Failure, MetricsArgs, ReplayArgs,
    outputs::{Console, outputs},
};
use crate::{
    calls::{
        Origin, Output, Pipeline, Selection,
        recording::{Frame, RecordingReader},
    },
    host::RecordedFacts,
    sink::{Losses, Outputs, WhenFull},
};

/// Prints the calls of a recording. One that was cut off is replayed as far as it goes.
///
/// # Errors
/// When the recording cannot be read, is damaged, or the output fails.
pub(super) fn run(args: &ReplayArgs) -> Result<u8, Failure> {
    let failed = |source| Failure::File {
        action: "open the recording",
        path: args.file.clone(),
        source,
    };
    let file = File::open(&args.file).map_err(failed)?;
    let mut reader = RecordingReader::new(BufReader::with_capacity(256 << 10, file))?;
    let mut outputs = outputs(
        &args.format,
        &args.otlp,
        MetricsArgs::default(),
        Console::Stdout,
        WhenFull::Wait,
    )?;
    let mut losses = Losses::default();
    // What came before the damage is shown all the same.
    let replayed = replay(&mut reader, &mut outputs, &mut losses);
    let finished = outputs.finish(&mut losses);
    replayed?;
    finished?;
    if let Some(message) = reader.cut_off() {
        writeln!(io::stderr(), "mcpsonar: {message}").unwrap_or_default();
    }
    Ok(0)
}

pub(super) fn replay<R: io::BufRead>(
    reader: &mut RecordingReader<R>,
    outputs: &mut Outputs,
    losses: &mut Losses,
) -> Result<(), Failure> {
    let header = reader.header();
    let mut origin = Origin {
        clock: header.clock_offset_ns,
        boot_id: header.boot_id.clone(),
        architecture: header.arch,
        preexisting: Default::default(),
    };
    let selection = match header.pids.as_slice() {
        [] => Selection::All,
        pids => Selection::Processes(pids.iter().copied().collect()),
    };
    // Inodes come before the first record; the pipeline begins with it.
    let mut pipeline: Option<Pipeline<RecordedFacts>> = None;
    let mut early = RecordedFacts::default();
    let mut last = 0;
    let damage = loop {
        match reader.next_frame() {
            Ok(None) => break Ok(()),
            Err(damage) => break Err(damage),
            Ok(Some(Frame::Preexisting(inodes))) => origin.preexisting.extend(inodes),
            Ok(Some(Frame::Losses(lost))) => lost.into_iter().for_each(|(name, count)| losses.add(name, count)),
            Ok(Some(Frame::Facts(facts))) => match &mut pipeline {
                Some(pipeline) => pipeline.facts_source().insert(*facts),
                None => early.insert(*facts),
            },
            Ok(Some(Frame::Record(bytes))) => {
                let pipeline = pipeline.get_or_insert_with(|| {
                    Pipeline::new(std::mem::take(&mut early), origin.clone(), selection.clone())
                });
                let now = agent_abi::Record::decode(&bytes).map_or(last, |record| time_of(&record));
                last = last.max(now);
                pipeline.record(&bytes);
                pipeline.tick(last);
                deliver(pipeline, outputs)?;
            }
        }
    };
    if let Some(pipeline) = &mut pipeline {
        pipeline.finish(last);
        deliver(pipeline, outputs)?;
        pipeline.count_losses(losses);
    }
    Ok(damage?)
}

fn time_of(record: &agent_abi::Record<'_>) -> u64 {
    match record {
        agent_abi::Record::Data(data, _) => data.exited,
        agent_abi::Record::Fork(life)
        | agent_abi::Record::Exit(life)
        | agent_abi::Record::Mapped(life)
        | agent_abi::Record::OomKill(life) => life.at,
        agent_abi::Record::Syscalls(account) => account.to,
        agent_abi::Record::Socket(socket) => socket.at,
        agent_abi::Record::Bind(bind) => bind.at,
        agent_abi::Record::Wait(wait, _) => wait.to,
        agent_abi::Record::Exec { at, .. } => *at,
    }
}

fn deliver(pipeline: &mut Pipeline<RecordedFacts>, outputs: &mut Outputs) -> Result<(), Failure> {
    // There is no kernel to tell.
    pipeline.take_judgements();
    pipeline.take_oom_kills();
    pipeline.take_endpoint_judgements();
    pipeline.take_sealed();
    while let Some(output) = pipeline.poll_output() {
        match output {
            Output::Call(call) => outputs.call(&call)?,
            Output::Fault(fault) => outputs.fault(&fault)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
