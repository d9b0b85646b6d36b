//! Decompression of messages (RFC 7692), in which the window may go on from message to message.

use flate2::{Decompress, FlushDecompress, Status};

use crate::limits::Limits;

/// What a sender leaves out at the end of each message (section 7.2.1).
pub(super) const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The message cannot be decompressed, or not within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The window of one direction, from the first compressed message on.
#[derive(Debug, Default)]
pub(super) struct Inflate {
    state: Option<Box<Decompress>>,
    /// What was sent before is missing. Whether messages refer to it cannot be told.
    lost: bool,
    output: Vec<u8>,
    /// So much of the input is done with.
    consumed: usize,
    ended: bool,
    /// The sender has ended its stream within a message. Nothing in the rest of the message counts,
    /// and with which window the next one begins is not known.
    finished: bool,
    /// Of this message, in bytes.
    produced: u64,
}

impl Inflate {
    /// Begins a message; whether it can be read.
    pub(super) fn begin(&mut self) -> bool {
        if self.finished {
            self.lose();
        }
        (self.ended, self.produced) = (false, 0);
        if !self.lost && self.state.is_none() {
            self.state = Some(Box::new(Decompress::new(false)));
        }
        self.state.is_some()
    }

    pub(super) fn lose(&mut self) {
        (self.lost, self.state) = (true, None);
    }

    /// There is new input.
    pub(super) fn input(&mut self) {
        self.consumed = 0;
    }

    /// [`TAIL`] is the input, and the last of this message.
    pub(super) fn end(&mut self) {
        (self.consumed, self.ended) = (0, true);
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn output(&self) -> &[u8] {
        &self.output
    }

    /// Gives up what is only needed within a message.
    pub(super) fn rest(&mut self) {
        self.output = Vec::new();
    }

    /// Decompresses some of `input`, the same at each call; 0 bytes when it is used up.
    pub(super) fn run(&mut self, input: &[u8], limits: &Limits) -> Result<usize, Unreadable> {
        if self.finished {
            return Ok(0);
        }
        let state = self.state.as_mut().ok_or(Unreadable)?;
        self.output.resize(super::CHUNK, 0);
        let (taken, produced) = (state.total_in(), state.total_out());
        let rest = input.get(self.consumed..).unwrap_or_default();
        let status = state
            .decompress(rest, &mut self.output, FlushDecompress::None)
            .or(Err(Unreadable))?;
        self.consumed += usize::try_from(state.total_in() - taken).unwrap_or(0);
        let produced = usize::try_from(state.total_out() - produced).unwrap_or(0);
        self.output.truncate(produced);
        self.produced += produced as u64;
        if self.produced > limits.ws_inflated_bytes {
            return Err(Unreadable);
        }
        self.finished = matches!(status, Status::StreamEnd) && produced == 0;
        Ok(produced)
    }
}
