//! From records of bytes to transfers: which stream they belong to, and what carries it.

use std::collections::VecDeque;

use agent_abi::{BindRecord, DataRecord, SocketRecord, flags};
use mcp_proto::{Carrier, Content, Side, Transfer};

use super::{MAX_MOVED, Pipeline};
use crate::calls::sessions;
use crate::calls::sockets::Way;
use crate::calls::trace_id::Run;
use crate::host::FactsSource;

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
        socket.moved(record);
        let way = Way::of(socket, socket.streams(), record);
        let begins = record.flags & flags::FIRST != 0;
        if begins && record.flags & flags::READ == 0 && looks_sealed(payload) {
            self.upstreams.greeted(socket.addresses().1, payload);
        }
        if begins && !socket.is_sealed && looks_sealed(payload) && !self.places.is_watched(way.stream) {
            self.sockets.seal(record.pair);
            self.sealed.push(record.header.tgid);
        }
        match self.sockets.get_mut(record.pair) {
            Some(socket) if socket.is_sealed => {
                if let Some(news) = socket.news() {
                    self.places.seal(news);
                }
            }
            _ => self.move_bytes(record, payload, way),
        }
    }

    /// Bytes at the boundary of a TLS library.
    fn plaintext(&mut self, record: &DataRecord, payload: &[u8], socket: Option<u64>) {
        let mut record = *record;
        if let Some(socket) = socket {
            let Some(whole) = self.sockets.agree(socket, &record) else {
                // The other end tells of the same calls.
                self.unaligned += 1;
                return;
            };
            if whole {
                record.flags |= flags::FRESH;
            }
        }
        let record = &record;
        let way = match socket.and_then(|socket| self.sockets.get_mut(socket)) {
            Some(socket) => {
                socket.measured(record.tcp);
                Way::of(socket, socket.plaintext(), record)
            }
            None => Way::unbound(record),
        };
        self.move_bytes(record, payload, way);
    }

    pub(super) fn socket(&mut self, record: &SocketRecord) {
        let change = self.sockets.record(record);
        for (stream, at) in change.finished {
            self.tracker.writer_closed(stream, at);
        }
        for (stream, at) in change.closed {
            self.tracker.closed(stream, at);
        }
    }

    /// The socket of a TLS session is known: its ciphertext is of no use any more, unless the session
    /// may show up at another address.
    pub(super) fn bound(&mut self, record: &BindRecord) {
        let socket = record.socket;
        let held = self.sessions.bind(record);
        self.sockets.seal(socket);
        if let Some(known) = self.sockets.get_mut(socket) {
            known.is_bound = record.moves == 0;
            if let Some(news) = known.news() {
                self.places.seal(news);
            }
        }
        self.release(held, Some(socket));
    }

    pub(super) fn release(&mut self, held: VecDeque<(DataRecord, Box<[u8]>)>, socket: Option<u64>) {
        for (record, payload) in held {
            self.plaintext(&record, &payload, socket);
        }
    }

    fn move_bytes(&mut self, record: &DataRecord, payload: &[u8], way: Way) {
        self.latest = self.latest.max(record.exited);
        let boot_id = &self.origin.boot_id;
        self.run.get_or_insert_with(|| Run::new(boot_id.clone(), record.exited));
        if record.flags & flags::FIRST != 0 {
            self.places.note(way.stream, record);
            self.windows.note(record);
            let pid = record.header.tgid;
            if self.moved.len() < MAX_MOVED || self.moved.contains_key(&pid) {
                self.moved.insert(pid, record.exited);
            }
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
