//! From records of bytes to transfers: which stream of which connection they belong to.

use std::collections::VecDeque;

use agent_abi::{DataRecord, SocketRecord, VerdictCode, VerdictEntry, flags};
use mcp_proto::{Carrier, Content, PairId, Side, StreamId, Transfer};

use super::Pipeline;
use crate::calls::sessions;
use crate::calls::sockets::{Socket, Streams};
use crate::host::FactsSource;

/// The stream that a record belongs to.
struct Way {
    stream: StreamId,
    pair: Option<PairId>,
    ends: Option<[u64; 2]>,
}

impl Way {
    /// As the kernel numbers it.
    fn own(record: &DataRecord) -> Self {
        Self {
            stream: StreamId(record.stream),
            pair: (record.pair != 0).then_some(PairId(record.pair)),
            ends: None,
        }
    }

    /// One of `streams`, of a connection that `socket` is an end of.
    fn of(socket: &Socket, streams: Streams, record: &DataRecord) -> Self {
        let (own, other) = socket.numbers();
        let reads = record.flags & flags::READ != 0;
        Self {
            stream: if reads { streams.read } else { streams.written },
            pair: Some(streams.pair),
            ends: Some(if reads { [other, own] } else { [own, other] }),
        }
    }
}

/// Whether bytes begin like a record of TLS (RFC 8446, section 5.1).
fn looks_sealed(bytes: &[u8]) -> bool {
    matches!(bytes, [0x14..=0x17, 3, 0..=4, ..])
}

impl<S: FactsSource> Pipeline<S> {
    pub(super) fn data(&mut self, record: &DataRecord, payload: &[u8]) {
        if record.flags & flags::TLS != 0 {
            match self.sessions.place(record, payload) {
                sessions::Carrier::Socket(socket) => self.plaintext(record, payload, Some(socket)),
                sessions::Carrier::Unknown => self.plaintext(record, payload, None),
                sessions::Carrier::Waits => {}
            }
        } else if record.flags & flags::TCP != 0 {
            self.tcp(record, payload);
        } else {
            self.move_bytes(record, payload, Way::own(record));
        }
    }

    /// Bytes of a TCP connection.
    fn tcp(&mut self, record: &DataRecord, payload: &[u8]) {
        let Some(socket) = self.sockets.get_mut(record.pair) else {
            return self.move_bytes(record, payload, Way::own(record));
        };
        socket.tcp = record.tcp;
        socket.place = Some((record.key & !1, record.ino));
        if !socket.sealed && record.flags & flags::FIRST != 0 && looks_sealed(payload) {
            self.seal(record.pair);
            self.sealed.push(record.header.tgid);
            return;
        }
        if socket.sealed {
            return;
        }
        let way = Way::of(socket, socket.streams(), record);
        self.move_bytes(record, payload, way);
    }

    /// A socket carries ciphertext: the kernel is to look out for the session behind it.
    fn seal(&mut self, socket: u64) {
        for id in self.sockets.seal(socket) {
            self.tell_socket(id, VerdictCode::Sealed);
        }
    }

    /// Tells the kernel what a socket is worth, in both directions.
    fn tell_socket(&mut self, socket: u64, verdict: VerdictCode) {
        let Some((key, ino)) = self.sockets.get(socket).and_then(|socket| socket.place) else {
            return;
        };
        for key in [key, key | 1] {
            let entry = VerdictEntry {
                stream: socket,
                ino,
                verdict: verdict as u32,
                grants: 0,
            };
            self.judgements.push((key, entry));
        }
    }

    /// Bytes at the boundary of a TLS library.
    fn plaintext(&mut self, record: &DataRecord, payload: &[u8], socket: Option<u64>) {
        let way = match socket.and_then(|socket| self.sockets.get_mut(socket)) {
            Some(socket) => {
                if record.tcp != agent_abi::Tcp::default() {
                    socket.tcp = record.tcp;
                }
                Way::of(socket, socket.plaintext(), record)
            }
            None => Way::own(record),
        };
        self.move_bytes(record, payload, way);
    }

    pub(super) fn socket(&mut self, record: &SocketRecord) {
        for (stream, at) in self.sockets.record(record).closed {
            self.tracker.closed(stream, at);
        }
    }

    /// The socket of a TLS session is known: its ciphertext is of no use any more.
    pub(super) fn bound(&mut self, session: u64, socket: u64) {
        let held = self.sessions.bind(session, socket);
        self.sockets.seal(socket);
        self.tell_socket(socket, VerdictCode::Ignore);
        self.release(held, Some(socket));
    }

    pub(super) fn release(&mut self, held: VecDeque<(DataRecord, Box<[u8]>)>, socket: Option<u64>) {
        for (record, payload) in held {
            self.plaintext(&record, &payload, socket);
        }
    }

    fn move_bytes(&mut self, record: &DataRecord, payload: &[u8], way: Way) {
        self.latest = self.latest.max(record.exited);
        if record.flags & flags::FIRST != 0 {
            self.note_place(way.stream, record);
        }
        let bits = record.flags;
        let transfer = Transfer {
            stream: way.stream,
            pair: way.pair,
            carrier: match (bits & flags::SOCKET != 0, bits & flags::NAMED != 0) {
                _ if bits & (flags::TCP | flags::TLS) != 0 => Carrier::Tcp,
                (false, _) => Carrier::Pipe,
                (true, false) => Carrier::SocketPair,
                (true, true) => Carrier::UnixSocket,
            },
            fresh: if bits & flags::TLS != 0 {
                bits & flags::FRESH != 0
            } else {
                record.ino != 0 && !self.origin.preexisting.contains(&record.ino)
            },
            absolute: bits & flags::TCP != 0,
            ends: way.ends,
            side: if bits & flags::READ != 0 {
                Side::Reader
            } else {
                Side::Writer
            },
            process: self.process(record.header.tgid),
            entered: if record.entered == 0 {
                record.exited
            } else {
                record.entered
            },
            exited: record.exited,
            offset: record.offset,
            len: record.len,
            content: Content {
                at: u64::from(record.at),
                bytes: payload,
            },
            last: bits & flags::LAST != 0,
        };
        self.tracker.transfer(&transfer);
    }
}
