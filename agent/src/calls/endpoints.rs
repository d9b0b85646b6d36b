//! Servers whose connections need not be judged one by one.
//!
//! A busy web server opens a new connection for every few requests, and each would be looked into
//! anew. So where several connections to one address have shown nothing, it is ignored as a whole,
//! for a while. Where several have carried MCP, the next ones are captured whole from their first
//! byte on: a large first request would be cut before its connection has a verdict.

use std::collections::HashMap;

use agent_abi::{EndpointKey, MAX_ENDPOINTS, VerdictCode};
use mcp_proto::Nanos;

/// Connections in vain after which a server is ignored.
const IN_VAIN: u32 = 8;
/// How long it is: a server may begin to speak MCP.
const FOR: Nanos = 60_000_000_000;

/// Connections that carry MCP after which the next ones are expected to. The client's end of one
/// hardly ever comes back.
const EXPECTED: u32 = 2;

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// Connections in vain, since the last one that was not.
    in_vain: u32,
    watched: u32,
    ignored_until: Option<Nanos>,
    /// The kernel captures new connections whole.
    is_expected: bool,
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
            self.known.retain(|_, it| it.watched != 0 || it.ignored_until.is_some());
        }
        for end in ends {
            let Some(standing) = standing(&mut self.known, end) else {
                continue;
            };
            standing.in_vain += 1;
            if standing.in_vain < IN_VAIN || standing.ignored_until.is_some() {
                continue;
            }
            if standing.watched == 0 {
                standing.ignored_until = Some(now.saturating_add(FOR));
                self.judgements.push((end, Some(VerdictCode::Ignore)));
            } else if std::mem::take(&mut standing.is_expected) {
                // It serves much else: MCP has to show itself there.
                self.judgements.push((end, None));
            }
        }
    }

    /// A connection between these carries MCP, in the clear or not.
    pub(super) fn watched(&mut self, ends: [EndpointKey; 2], in_the_clear: bool) {
        if self.known.len() + 2 > MAX_ENDPOINTS as usize {
            self.known.retain(|_, it| it.ignored_until.is_some() || it.is_expected);
        }
        for end in ends {
            let Some(standing) = standing(&mut self.known, end) else {
                continue;
            };
            standing.watched = standing.watched.saturating_add(1);
            standing.in_vain = 0;
            if standing.ignored_until.take().is_some() {
                self.judgements.push((end, None));
            }
            if in_the_clear && standing.watched >= EXPECTED && !standing.is_expected {
                standing.is_expected = true;
                self.judgements.push((end, Some(VerdictCode::Watch)));
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
        self.known.retain(|_, it| it.watched != 0 || it.in_vain > 0);
    }

    /// Verdicts since the last time this was asked.
    pub(super) fn take_judgements(&mut self) -> Vec<EndpointJudgement> {
        std::mem::take(&mut self.judgements)
    }
}

/// What is known of an end. `None`: there is no room for another one.
fn standing(known: &mut HashMap<EndpointKey, Standing>, end: EndpointKey) -> Option<&mut Standing> {
    if known.len() >= MAX_ENDPOINTS as usize && !known.contains_key(&end) {
        return None;
    }
    Some(known.entry(end).or_default())
}
