//! Writes recordings.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use super::{FACTS, LOSSES, MAX_FRAME, PREEXISTING, RECORD, RecordingError, RecordingHeader};
use crate::{host::ProcessFacts, sink::Losses};

/// Writes a recording, frame by frame.
#[derive(Debug)]
pub struct RecordingWriter<W: Write> {
    out: BufWriter<W>,
}

impl RecordingWriter<File> {
    /// Creates a file that only its owner can read: it will hold payloads.
    ///
    /// # Errors
    /// When it cannot be created or written.
    pub fn create(path: &Path, header: &RecordingHeader) -> Result<Self, RecordingError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path);
        let file = file.map_err(RecordingError::Write)?;
        // A file that was there before keeps its mode otherwise. A device or pipe has none of ours.
        if file.metadata().is_ok_and(|meta| meta.is_file()) {
            file.set_permissions(PermissionsExt::from_mode(0o600))
                .map_err(RecordingError::Write)?;
        }
        Self::new(file, header)
    }
}

impl<W: Write> RecordingWriter<W> {
    /// Begins a recording.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(out: W, header: &RecordingHeader) -> Result<Self, RecordingError> {
        let mut out = BufWriter::with_capacity(256 << 10, out);
        let line = json(header)?;
        out.write_all(&line)
            .and_then(|()| out.write_all(b"\n"))
            .map_err(RecordingError::Write)?;
        Ok(Self { out })
    }

    /// A record of the ring, as the kernel wrote it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record(&mut self, bytes: &[u8]) -> Result<(), RecordingError> {
        self.frame(RECORD, bytes)
    }

    /// Facts that were read of a process: they belong before the record that made them be read.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn facts(&mut self, facts: &ProcessFacts) -> Result<(), RecordingError> {
        self.frame(FACTS, &json(facts)?)
    }

    /// What was lost.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn losses(&mut self, losses: &Losses) -> Result<(), RecordingError> {
        self.frame(LOSSES, &json(losses)?)
    }

    /// Inode numbers of the pipes and sockets that were open before observation began. They belong
    /// before the first record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn preexisting(&mut self, inodes: impl IntoIterator<Item = u64>) -> Result<(), RecordingError> {
        let body: Vec<u8> = inodes.into_iter().flat_map(u64::to_le_bytes).collect();
        for piece in body.chunks(MAX_FRAME as usize / 8 * 8) {
            self.frame(PREEXISTING, piece)?;
        }
        Ok(())
    }

    /// Brings everything to the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<(), RecordingError> {
        self.out.flush().map_err(RecordingError::Write)
    }

    fn frame(&mut self, kind: u8, body: &[u8]) -> Result<(), RecordingError> {
        let too_long = || RecordingError::Write(io::ErrorKind::FileTooLarge.into());
        let length = u32::try_from(body.len())
            .ok()
            .filter(|length| *length <= MAX_FRAME)
            .ok_or_else(too_long)?;
        let mut write = || {
            self.out.write_all(&[kind])?;
            self.out.write_all(&length.to_le_bytes())?;
            self.out.write_all(body)
        };
        write().map_err(RecordingError::Write)
    }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, RecordingError> {
    serde_json::to_vec(value).map_err(|error| RecordingError::Write(error.into()))
}
