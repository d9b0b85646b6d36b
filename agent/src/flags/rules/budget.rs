//! Calls of five minutes by server: how many failed, were given up, or were refused.

use std::collections::VecDeque;
use std::sync::Arc;

use mcp_proto::{Nanos, Outcome};

use super::pressure::IntoValue;
use crate::flags::board::{Weighing, as_f64};
use crate::flags::limits::{MAX_SERVERS, SLOT, SLOTS};
use crate::flags::{CallInput, CallKind, Engine, Evidence, Flag, Subject};

/// The calls of one server.
#[derive(Debug, Default)]
pub(in crate::flags) struct ServerState {
    slots: VecDeque<(Nanos, Counts)>,
    /// Whether any of its sessions has ever worked.
    has_worked: bool,
}

/// Calls of one slot, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) errors: u64,
    pub(super) timeouts: u64,
    pub(super) refused: u64,
    pub(super) timed: u64,
    pub(super) latency_ms: f64,
}

impl ServerState {
    /// The counts of the last `slots` slots.
    pub(super) fn counts(&self, now: Nanos, slots: usize) -> Counts {
        let oldest = (now / SLOT).saturating_sub(slots as u64 - 1);
        let recent = self.slots.iter().filter(|(slot, _)| *slot >= oldest);
        recent.fold(Counts::default(), |sum, (_, slot)| Counts {
            calls: sum.calls + slot.calls,
            errors: sum.errors + slot.errors,
            timeouts: sum.timeouts + slot.timeouts,
            refused: sum.refused + slot.refused,
            timed: sum.timed + slot.timed,
            latency_ms: sum.latency_ms + slot.latency_ms,
        })
    }

    fn slot(&mut self, now: Nanos) -> Option<&mut Counts> {
        let slot = now / SLOT;
        if self.slots.back().is_none_or(|(last, _)| *last < slot) {
            if self.slots.len() == SLOTS {
                self.slots.pop_front();
            }
            self.slots.push_back((slot, Counts::default()));
        }
        self.slots.back_mut().map(|(_, counts)| counts)
    }
}

impl Counts {
    /// Mean latency in milliseconds.
    pub(super) fn response_ms(&self) -> Option<f64> {
        (self.timed > 0).then(|| self.latency_ms / as_f64(self.timed))
    }
}

impl Engine {
    pub(super) fn count_call(&mut self, call: &CallInput<'_>, server: Arc<str>, timed_out: bool) {
        if self.servers.len() >= MAX_SERVERS && !self.servers.contains_key(&server) {
            return;
        }
        let state = self.servers.entry(server).or_default();
        state.has_worked |= call.outcome == Outcome::Ok;
        let has_worked = state.has_worked;
        let Some(slot) = state.slot(call.ended) else { return };
        let failed = matches!(
            call.outcome,
            Outcome::ToolError | Outcome::RpcError | Outcome::HttpError | Outcome::ServerExit
        );
        slot.calls += 1;
        slot.errors += u64::from(failed);
        slot.timeouts += u64::from(timed_out);
        slot.refused += u64::from(call.session_refused && has_worked);
        // A ping says nothing of the work.
        if let Some(latency) = call.latency_ms.filter(|_| call.kind != CallKind::Other("ping")) {
            slot.timed += 1;
            slot.latency_ms += latency;
        }
    }

    pub(in crate::flags) fn weigh_budgets(&mut self, now: Nanos) {
        for (server, state) in &self.servers {
            let counts = state.counts(now, SLOTS);
            let rows = [
                (Flag::ErrorBudget, "errors", counts.errors, "min_calls", counts.calls),
                (
                    Flag::TimeoutBudget,
                    "timeouts",
                    counts.timeouts,
                    "min_calls",
                    counts.calls,
                ),
                (
                    Flag::SessionErrors,
                    "refused",
                    counts.refused,
                    "min_errors",
                    counts.refused,
                ),
            ];
            for (flag, name, count, minimum, of) in rows {
                let level = self.levels.of(flag, Some(server), None);
                let enough = as_f64(of) >= level.parameter(minimum);
                let share = if enough && counts.calls > 0 {
                    as_f64(count) / as_f64(counts.calls)
                } else {
                    0.0
                };
                let weighing = Weighing {
                    level,
                    subject: Subject::Server {
                        server: Arc::clone(server),
                    },
                    name: Some(server),
                    value: share,
                };
                self.board.weigh(weighing, now, || {
                    Evidence::default()
                        .with(name, count.into_value())
                        .with("calls", counts.calls.into_value())
                        .with("share", share.into_value())
                });
            }
        }
        // Nobody has called it for five minutes.
        self.servers.retain(|_, state| state.counts(now, SLOTS).calls > 0);
    }
}
