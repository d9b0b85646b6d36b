//! Recordings: what the kernel shipped, with all that a replay must know of the host.
//!
//! A file is one line of JSON (the [`RecordingHeader`]) and frames: a kind (1 byte), the length of
//! the body (4 bytes, little-endian) and the body. A recording that was cut off anywhere is good up
//! to its last whole frame.

mod reader;
mod writer;

use serde::{Deserialize, Serialize};

use super::syscalls::Architecture;
use crate::host::{ClockOffset, ProcessFacts};

pub use reader::RecordingReader;
pub use writer::RecordingWriter;

/// First field of every recording.
pub const MAGIC: &str = "mcpsonar-record";
/// Version of the layout of the file. The layout of the records is `abi`'s.
pub const FORMAT: u32 = 1;
/// Bytes of the longest header.
const MAX_HEADER: usize = 64 << 10;
/// Bytes of the longest frame: no record of the ring is longer, and a host has fewer open pipes.
const MAX_FRAME: u32 = 16 << 20;

/// What a recording says about where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingHeader {
    /// [`MAGIC`].
    pub magic: String,
    /// [`FORMAT`].
    pub format: u32,
    /// `agent_abi::VERSION` of the records.
    pub abi: u32,
    /// Version of mcpsonar.
    pub mcpsonar: String,
    /// Release of the kernel.
    pub kernel: String,
    /// What the numbers of system calls in the records depend on. All that we know are little-endian.
    pub arch: Architecture,
    /// The kernel's boot id, for which inode numbers mean something.
    pub boot_id: String,
    /// From the records' clock to the time of day, in nanoseconds.
    pub clock_offset_ns: ClockOffset,
    /// The processes that were selected; empty for all.
    pub pids: Vec<u32>,
}

impl RecordingHeader {
    /// The header of a recording that is made by this build.
    #[must_use]
    pub fn new(kernel: String, boot_id: String, clock: ClockOffset, pids: Vec<u32>) -> Self {
        Self {
            magic: MAGIC.to_owned(),
            format: FORMAT,
            abi: agent_abi::VERSION,
            mcpsonar: env!("CARGO_PKG_VERSION").to_owned(),
            kernel,
            arch: Architecture::HERE,
            boot_id,
            clock_offset_ns: clock,
            pids,
        }
    }
}

/// Whether a file that begins with these bytes is a recording, be it of another version.
#[must_use]
pub fn is_recording(beginning: &[u8]) -> bool {
    let first = format!("{{\"magic\":\"{MAGIC}\"");
    beginning.starts_with(first.as_bytes())
}

/// A piece of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A record of the ring, as the kernel wrote it.
    Record(Vec<u8>),
    /// From here on, these are the facts of their process.
    Facts(Box<ProcessFacts>),
    /// What was lost, by name.
    Losses(Vec<(String, u64)>),
    /// Inode numbers of the pipes and sockets that were open before.
    Preexisting(Vec<u64>),
}

const RECORD: u8 = 1;
const FACTS: u8 = 2;
const LOSSES: u8 = 3;
const PREEXISTING: u8 = 4;

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It cannot be read.
    #[error("cannot read the recording: {0}")]
    Read(#[source] std::io::Error),
    /// It cannot be written.
    #[error("cannot write the recording: {0}; check that there is room")]
    Write(#[source] std::io::Error),
    /// Its first line is not that of a recording.
    #[error("this is not a recording: {reason}; `mcpsonar record -o FILE` makes one")]
    NotARecording {
        /// What is wrong with it.
        reason: String,
    },
    /// It was made by another version.
    #[error("this recording has {what} {found} and this build reads {wanted}; replay it with mcpsonar {by}")]
    Version {
        /// "format" or "record layout" or "architecture".
        what: &'static str,
        /// Its version.
        found: String,
        /// The one that can be read.
        wanted: String,
        /// Version of mcpsonar that made it.
        by: String,
    },
    /// A frame is longer than any can be.
    #[error("the recording is damaged: frame {frame} claims {length} bytes; the {records} records before it are good")]
    Oversized {
        /// Its number, from 1.
        frame: u64,
        /// The length that it claims.
        length: u32,
        /// Records before it.
        records: u64,
    },
    /// A frame's body is not what its kind says.
    #[error(
        "the recording is damaged: frame {frame} (kind {kind}): {reason}; the {records} records before it are good"
    )]
    Damaged {
        /// Its number, from 1.
        frame: u64,
        /// The kind that it claims.
        kind: u8,
        /// What is wrong with it.
        reason: String,
        /// Records before it.
        records: u64,
    },
}

#[cfg(test)]
mod tests;
