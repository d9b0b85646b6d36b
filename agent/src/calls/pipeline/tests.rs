//! Synthetic records through the whole pipeline.

mod http;
mod idle;
mod tls;
mod traces;
mod verdicts;

use std::net::{IpAddr, SocketAddr};

use agent_abi::{BindRecord, DataRecord, Header, Kind, SocketEvent, SocketRecord, Tcp, Totals, flags};

use super::*;
use crate::host::RecordedFacts;

const MS: Nanos = 1_000_000;

/// A pipeline with the kernel that feeds it.
struct Host {
    pipeline: Pipeline<RecordedFacts>,
    now: Nanos,
    /// When the next syscalls began, if not just before they returned.
    entered: Option<Nanos>,
}

/// One end of a connection, as the kernel keeps it.
#[derive(Clone)]
struct End {
    socket: u64,
    pid: u32,
    netns: u32,
    local: SocketAddr,
    remote: SocketAddr,
    /// Bytes written and read.
    moved: [u64; 2],
    flags: u32,
    /// The TLS session whose plaintext this is.
    session: u64,
    /// This end is in scope.
    is_seen: bool,
}

/// A connection with both of its ends: the client's and the server's.
struct Connection {
    client: End,
    server: End,
}

fn ip_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

impl End {
    fn new(socket: u64, pid: u32, local: &str, remote: &str) -> Self {
        Self {
            socket,
            pid,
            netns: 1,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            moved: [0; 2],
            flags: flags::TCP,
            session: 0,
            is_seen: true,
        }
    }

    fn key(&self, reads: bool) -> u64 {
        (if self.session == 0 { self.socket } else { self.session }) << 8 | u64::from(reads)
    }

    /// The end of a TLS session that runs over this one.
    fn session(&self, session: u64, fresh: u32) -> Self {
        Self {
            moved: [0; 2],
            flags: flags::TLS | fresh,
            session,
            ..self.clone()
        }
    }
}

impl Connection {
    /// Process 10 at `client` has connected to process 20 at `server`. Sockets are numbered from `socket` on.
    fn new(socket: u64, client: &str, server: &str) -> Self {
        Self {
            client: End::new(socket, 10, client, server),
            server: End::new(socket + 1, 20, server, client),
        }
    }

    fn loopback(socket: u64) -> Self {
        Self::new(socket, "127.0.0.1:40312", "127.0.0.1:7900")
    }

    fn open(&self, host: &mut Host) {
        for (end, connect_us) in [(&self.client, 150), (&self.server, 0)] {
            host.socket(end, SocketEvent::Seen, connect_us);
        }
    }

    fn close(&self, host: &mut Host) {
        host.socket(&self.client, SocketEvent::Closed, 0);
        host.socket(&self.server, SocketEvent::Closed, 0);
    }

    /// The client writes and the server reads.
    fn ask(&mut self, host: &mut Host, bytes: &str) {
        host.pass(&mut self.client, &mut self.server, bytes);
    }

    /// The server writes and the client reads.
    fn answer(&mut self, host: &mut Host, bytes: &str) {
        host.pass(&mut self.server, &mut self.client, bytes);
    }

    fn call(&mut self, host: &mut Host, id: u32, session: Option<&str>) {
        self.ask(host, &post(&tool_call(id), session));
        self.answer(host, &reply(&result(id), None));
    }
}

impl Host {
    fn new() -> Self {
        let origin = Origin {
            clock: ClockOffset(0),
            boot_id: "boot".to_owned(),
            architecture: Architecture::HERE,
            preexisting: HashSet::new(),
        };
        let mut source = RecordedFacts::default();
        for (pid, comm) in [(10, "client"), (20, "server"), (30, "other")] {
            source.insert(ProcessFacts {
                pid,
                comm: Some(comm.into()),
                ..ProcessFacts::default()
            });
        }
        Self {
            pipeline: Pipeline::new(source, origin, Selection::All),
            now: 1000 * MS,
            entered: None,
        }
    }

    fn header(kind: Kind, pid: u32) -> Header {
        Header {
            kind: kind as u32,
            captured: 0,
            tgid: pid,
            tid: pid,
        }
    }

    fn socket(&mut self, end: &End, event: SocketEvent, connect_us: u32) {
        if !end.is_seen {
            return;
        }
        self.now += MS;
        self.pipeline.take(Record::Socket(SocketRecord {
            header: Self::header(Kind::Socket, end.pid),
            at: self.now,
            socket: end.socket,
            ino: end.socket,
            local: ip_bytes(end.local.ip()),
            remote: ip_bytes(end.remote.ip()),
            local_port: end.local.port(),
            remote_port: end.remote.port(),
            event: event as u32,
            netns: end.netns,
            connect_us,
            sent: 0,
            received: 0,
            tcp: Tcp::default(),
        }));
    }

    fn bind(&mut self, end: &End) {
        self.bind_after(end, [0; 2], 0);
    }

    /// As `bind`, of a session that goes on after so many bytes written and read.
    fn bind_after(&mut self, end: &End, [written, read]: [u64; 2], moves: u32) {
        if end.is_seen {
            self.pipeline.take(Record::Bind(BindRecord {
                header: Self::header(Kind::Bind, end.pid),
                at: self.now,
                session: end.session,
                socket: end.socket,
                written,
                read,
                fresh: moves,
                moves,
            }));
        }
    }

    /// `writer` writes `bytes`, a millisecond later `reader` has them.
    fn pass(&mut self, writer: &mut End, reader: &mut End, bytes: &str) {
        self.write(writer, bytes.as_bytes());
        self.read(reader, bytes.as_bytes());
    }

    fn write(&mut self, end: &mut End, bytes: &[u8]) {
        self.data(end, false, bytes);
    }

    fn read(&mut self, end: &mut End, bytes: &[u8]) {
        self.data(end, true, bytes);
    }

    fn data(&mut self, end: &mut End, reads: bool, bytes: &[u8]) {
        self.now += MS;
        let offset = end.moved[usize::from(reads)];
        end.moved[usize::from(reads)] += bytes.len() as u64;
        if !end.is_seen {
            return;
        }
        let key = end.key(reads);
        let side = if reads { flags::READ } else { 0 };
        let record = DataRecord {
            header: Self::header(Kind::Data, end.pid),
            stream: key + 7,
            key,
            pair: if end.session == 0 { end.socket } else { end.session },
            ino: end.socket,
            entered: self.entered.unwrap_or(self.now - MS / 10),
            exited: self.now,
            offset,
            len: bytes.len() as u64,
            at: 0,
            flags: end.flags | side | flags::FIRST | flags::LAST,
            totals: Totals::default(),
            tcp: Tcp {
                srtt_us: u32::try_from(end.socket).unwrap(),
                retransmits: 2,
                in_flight: 3,
                reserved: 0,
            },
        };
        self.pipeline.take(Record::Data(record, bytes));
    }

    fn calls(&mut self) -> Vec<CallRecord> {
        let outputs = std::iter::from_fn(|| self.pipeline.poll_output());
        let calls = outputs.filter_map(|output| match output {
            Output::Call(call) => Some(*call),
            Output::Fault(_) => None,
        });
        calls.collect()
    }

    /// The calls that there are once nothing more comes.
    fn finish(&mut self) -> Vec<CallRecord> {
        self.now += 1000 * MS;
        self.pipeline.finish(self.now);
        self.calls()
    }

    fn only_call(&mut self) -> CallRecord {
        let calls = self.finish();
        assert_eq!(calls.len(), 1, "{calls:#?}");
        calls.into_iter().next().unwrap()
    }

    /// The last verdicts by key, since this was last asked.
    fn verdicts(&mut self) -> std::collections::BTreeMap<u64, u32> {
        let judgements = self.pipeline.take_judgements();
        judgements
            .into_iter()
            .map(|(key, entry)| (key, entry.verdict))
            .collect()
    }

    fn losses(&self) -> Vec<(String, u64)> {
        let mut losses = Losses::default();
        self.pipeline.count_losses(&mut losses);
        losses.iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }
}

fn tool_call(id: u32) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{}}}}}}"#)
}

fn result(id: u32) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#)
}

fn post(body: &str, session: Option<&str>) -> String {
    let session = session.map_or_else(String::new, |token| format!("Mcp-Session-Id: {token}\r\n"));
    format!(
        "POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n{session}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn reply(body: &str, session: Option<&str>) -> String {
    let session = session.map_or_else(String::new, |token| format!("mcp-session-id: {token}\r\n"));
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{session}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
