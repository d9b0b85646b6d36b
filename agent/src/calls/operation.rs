//! A call as the MCP semantic conventions see it: an operation at each of its ends. Spans and
//! metrics are made from the same one, so they cannot disagree.

use std::borrow::Cow;

use mcp_proto::{Direction, Nanos, Outcome};

use super::{CallRecord, Party, ShortId};
use crate::semconv;

/// JSON-RPC codes that blame the caller: for the responder they are not errors
/// (semantic-conventions-genai, `model/mcp/common.yaml`).
const CALLERS_FAULT: [i64; 5] = [-32700, -32600, -32601, -32602, -32002];

/// Which end. The conventions give CLIENT to the initiator and SERVER to the receiver, whichever of
/// them is the MCP client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that asked.
    Requester,
    /// The end that was asked.
    Responder,
}

/// What one end did for a call.
#[derive(Clone, Debug)]
pub struct Operation<'a> {
    /// Which end.
    pub role: Role,
    /// Who it is.
    pub party: Option<&'a Party>,
    /// Id of its span.
    pub span_id: ShortId,
    /// Nanoseconds of CLOCK_MONOTONIC: of the requester its first write, of the responder its last
    /// read of the request; else the call's first known instant.
    pub start: Nanos,
    /// Of the requester its last read of the answer, of the responder its first write; else when
    /// the call ended. Not before `start`.
    pub end: Nanos,
    /// Why it failed, in few different words; `None` when it did not, as far as this end is concerned.
    pub error_type: Option<Cow<'static, str>>,
}

impl CallRecord {
    /// What the requester did, when it was seen, and what the responder did, likewise.
    #[must_use]
    pub fn operations(&self) -> [Option<Operation<'_>>; 2] {
        let [requester, responder] = match self.direction {
            Direction::ClientToServer => [self.client_span_id, self.server_span_id],
            Direction::ServerToClient => [self.server_span_id, self.client_span_id],
        };
        let instants = &self.instants;
        let sent = (instants.sent(), instants.returned());
        let served = (instants.received(), instants.answered());
        [
            requester.map(|id| self.operation(Role::Requester, self.requester(), id, sent)),
            responder.map(|id| self.operation(Role::Responder, self.responder(), id, served)),
        ]
    }

    fn operation<'a>(
        &self,
        role: Role,
        party: Option<&'a Party>,
        span_id: ShortId,
        (start, end): (Option<Nanos>, Option<Nanos>),
    ) -> Operation<'a> {
        let start = start.or(self.start_mono_ns).unwrap_or(self.ended);
        Operation {
            role,
            party,
            span_id,
            start,
            end: end.unwrap_or(self.ended).max(start),
            error_type: error_type(self, role),
        }
    }

    /// The protocol that carries the messages, where there is one.
    #[must_use]
    pub fn network_protocol(&self) -> Option<&'static str> {
        match self.transport {
            "http" | "sse" => Some("http"),
            "websocket" => Some("websocket"),
            _ => None,
        }
    }
}

fn error_type(call: &CallRecord, role: Role) -> Option<Cow<'static, str>> {
    let number = |number: Option<i64>| number.map_or(semconv::OTHER.into(), |number| number.to_string().into());
    match call.outcome {
        Outcome::Ok | Outcome::Pending => None,
        Outcome::RpcError => match call.error_code {
            Some(code) if role == Role::Responder && CALLERS_FAULT.contains(&code) => None,
            code => Some(number(code)),
        },
        Outcome::HttpError => Some(number(call.http_status.map(i64::from))),
        failed => Some(failed.code().into()),
    }
}
