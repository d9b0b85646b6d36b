//! One request of HTTP with its response.

use super::body::Body;
use super::{ExchangeKey, Media, RequestHead, ResponseHead};
use crate::slab::Slot;
use crate::{ConnectionId, Nanos};

/// A JSON-RPC request that an exchange has posted and that is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Posted {
    pub(crate) connection: ConnectionId,
    pub(crate) slot: Slot,
}

/// A request of HTTP with what has come of its response.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) key: ExchangeKey,
    pub(crate) asked: Box<RequestHead>,
    /// When the request's first byte was written.
    pub(crate) at: Nanos,
    pub(crate) answer: Option<Answer>,
    /// Bodies of the request and of the response while they are under way.
    pub(crate) bodies: [Option<Box<Body>>; 2],
    /// The request is complete.
    pub(crate) is_asked: bool,
    /// The conversation that its messages belong to, once one was needed.
    pub(crate) conversation: Option<ConnectionId>,
    pub(crate) posted: Vec<Posted>,
    /// Something in it is MCP.
    pub(crate) is_mcp: bool,
    /// The response's body was not understood, in whole or in part.
    pub(crate) is_obscure: bool,
    /// The response's stream can be resumed by another exchange.
    pub(crate) is_resumable: bool,
}

/// What the head of the response said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) media: Media,
}

impl Exchange {
    pub(crate) fn new(key: ExchangeKey, asked: Box<RequestHead>, at: Nanos) -> Self {
        Self {
            key,
            asked,
            at,
            answer: None,
            bodies: [None, None],
            is_asked: false,
            conversation: None,
            posted: Vec::new(),
            is_mcp: false,
            is_obscure: false,
            is_resumable: false,
        }
    }

    /// Notes the head of the response.
    pub(crate) fn answered(&mut self, head: &ResponseHead) {
        self.answer = Some(Answer {
            status: head.status,
            media: head.fields.media,
        });
    }

    /// Whether a header that only MCP has is there.
    pub(crate) fn is_marked(&self) -> bool {
        let fields = &self.asked.fields;
        fields.session.is_some() || fields.protocol_version.is_some() || fields.mcp_method.is_some()
    }

    /// What names the session, in either form.
    pub(crate) fn session(&self) -> Option<&str> {
        let legacy = || self.asked.query_session.as_deref();
        self.asked.fields.session.as_deref().or_else(legacy)
    }

    /// Position from which the exchange's bytes in one direction are still of interest.
    pub(crate) fn open_since(&self, direction: usize) -> Option<u64> {
        self.bodies[direction].as_ref().and_then(|body| body.open_since())
    }
}
