//! Processes that do not outlive their test. Only what a test has started is ended, each by its own id.

use std::io::Read;
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// A child that is killed when it is dropped.
#[derive(Debug)]
pub struct Guard(Child);

impl Guard {
    /// Starts the command.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        Ok(Self(
            command.spawn().with_context(|| format!("cannot start {command:?}"))?,
        ))
    }
}

impl Deref for Guard {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Guard {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to do.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Waits for the end of a child, for a while.
pub fn wait_within(child: &mut Child, limit: Duration) -> Result<ExitStatus> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > end {
            bail!("process {} has not ended within {} s", child.id(), limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a command to its end, with what it printed; one that takes longer is killed and an error.
pub fn output_within(command: &mut Command, limit: Duration) -> Result<Output> {
    let mut child = Guard::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = wait_within(&mut child, limit);
    if status.is_err() {
        // Ends the collectors too, unless a grandchild holds the pipes.
        drop(child.kill());
    }
    let join = |thread: std::thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
    let status = status.with_context(|| format!("{command:?}"))?;
    Ok(Output {
        status,
        stdout: join(stdout),
        stderr: join(stderr),
    })
}

fn collect(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        if let Some(mut stream) = stream {
            // What came before an error is kept.
            drop(stream.read_to_end(&mut all));
        }
        all
    })
}
