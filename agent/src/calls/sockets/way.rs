//! Which stream a record belongs to.

use agent_abi::{DataRecord, flags};
use mcp_proto::{PairId, StreamId};

use super::{Socket, Streams, TLS_STREAM, number};

/// The stream that a record belongs to, by the names that both ends share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::calls) struct Way {
    pub(in crate::calls) stream: StreamId,
    pub(in crate::calls) pair: Option<PairId>,
    /// Numbers that stand for the addresses of writer and reader.
    pub(in crate::calls) ends: Option<[u64; 2]>,
}

impl Way {
    /// As the kernel numbers it.
    pub(in crate::calls) fn own(record: &DataRecord) -> Self {
        Self {
            stream: StreamId(record.stream),
            pair: (record.pair != 0).then_some(PairId(record.pair)),
            ends: None,
        }
    }

    /// The plaintext of a session whose socket is not known.
    pub(in crate::calls) fn unbound(record: &DataRecord) -> Self {
        let pair = TLS_STREAM | record.pair << 1;
        let reads = record.flags & flags::READ != 0;
        Self {
            stream: StreamId(pair | u64::from(reads)),
            pair: Some(PairId(pair)),
            ends: None,
        }
    }

    /// One of `streams`, of a connection that `socket` is an end of.
    pub(in crate::calls) fn of(socket: &Socket, streams: Streams, record: &DataRecord) -> Self {
        let [own, other] = [socket.local, socket.remote].map(number);
        let reads = record.flags & flags::READ != 0;
        Self {
            stream: if reads { streams.read } else { streams.written },
            pair: Some(streams.pair),
            ends: Some(if reads { [other, own] } else { [own, other] }),
        }
    }
}
