//! Servers whose connections are not worth looking at.
//!
//! A busy web server opens a new connection for every few requests, and each would be looked into
//! anew. So where several connections to one address have shown nothing, it is ignored as a whole,
//! for a while.

use std::collections::HashMap;

use agent_abi::{EndpointKey, MAX_ENDPOINTS, VerdictCode};
use mcp_proto::Nanos;

/// Connections in vain after which a server is ignored.
const IN_VAIN: u32 = 8;
/// How long it is: a server may begin to speak MCP.
const FOR: Nanos = 60_000_000_000;

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    in_vain: u32,
    watched: bool,
    ignored_until: Option<Nanos>,
}

/// A verdict on a server, to be told to the kernel; `None` takes it back.
pub type EndpointJudgement = (EndpointKey, Option<VerdictCode>);

/// What is known of the addresses at either end of connections.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    known: HashMap<EndpointKey, Standing>,
    judgements: Vec<EndpointJudgement>,
    next_tick: Nanos,
}

impl Endpoints {
    /// A connection between these was given up. The client's address is another each time, so it
    /// is the server's that counts up.
    pub(super) fn ignored(&mut self, ends: [EndpointKey; 2], now: Nanos) {
        if self.known.len() + 2 > MAX_ENDPOINTS as usize {
            self.known.retain(|_, it| it.watched || it.ignored_until.is_some());
        }
        for end in ends {
            if self.known.len() >= MAX_ENDPOINTS as usize && !self.known.contains_key(&end) {
                continue;
            }
            let standing = self.known.entry(end).or_default();
            standing.in_vain += 1;
            if standing.in_vain >= IN_VAIN && !standing.watched && standing.ignored_until.is_none() {
                standing.ignored_until = Some(now.saturating_add(FOR));
                self.judgements.push((end, Some(VerdictCode::Ignore)));
            }
        }
    }

    /// A connection between these carries MCP.
    pub(super) fn watched(&mut self, ends: [EndpointKey; 2]) {
        if self.known.len() + 2 > MAX_ENDPOINTS as usize {
            self.known.retain(|_, it| it.ignored_until.is_some());
        }
        for end in ends {
            let standing = self.known.entry(end).or_default();
            standing.watched = true;
            if standing.ignored_until.take().is_some() {
                self.judgements.push((end, None));
            }
        }
    }

    /// Takes back verdicts that have lasted long enough.
    pub(super) fn tick(&mut self, now: Nanos) {
        if self.next_tick > now {
            return;
        }
        self.next_tick = now.saturating_add(FOR / 60);
        for (end, standing) in &mut self.known {
            if standing.ignored_until.is_some_and(|until| until <= now) {
                *standing = Standing::default();
                self.judgements.push((*end, None));
            }
        }
        self.known.retain(|_, it| it.watched || it.in_vain > 0);
    }

    /// Verdicts since the last time this was asked.
    pub(super) fn take_judgements(&mut self) -> Vec<EndpointJudgement> {
        std::mem::take(&mut self.judgements)
    }
}
