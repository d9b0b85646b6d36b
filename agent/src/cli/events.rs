//! Flags while tracing: the sampler beside, the engine fed, its events written out.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mcp_proto::Nanos;

use super::Failure;
use crate::calls::{Output, Survey};
use crate::flags::{FlagEvent, Levels, definition};
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
    /// Events to a file, and to the standard error if `aloud`.
    ///
    /// # Errors
    /// When the file cannot be created or there is no thread for the sampler.
    pub(super) fn open(path: &Path, aloud: bool) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|source| Failure::File {
            action: "create the file for events",
            path: path.to_owned(),
            source,
        })?;
        let health = Health::start(Levels::default()).map_err(|source| Failure::Io {
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
