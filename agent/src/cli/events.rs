//! Flags while tracing: the sampler beside, the engine fed, its events written out.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mcp_proto::Nanos;

use super::Failure;
use crate::calls::Output;
use crate::flags::{CallInput, Engine, FaultInput, FlagEvent, InFlight, Levels, Subject, definition};
use crate::host::{ClockOffset, SamplerThread, Settings};
use crate::sink::sanitise;

/// Raises flags for those who take part in calls, and writes them down.
#[derive(Debug)]
pub(super) struct Events {
    engine: Engine,
    sampler: SamplerThread,
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
        let sampler = SamplerThread::spawn(Settings::default()).map_err(|source| Failure::Io {
            what: "cannot start a thread: for the sampler".to_owned(),
            source,
        })?;
        Ok(Self {
            engine: Engine::new(Levels::default(), ClockOffset::default()),
            sampler,
            path: path.to_owned(),
            file,
            aloud,
        })
    }

    /// Observation begins: this is the time of day.
    pub(super) fn begin(&mut self, clock: ClockOffset) {
        self.engine = Engine::new(Levels::default(), clock);
    }

    /// Takes a call or a fault, and has its server watched.
    pub(super) fn output(&mut self, output: &Output) {
        match output {
            Output::Call(call) => {
                let call = CallInput::from(&**call);
                self.engine.call(&call);
                // The client's end is what makes an orphan of its server.
                if let Some(client) = call.client {
                    self.sampler.watch(client.pid);
                }
                if let Some(server) = call.server {
                    self.sampler.watch(server.pid);
                    // Calls in flight are not known here; that bytes have moved is.
                    let flight = InFlight {
                        last_byte: Some(call.ended),
                        ..InFlight::default()
                    };
                    self.engine.in_flight(server.pid, flight, call.ended);
                }
            }
            Output::Fault(fault) => self.engine.fault(&FaultInput::from(fault)),
        }
    }

    /// Takes what the sampler has found and writes what follows from it.
    ///
    /// # Errors
    /// When the file takes no more.
    pub(super) fn tick(&mut self, now: Nanos) -> Result<(), Failure> {
        while let Some(report) = self.sampler.poll() {
            self.engine.samples(&report.samples, report.at);
            for (pid, ends) in &report.ends {
                self.engine.ends(*pid, ends, report.at);
            }
        }
        self.engine.tick(now);
        while let Some(event) = self.engine.poll_event() {
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
    let name = flag.name.as_deref().unwrap_or_default();
    let subject = match &flag.subject {
        Subject::Host => "host".to_owned(),
        Subject::Device { device } => device.to_string(),
        Subject::Cgroup { path } => path.to_string(),
        Subject::Process { pid } => format!("{name}[{pid}]"),
        Subject::Group { client_pid, .. } => format!("{name} of client {client_pid}"),
        Subject::Server { server } => server.to_string(),
        Subject::Tool { server, tool } => format!("{server} {tool}"),
    };
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
