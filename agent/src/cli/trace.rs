//! Calls as they end.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::ExitStatus,
};

use mcp_proto::Nanos;

use super::{
    CaptureArgs, Failure, TargetArgs, TierArg, TraceArgs,
    events::Events,
    outputs::{Console, outputs},
    stats,
};
use crate::{
    calls::{Origin, Output, Survey},
    observe::{Observer, ObserverError, Options, Report, Target, observe},
    sensor::{RING_BYTES, Tier},
    sink::{Losses, OutputError, Outputs, WhenFull},
};

/// Prints calls until the command ends or a signal comes. The status is the command's, if there is one.
///
/// # Errors
/// When the observation cannot begin, or an output fails.
pub(super) fn run(args: &TraceArgs) -> Result<u8, Failure> {
    let has_command = !args.target.command.is_empty();
    let console = if has_command { Console::Stderr } else { Console::Stdout };
    let mut calls = Calls {
        outputs: outputs(&args.format, &args.otlp, args.metrics, console, WhenFull::Drop)?,
        faults: BTreeMap::new(),
        calls: 0,
        events: args
            .events
            .as_deref()
            .map(|path| Events::open(path, args.thresholds.as_deref(), !args.format.json))
            .transpose()?,
    };
    let observed = block_on(&args.target, &args.capture, &mut calls);
    let mut losses = observed
        .as_ref()
        .map_or_else(|_| Losses::default(), |report| report.losses.clone());
    // What was seen before a failure is shown all the same; that nothing was is not.
    let finished = match &observed {
        Err(_) if calls.calls == 0 => Ok(()),
        Ok(_) | Err(_) => calls.outputs.finish(&mut losses),
    };
    let report = observed?;
    if args.format.json {
        tell(&calls.faults, &losses);
    }
    if let Some(path) = &args.stats {
        write_stats(path, &report, &calls, &losses)?;
    }
    match (report.command, finished) {
        (Some(status), Err(error @ OutputError::Failed { .. })) => {
            // The command's status is worth more than ours.
            complain(&Failure::from(error));
            Ok(status_code(status))
        }
        (Some(status), Ok(()) | Err(OutputError::Closed { .. })) => Ok(status_code(status)),
        (None, finished) => finished.map(|()| 0).map_err(Failure::from),
    }
}

/// Observes with one thread: the ring is read by one anyway.
pub(super) fn block_on(
    target: &TargetArgs,
    capture: &CaptureArgs,
    observer: &mut dyn Observer,
) -> Result<Report, Failure> {
    let options = options(target, capture);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Io {
            what: "cannot set up: the event loop".to_owned(),
            source,
        })?;
    runtime.block_on(observe(options, observer)).map_err(Failure::from)
}

/// Says on stderr what the lines of JSON do not.
fn tell(faults: &BTreeMap<&'static str, u64>, losses: &Losses) {
    let mut err = io::stderr().lock();
    for (fault, count) in faults {
        writeln!(err, "mcpsonar: broken protocol: {fault}={count}").unwrap_or_default();
    }
    if !losses.is_empty() {
        writeln!(err, "mcpsonar: lost: {losses}").unwrap_or_default();
    }
}

/// Says a failure that does not decide the status.
fn complain(failure: &Failure) {
    writeln!(io::stderr(), "mcpsonar: {failure}").unwrap_or_default();
}

pub(super) fn options(target: &TargetArgs, capture: &CaptureArgs) -> Options {
    let target = match (target.command.as_slice(), target.pids.as_slice()) {
        ([], []) => Target::Host,
        ([], pids) => Target::Processes(pids.to_vec()),
        (command, _) => Target::Command(command.to_vec()),
    };
    let tier = match capture.tier {
        TierArg::Auto => None,
        TierArg::One => Some(Tier::Trampolines),
        TierArg::Two => Some(Tier::RawTracepoints),
    };
    // The largest size that is accepted is 2^20 KiB: this cannot overflow.
    let ring_bytes = capture
        .ring_kib
        .map_or(RING_BYTES, |kib| (kib * 1024).next_power_of_two());
    Options {
        target,
        tier,
        ring_bytes,
        tls: !capture.no_tls,
    }
}

/// As a shell has it.
pub(super) fn status_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn write_stats(path: &Path, report: &Report, calls: &Calls, losses: &Losses) -> Result<(), Failure> {
    let text = format!("{}\n", stats::json(report, calls.calls, &calls.faults, losses));
    fs::write(path, text).map_err(|source| Failure::File {
        action: "write the statistics",
        path: path.to_owned(),
        source,
    })
}

/// Hands what is observed to the outputs.
struct Calls {
    outputs: Outputs,
    faults: BTreeMap<&'static str, u64>,
    calls: u64,
    events: Option<Events>,
}

impl Observer for Calls {
    fn begin(&mut self, origin: &Origin) -> Result<(), ObserverError> {
        if let Some(events) = &mut self.events {
            events.begin(origin.clock);
        }
        Ok(())
    }

    fn output(&mut self, output: Output) -> Result<(), ObserverError> {
        if let Some(events) = &mut self.events {
            events.output(&output);
        }
        let taken = match output {
            Output::Call(call) => {
                self.calls += 1;
                self.outputs.call(&call)
            }
            Output::Fault(fault) => {
                *self.faults.entry(fault.fault).or_default() += 1;
                self.outputs.fault(&fault)
            }
        };
        taken.map_err(|error| ObserverError(error.into()))
    }

    fn wants_survey(&self, now: Nanos) -> bool {
        self.events.as_ref().is_some_and(|events| events.wants_survey(now))
    }

    fn survey(&mut self, survey: &Survey, _losses: &Losses) {
        if let Some(events) = &mut self.events {
            events.survey(survey);
        }
    }

    fn oom_killed(&mut self, pid: u32, at: Nanos) {
        if let Some(events) = &mut self.events {
            events.oom_killed(pid, at);
        }
    }

    fn tick(&mut self, now: Nanos) -> Result<(), ObserverError> {
        let events = self.events.as_mut().map_or(Ok(()), |events| events.tick(now));
        events.map_err(|error| ObserverError(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_commands() {
        assert_eq!(status_code(ExitStatus::from_raw(0)), 0);
        assert_eq!(status_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(status_code(ExitStatus::from_raw(libc::SIGKILL)), 137);
    }

    #[test]
    fn what_was_asked_for() {
        let target = TargetArgs {
            pids: vec![1, 2],
            command: vec![],
        };
        let capture = CaptureArgs {
            tier: TierArg::One,
            ring_kib: Some(100),
            no_tls: true,
        };
        let options = options(&target, &capture);
        assert!(matches!(options.target, Target::Processes(pids) if pids == [1, 2]));
        assert_eq!(
            (options.tier, options.ring_bytes, options.tls),
            (Some(Tier::Trampolines), 128 << 10, false)
        );
    }

    #[test]
    fn the_largest_ring() {
        let capture = CaptureArgs {
            tier: TierArg::Auto,
            ring_kib: Some(1_048_576),
            no_tls: false,
        };
        assert_eq!(options(&TargetArgs::default(), &capture).ring_bytes, 1 << 30);
    }
}
