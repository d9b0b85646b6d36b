//! A simulated client and server that speak HTTP.

use mcp_proto::{Carrier, Outcome, PairId, StreamId};

use super::host::{CLIENT, Host, SERVER};

/// The header of the session that the server gives.
pub(crate) const SESSION: &str = "mcp-session-id: 5a1e\r\n";

/// A client and a server with TCP connections between them.
pub(crate) struct Web {
    pub(crate) host: Host,
    /// Bytes of a syscall at most.
    pub(crate) portion: usize,
}

/// The streams of a connection: requests, responses.
pub(crate) fn streams(connection: u64) -> (StreamId, StreamId) {
    (StreamId(2 * connection), StreamId(2 * connection + 1))
}

impl Web {
    pub(crate) fn new() -> Self {
        let mut host = Host::new();
        host.carrier = Carrier::Tcp;
        for connection in 1..64 {
            let (requests, responses) = streams(connection);
            host.pairs.insert(requests, PairId(connection));
            host.pairs.insert(responses, PairId(connection));
        }
        Self {
            host,
            portion: usize::MAX,
        }
    }

    pub(crate) fn ask(&mut self, connection: u64, text: &str) {
        let (stream, _) = streams(connection);
        for bytes in text.as_bytes().chunks(self.portion.min(text.len())) {
            self.host.write(stream, CLIENT, bytes);
        }
        self.host.read(stream, SERVER, text.len() as u64);
    }

    pub(crate) fn answer(&mut self, connection: u64, text: &str) {
        let (_, stream) = streams(connection);
        for bytes in text.as_bytes().chunks(self.portion.min(text.len())) {
            self.host.write(stream, SERVER, bytes);
        }
        self.host.read(stream, CLIENT, text.len() as u64);
    }

    pub(crate) fn post(&mut self, connection: u64, headers: &str, body: &str) {
        let length = body.len();
        self.ask(
            connection,
            &format!(
                "POST /mcp HTTP/1.1\r\nHost: x\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
            ),
        );
    }

    pub(crate) fn json(&mut self, connection: u64, status: &str, headers: &str, body: &str) {
        let length = body.len();
        self.answer(
            connection,
            &format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
            ),
        );
    }

    pub(crate) fn events(&mut self, connection: u64, headers: &str) {
        self.answer(
            connection,
            &format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{headers}Transfer-Encoding: chunked\r\n\r\n"
            ),
        );
    }

    pub(crate) fn event(&mut self, connection: u64, event: &str) {
        let length = event.len();
        self.answer(connection, &format!("{length:x}\r\n{event}\r\n"));
    }

    pub(crate) fn end_events(&mut self, connection: u64) {
        self.answer(connection, "0\r\n\r\n");
    }

    pub(crate) fn close_by_client(&mut self, connection: u64) {
        let (requests, _) = streams(connection);
        self.host.read(requests, SERVER, 0);
    }

    pub(crate) fn close_by_server(&mut self, connection: u64) {
        let (_, responses) = streams(connection);
        self.host.read(responses, CLIENT, 0);
    }

    pub(crate) fn handshake(&mut self, connection: u64) {
        self.post(
            connection,
            "",
            r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#,
        );
        self.json(
            connection,
            "200 OK",
            "Mcp-Session-Id: 5a1e\r\n",
            r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"2"}}}"#,
        );
        self.post(
            connection,
            SESSION,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        );
        self.answer(connection, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    }

    pub(crate) fn outcomes(&self) -> Vec<(&str, Outcome, Option<u16>)> {
        self.host
            .calls
            .iter()
            .map(|call| (&*call.method.0, call.outcome, call.http_status))
            .collect()
    }
}
