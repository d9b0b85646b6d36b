//! Whether a stream carries MCP, while that is not known.

use std::collections::VecDeque;

use crate::json::Envelope;
use crate::limits::Limits;
use crate::mcp::Sender;
use crate::ndjson::Junk;
use crate::pairing::Seen;
use crate::rpc::{self, Kind};
use crate::{Direction, mcp};

/// A message that waits for its stream to be recognised.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) envelope: Box<Envelope>,
    pub(crate) seen: Seen,
}

/// What one message says about its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It is MCP, in this direction.
    Proof(Direction),
    /// It is MCP, but both sides send such messages.
    Mcp,
    /// It answers something.
    Response,
    /// JSON-RPC that nobody knows.
    JsonRpc,
    /// JSON, but not JSON-RPC.
    Other,
}

pub(crate) fn sign(envelope: &Envelope) -> Sign {
    let kind = rpc::kind(envelope);
    match kind {
        Kind::Invalid => Sign::Other,
        Kind::Result | Kind::Error => Sign::Response,
        Kind::Request | Kind::Notification => match mcp::proof(envelope) {
            None => Sign::JsonRpc,
            // Both may ask for tasks, but only clients are known to.
            Some(Sender::Either) if kind == Kind::Request => Sign::Proof(Direction::ClientToServer),
            Some(sender) => sender.direction().map_or(Sign::Mcp, Sign::Proof),
        },
    }
}

/// A stream under judgement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Suspect {
    pub(crate) held: VecDeque<Held>,
    /// Where and with what a stream of a socket began, while that is too little to tell HTTP by.
    pub(crate) opening: Option<(u64, Vec<u8>)>,
    /// Bytes went missing.
    pub(crate) incomplete: bool,
    /// A message was MCP.
    pub(crate) is_mcp: bool,
    /// It was given up before, and is looked at a second and last time.
    pub(crate) again: bool,
    /// A response was seen.
    pub(crate) answers: bool,
    text_lines: u32,
    strange_lines: u32,
    strange_bytes: u64,
    unknown: u32,
    total: u64,
    /// Bytes captured since the stream was last granted an allowance.
    since_grant: u64,
    grants: u32,
}

impl Suspect {
    /// For a stream that was given up before.
    pub(crate) fn again() -> Self {
        Self {
            again: true,
            incomplete: true,
            ..Self::default()
        }
    }

    /// Whether nothing was made of the stream's bytes so far.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.incomplete && self.total == 0
    }

    /// Keeps a message; returns how many had to be dropped for it.
    pub(crate) fn hold(&mut self, held: Held, sign: Sign, limits: &Limits) -> u64 {
        match sign {
            Sign::JsonRpc | Sign::Response => self.unknown += 1,
            Sign::Mcp | Sign::Proof(_) => self.is_mcp = true,
            Sign::Other => {}
        }
        self.answers |= sign == Sign::Response;
        self.held.push_back(held);
        if self.held.len() > limits.held_messages {
            self.held.pop_front();
            self.incomplete = true;
            return 1;
        }
        0
    }

    /// Notes a line that is not JSON-RPC.
    pub(crate) fn strange(&mut self, bytes: u64, junk: Option<Junk>) {
        // A header of LSP is a line like any other here: what it frames decides.
        if junk != Some(Junk::ContentLength) {
            let lines = if junk == Some(Junk::Text) {
                &mut self.text_lines
            } else {
                &mut self.strange_lines
            };
            *lines += 1;
            self.strange_bytes += bytes;
        }
    }

    pub(crate) fn captured(&mut self, bytes: u64) {
        self.total += bytes;
        self.since_grant += bytes;
    }

    /// Whether another allowance is due. `starved` says that a syscall came without content.
    pub(crate) fn wants_more(&mut self, starved: bool, limits: &Limits) -> bool {
        let due = starved || self.since_grant >= limits.allowance_bytes;
        if due {
            self.since_grant = 0;
            self.grants = self.grants.saturating_add(1);
        }
        due
    }

    /// Whether there is no more point in looking. `open_junk` is the length of an incomplete line
    /// that is not JSON.
    pub(crate) fn is_hopeless(&self, open_junk: u64, expected: bool, limits: &Limits) -> bool {
        let factor = if expected || self.is_mcp {
            limits.expected_factor
        } else {
            1
        };
        let wide = u64::from(factor);
        self.text_lines >= limits.text_lines.saturating_mul(factor)
            || self.strange_lines >= limits.strange_lines.saturating_mul(factor)
            || self.strange_bytes.saturating_add(open_junk) >= limits.strange_bytes.saturating_mul(wide)
            || self.grants >= limits.grants.saturating_mul(factor)
            || self.unknown >= limits.unknown_messages.saturating_mul(factor)
            || self.total >= limits.unjudged_bytes.saturating_mul(wide)
    }
}
