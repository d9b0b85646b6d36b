//! A command that is started as a child and held before its first instruction until the sensor
//! watches it, so that nothing of it is missed.

use std::ffi::OsString;
use std::io::{self, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;

use tokio::sync::oneshot;

/// The file of the program that a command names, as a shell finds it.
pub(super) fn program_file(command: &[OsString]) -> Option<PathBuf> {
    let program = Path::new(command.first()?);
    if program.components().count() > 1 {
        return program.canonicalize().ok();
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .find_map(|folder| folder.join(program).canonicalize().ok().filter(|file| file.is_file()))
}

/// The child, not yet executing its program.
pub(super) struct HeldChild {
    pub(super) pid: u32,
    gate: Option<PipeWriter>,
    pub(super) ended: oneshot::Receiver<io::Result<ExitStatus>>,
}

impl HeldChild {
    /// Forks the child.
    ///
    /// # Errors
    /// When there are no pipes, threads or processes to be had.
    pub(super) fn fork(command: &[OsString]) -> io::Result<Self> {
        let (program, args) = command
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no command given"))?;
        let (mut announced, announce) = pipe()?;
        let (hold, gate) = pipe()?;
        let (tell, ended) = oneshot::channel();
        let mut command = Command::new(program);
        command.args(args);
        let fds = Fds {
            announce: announce.as_raw_fd(),
            hold: hold.as_raw_fd(),
            gate: gate.as_raw_fd(),
        };
        // SAFETY: between fork and exec only write, close and read are called, on descriptors that
        // live until `spawn` has returned.
        unsafe { command.pre_exec(move || fds.wait()) };
        thread::Builder::new().name("child".to_owned()).spawn(move || {
            // Returns once the program executes, or could not.
            let ended = command.spawn().and_then(|mut child| {
                drop((announce, hold));
                child.wait()
            });
            // Nobody listens any more when the observation has failed.
            drop(tell.send(ended));
        })?;
        let mut pid = [0; 4];
        announced.read_exact(&mut pid)?;
        Ok(Self {
            pid: u32::from_ne_bytes(pid),
            gate: Some(gate),
            ended,
        })
    }

    /// Lets the child execute its program.
    pub(super) fn release(&mut self) -> io::Result<()> {
        match self.gate.take() {
            Some(mut gate) => gate.write_all(&[1]),
            None => Ok(()),
        }
    }
}

/// The ends of the pipes, in the child.
#[derive(Clone, Copy)]
struct Fds {
    announce: RawFd,
    hold: RawFd,
    gate: RawFd,
}

impl Fds {
    /// Runs in the child: announces its pid and waits for the gate.
    fn wait(self) -> io::Result<()> {
        let pid = std::process::id().to_ne_bytes();
        // SAFETY: the buffer is live and its length right.
        if unsafe { libc::write(self.announce, pid.as_ptr().cast(), pid.len()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // Without the child's own copy, the end of the parent ends the wait.
        // SAFETY: the descriptor is the child's copy and not used again.
        unsafe { libc::close(self.gate) };
        let mut go = 0u8;
        loop {
            // SAFETY: the buffer is one live byte.
            match unsafe { libc::read(self.hold, (&raw mut go).cast(), 1) } {
                1 => return Ok(()),
                0 => return Err(io::Error::from(io::ErrorKind::Interrupted)),
                _ => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
    }
}
