//! Flags while tracing: the sampler beside, the engine fed, its events written out.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mcp_proto::Nanos;

use super::Failure;
use crate::calls::{Output, Survey};
use crate::flags::{FlagEvent, FlagsConfig, Levels, definition};
use crate::health::Health;
use crate::host::ClockOffset;
use crate::sink::sanitise;

/// Raises flags for those who take part in calls, and writes them down.
#[derive(Debug)]
pub(super) struct Events {
    health: Health,
    path: PathBuf,
    file: File,
    /// Whether people are told too.
    aloud: bool,
}

impl Events {
    /// Events to a file, by the thresholds of another if there is one, and to the standard error if `aloud`.
    ///
    /// # Errors
    /// When the thresholds make no sense, the file cannot be created or there is no thread for the sampler.
    pub(super) fn open(path: &Path, thresholds: Option<&Path>, aloud: bool) -> Result<Self, Failure> {
        let levels = thresholds.map_or_else(|| Ok(Levels::default()), levels)?;
        let file = File::create(path).map_err(|source| Failure::File {
            action: "create the file for events",
            path: path.to_owned(),
            source,
        })?;
        let health = Health::start(levels).map_err(|source| Failure::Io {
            what: "cannot start a thread: for the sampler".to_owned(),
            source,
        })?;
        Ok(Self {
            health,
            path: path.to_owned(),
            file,
            aloud,
        })
    }

    /// Observation begins: this is the time of day.
    pub(super) fn begin(&mut self, clock: ClockOffset) {
        self.health.begin(clock);
    }

    /// Takes a call or a fault.
    pub(super) fn output(&mut self, output: &Output) {
        self.health.output(output);
    }

    /// The kernel kills a process for want of memory.
    pub(super) fn oom_killed(&mut self, pid: u32, at: Nanos) {
        self.health.oom_killed(pid, at);
    }

    /// Whether it is time for [`Events::survey`].
    pub(super) fn wants_survey(&self, now: Nanos) -> bool {
        self.health.wants_survey(now)
    }

    /// Takes what is under way.
    pub(super) fn survey(&mut self, survey: &Survey) {
        self.health.survey(survey);
    }

    /// Writes what has happened to flags.
    ///
    /// # Errors
    /// When the file takes no more.
    pub(super) fn tick(&mut self, now: Nanos) -> Result<(), Failure> {
        self.health.tick(now, |_| {});
        while let Some(event) = self.health.poll_event() {
            if self.aloud {
                // Whoever closed the standard error does not want to know.
                writeln!(io::stderr(), "mcpsonar: {}", line(&event)).unwrap_or_default();
            }
            self.write(&event).map_err(|source| Failure::File {
                action: "write the events",
                path: self.path.clone(),
                source,
            })?;
        }
        Ok(())
    }

    fn write(&mut self, event: &FlagEvent) -> io::Result<()> {
        let mut text = serde_json::to_vec(event)?;
        text.push(b'\n');
        self.file.write_all(&text)
    }
}

/// The thresholds that a file says.
fn levels(path: &Path) -> Result<Levels, Failure> {
    let failed = |source| Failure::File {
        action: "use the thresholds",
        path: path.to_owned(),
        source,
    };
    let config: FlagsConfig =
        serde_json::from_slice(&fs::read(path).map_err(failed)?).map_err(|error| failed(error.into()))?;
    config
        .levels()
        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// One line for people: what has happened to which flag, about whom, by which value, and what to do.
fn line(event: &FlagEvent) -> String {
    let flag = &event.flag;
    let definition = definition(flag.flag);
    let subject = flag.target();
    let subject = sanitise(&subject);
    match event.code() {
        "cleared" => format!("flag cleared: {}: {subject}", definition.code),
        code => format!(
            "flag {code}: {} ({}): {subject}: {:.3} of {}. {}",
            definition.code,
            flag.severity.code(),
            flag.value,
            flag.threshold,
            definition.advice
        ),
    }
}
