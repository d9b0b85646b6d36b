//! What flows in bodies and behind upgrades: events, and WebSocket.

use super::{choice, limits, pieces};
use crate::Limits;
use crate::http::sse::{Dispatched, EventStream, Sse};
use crate::http::websocket::{WebSocket, WsPart};

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Data(Vec<u8>),
    Dispatch(Dispatched),
    Cut,
}

fn events(stream: &mut EventStream, mut bytes: &[u8], seen: &mut Vec<Event>) {
    while !bytes.is_empty() {
        let (taken, event) = stream.push(bytes);
        assert!(taken > 0, "it goes round in circles");
        bytes = &bytes[taken..];
        if let Some(event) = event {
            note_event(seen, event);
        }
    }
}

fn note_event(seen: &mut Vec<Event>, event: Sse<'_>) {
    let data = match event {
        Sse::Data(data) => data,
        Sse::Newline => b"\n",
        Sse::Dispatch(dispatched) => return seen.push(Event::Dispatch(dispatched)),
        Sse::Cut => return seen.push(Event::Cut),
    };
    match seen.last_mut() {
        Some(Event::Data(all)) => all.extend_from_slice(data),
        _ => seen.push(Event::Data(data.to_vec())),
    }
}

/// Server-sent events.
pub(super) fn sse(data: &[u8]) {
    let (mut whole, mut stream) = (Vec::new(), EventStream::new());
    events(&mut stream, data, &mut whole);
    let (mut cut, mut stream) = (Vec::new(), EventStream::new());
    for piece in pieces::cut(data) {
        events(&mut stream, piece, &mut cut);
    }
    assert!(whole == cut, "pieces make a difference");
    let (mut torn, mut stream) = (Vec::new(), EventStream::new());
    for (piece, missing) in pieces::tear(data) {
        events(&mut stream, piece, &mut torn);
        if let Some(event) = stream.gap(missing) {
            note_event(&mut torn, event);
        }
    }
    stream.end();
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Payload(Vec<u8>),
    Missing(u64),
    End(bool),
    Cut,
    Close,
    Bad,
}

/// Messages of one direction.
fn messages(socket: &mut WebSocket, mut bytes: &[u8], seen: &mut Vec<Seen>, limits: &Limits) {
    loop {
        let (taken, part) = socket.push(bytes, limits);
        bytes = &bytes[taken..];
        let Some(part) = part else { break };
        note_part(seen, part);
    }
    assert!(bytes.is_empty(), "bytes are left");
    assert!(socket.held() <= 4 * 4096, "too much is kept");
}

fn note_part(seen: &mut Vec<Seen>, part: WsPart<'_>) {
    let part = match part {
        WsPart::Payload(bytes) => {
            assert!(!bytes.is_empty(), "a payload of nothing");
            if let Some(Seen::Payload(all)) = seen.last_mut() {
                return all.extend_from_slice(bytes);
            }
            Seen::Payload(bytes.to_vec())
        }
        WsPart::Missing(len) => Seen::Missing(len),
        WsPart::End { text } => Seen::End(text),
        WsPart::Cut => Seen::Cut,
        WsPart::Close => Seen::Close,
        WsPart::Bad => Seen::Bad,
    };
    seen.push(part);
}

/// WebSocket: bit 0 of the choice is the direction, bit 1 whether it is joined midway.
pub(super) fn websocket(data: &[u8]) {
    let (how, bytes) = choice(data);
    let (limits, midway) = (limits(), how & 2 != 0);
    let make = || match how & 1 {
        0 => WebSocket::requests(midway),
        _ => WebSocket::responses(midway),
    };
    let (mut whole, mut socket) = (Vec::new(), make());
    messages(&mut socket, bytes, &mut whole, &limits);
    let (mut cut, mut socket) = (Vec::new(), make());
    for piece in pieces::cut(bytes) {
        messages(&mut socket, piece, &mut cut, &limits);
    }
    if !midway {
        // How much of a message is handed out before it proves broken is up to the pieces.
        let sound = |mut seen: Vec<Seen>| {
            for at in (1..seen.len()).rev() {
                if seen[at] == Seen::Cut && matches!(seen[at - 1], Seen::Payload(_)) {
                    seen.remove(at - 1);
                }
            }
            seen
        };
        assert!(sound(whole) == sound(cut), "pieces make a difference");
    }
    let (mut torn, mut socket) = (Vec::new(), make());
    for (piece, missing) in pieces::tear(bytes) {
        messages(&mut socket, piece, &mut torn, &limits);
        if let Some(part) = socket.gap(missing) {
            note_part(&mut torn, part);
        }
    }
}
