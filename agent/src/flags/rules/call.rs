//! Calls that have ended: late, given up, died, or queued.

use std::sync::Arc;

use mcp_proto::{Nanos, Outcome};

use super::pressure::IntoValue;
use crate::flags::board::Weighing;
use crate::flags::engine::shortened;
use crate::flags::{CallInput, CallKind, Engine, Evidence, Flag, Subject};

impl Engine {
    pub(in crate::flags) fn weigh_call(&mut self, call: &CallInput<'_>) {
        let name = call.server_name.or(call.server.and_then(|server| server.name));
        let server: Arc<str> = name.map_or_else(|| "unknown".into(), shortened);
        if let Some(known) = call.server.and_then(|server| self.processes.get_mut(&server.pid)) {
            known.last_byte = known.last_byte.max(call.ended);
            if is_answered(call.outcome) {
                known.answered = known.answered.max(call.started.unwrap_or(0));
            }
        }
        self.weigh_latency(call, &server);
        if let Some(process) = call.server {
            self.weigh_queue(process.pid, Some(call), call.ended);
        }
        let target = match call.kind {
            CallKind::Tool(tool) => shortened(tool),
            CallKind::Resource => "resources/read".into(),
            CallKind::TokenCheck => "token check".into(),
            CallKind::Other(method) => shortened(method),
        };
        let timed_out = self.weigh_patience(call, &server, &target);
        if call.outcome == Outcome::ServerExit {
            let weighing = Weighing {
                level: self.levels.of(Flag::Crashed, Some(&server), None),
                subject: Subject::Server {
                    server: Arc::clone(&server),
                },
                name: Some(&server),
                value: 0.0,
            };
            self.board.strike(weighing, 1, call.ended, |calls| {
                Evidence::default()
                    .with("pid", call.server.map(|server| server.pid.into()))
                    .with("calls", calls.into_value())
                    .with("target", target.as_ref().into_value())
            });
        }
        self.count_call(call, server, timed_out);
    }

    fn weigh_latency(&mut self, call: &CallInput<'_>, server: &Arc<str>) {
        let of_server = || Subject::Server {
            server: Arc::clone(server),
        };
        let (flag, tool, subject) = match call.kind {
            CallKind::Tool(tool) => {
                let subject = Subject::Tool {
                    server: Arc::clone(server),
                    tool: shortened(tool),
                };
                (Flag::SlowToolCalls, Some(tool), subject)
            }
            CallKind::Resource => (Flag::SlowResourceReads, None, of_server()),
            CallKind::TokenCheck => (Flag::SlowTokenChecks, None, of_server()),
            CallKind::Other(_) => return,
        };
        let Some(latency) = call.latency_ms.filter(|_| is_answered(call.outcome)) else {
            return;
        };
        let level = self.levels.of(flag, Some(server), tool);
        let weighing = Weighing {
            level,
            subject,
            name: Some(server),
            value: latency,
        };
        self.board.weigh(weighing, call.ended, || {
            Evidence::default()
                .with("latency_ms", latency.into_value())
                .with("target_ms", level.warn.into_value())
                .with("cause", call.cause.unwrap_or("unknown").into_value())
        });
    }

    /// Whether requests lie unread in front of a server: by those in flight, and by what the latest
    /// calls say.
    pub(in crate::flags) fn weigh_queue(&mut self, pid: u32, call: Option<&CallInput<'_>>, now: Nanos) {
        let Some(known) = self.processes.get_mut(&pid) else {
            return;
        };
        let level = self.levels.of(Flag::QueueSaturated, Some(&known.name), None);
        let queue = call.and_then(|call| call.queue_ms);
        if let Some((queue, latency)) = queue.zip(call.and_then(|call| call.latency_ms)) {
            let queued = queue >= level.parameter("min_ms") && queue >= level.parameter("share") * latency;
            known.queued = if queued { known.queued.saturating_add(1) } else { 0 };
        } else if call.is_none() && known.flight.pending == 0 {
            known.queued = 0;
        }
        let (flight, waiting) = (known.flight, known.queued.max(known.flight.waiting));
        let weighing = Weighing {
            level,
            subject: Subject::Process { pid },
            name: Some(&known.name),
            value: f64::from(waiting),
        };
        self.board.weigh(weighing, now, || {
            Evidence::default()
                .with("waiting", waiting.into_value())
                .with("pending", flight.pending.into_value())
                .with("queue_ms", queue.map(Into::into))
        });
    }

    /// Whether the client gave up after a wait.
    fn weigh_patience(&mut self, call: &CallInput<'_>, server: &Arc<str>, target: &str) -> bool {
        let tool = match call.kind {
            CallKind::Tool(tool) => Some(tool),
            _ => None,
        };
        let level = self.levels.of(Flag::ClientTimedOut, Some(server), tool);
        let given_up = matches!(call.outcome, Outcome::Cancelled | Outcome::Abandoned);
        let Some(waited) = call.latency_ms.filter(|_| given_up) else {
            return false;
        };
        if waited < level.parameter("min_wait_ms") {
            return false;
        }
        let weighing = Weighing {
            level,
            subject: Subject::Server {
                server: Arc::clone(server),
            },
            name: Some(server),
            value: 0.0,
        };
        self.board.strike(weighing, 1, call.ended, |timeouts| {
            Evidence::default()
                .with("timeouts", timeouts.into_value())
                .with("waited_ms", waited.into_value())
                .with("target", target.into_value())
                .with("client_pid", call.client.map_or(0, |client| client.pid).into_value())
        });
        true
    }
}

fn is_answered(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Ok | Outcome::ToolError | Outcome::RpcError)
}
