//! Whether a stream of a socket speaks HTTP, and what follows from it for the other direction.

use super::h1::{self, H1};
use super::h2::{self, H2};
use super::link::{Link, Wire};
use crate::framing::Framing;
use crate::recognise::Suspect;
use crate::track::{State, Track};
use crate::tracker::Tracker;
use crate::{Direction, PairId, StreamId, Transfer, Verdict};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// What a stream, or a syscall on it, begins with.
enum Opening {
    /// Too few bytes to tell.
    Open,
    Http(Version, Direction),
    Other,
}

fn opening(bytes: &[u8]) -> Opening {
    let (asks, answers) = (Direction::ClientToServer, Direction::ServerToClient);
    let signs = [
        (h2::looks_like_preface(bytes), Version::Http2, asks),
        (h1::looks_like_request(bytes), Version::Http1, asks),
        (h1::looks_like_response(bytes), Version::Http1, answers),
        (h2::looks_like_settings(bytes), Version::Http2, answers),
    ];
    match signs.iter().find(|(sign, ..)| *sign == Some(true)) {
        Some((_, version, direction)) => Opening::Http(*version, *direction),
        None if signs.iter().any(|(sign, ..)| sign.is_none()) => Opening::Open,
        None => Opening::Other,
    }
}

fn wire(version: Version, direction: Direction, midway: bool) -> Wire {
    match (version, direction) {
        (Version::Http1, Direction::ClientToServer) => Wire::Http1(Box::new(H1::requests(midway))),
        (Version::Http1, Direction::ServerToClient) => Wire::Http1(Box::new(H1::responses(midway))),
        (Version::Http2, Direction::ClientToServer) => Wire::Http2(Box::new(H2::requests(midway))),
        (Version::Http2, Direction::ServerToClient) => Wire::Http2(Box::new(H2::responses(midway))),
    }
}

/// The stream has shown nothing that its parser would have to know.
fn is_untouched(stream: &Track) -> bool {
    match &stream.state {
        State::Unjudged(suspect) => stream.bytes.is_fresh() && suspect.is_untouched(),
        _ => false,
    }
}

impl Tracker {
    /// Gives the bytes of a piece to whoever parses its stream. While an unjudged stream of a
    /// socket may turn out to speak HTTP, bytes that are too few to tell are kept.
    pub(crate) fn feed_piece(&mut self, t: &Transfer<'_>, position: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let limit = self.output.limits.opening_bytes;
        let Some(stream) = self.streams.get_mut(&t.stream) else {
            return;
        };
        let (Some(pair), State::Unjudged(suspect)) = (stream.pair, &mut stream.state) else {
            return self.feed(t.stream, position, bytes, t.exited);
        };
        let (start, mut kept) = suspect.opening.take().unwrap_or((position, Vec::new()));
        if start + kept.len() as u64 != position {
            self.feed(t.stream, start, &kept, t.exited);
            return self.feed(t.stream, position, bytes, t.exited);
        }
        if kept.is_empty() && t.content.at != 0 {
            return self.feed(t.stream, position, bytes, t.exited);
        }
        kept.extend_from_slice(&bytes[..bytes.len().min(limit)]);
        let rest = &bytes[bytes.len().min(limit)..];
        match opening(&kept) {
            Opening::Open if kept.len() < limit => {
                suspect.opening = Some((start, kept));
                return;
            }
            Opening::Http(version, direction) => self.speaks_http(t.stream, pair, version, direction),
            Opening::Open | Opening::Other => {}
        }
        let after = start + kept.len() as u64;
        self.feed(t.stream, start, &kept, t.exited);
        self.feed(t.stream, after, rest, t.exited);
    }

    /// A stream has been recognised as one direction of HTTP, and so has the other direction.
    fn speaks_http(&mut self, id: StreamId, pair: PairId, version: Version, direction: Direction) {
        let other = self
            .streams
            .values()
            .find(|stream| stream.pair == Some(pair) && stream.id != id)
            .map(|stream| (stream.id, !is_untouched(stream)));
        let midway = |of: Direction| of != direction && other.is_some_and(|(_, touched)| touched);
        let wires = [Direction::ClientToServer, Direction::ServerToClient].map(|of| wire(version, of, midway(of)));
        self.links.insert(pair, Box::new(Link::new(wires)));
        self.join_link(id, pair, direction);
        if let Some((other, _)) = other {
            self.join_link(other, pair, direction.reversed());
        }
    }

    /// Makes a stream a direction of a connection that carries HTTP.
    pub(crate) fn join_link(&mut self, id: StreamId, pair: PairId, direction: Direction) {
        self.stop_holding(id);
        let (Some(link), Some(stream)) = (self.links.get_mut(&pair), self.streams.get_mut(&id)) else {
            return;
        };
        let state = State::Web { link: pair, direction };
        let State::Unjudged(suspect) = std::mem::replace(&mut stream.state, state) else {
            return;
        };
        stream.framer.give_up();
        stream.count(&mut self.output);
        stream.framer = Framing::Http;
        link.streams[direction as usize] = Some(id);
        if let Some([writer, reader]) = stream.addresses {
            link.service = if direction == Direction::ClientToServer {
                reader
            } else {
                writer
            };
        }
        if link.is_watched() {
            self.output.verdict(id, Verdict::Watch);
        }
        let Suspect { opening, held, .. } = *suspect;
        self.output.stats.held_dropped += held.len() as u64;
        if let Some((start, kept)) = opening {
            self.feed(id, start, &kept, self.latest);
        }
    }

    /// A stream has come into view whose other direction may be known to speak HTTP.
    pub(crate) fn open_on_link(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(&id) else { return };
        let Some(pair) = stream.pair else { return };
        let Some(link) = self.links.get(&pair) else { return };
        let direction = match link.streams {
            [Some(_), None] => Direction::ServerToClient,
            [None, Some(_)] => Direction::ClientToServer,
            _ => return,
        };
        let version = match link.wires[direction as usize] {
            Wire::Http1(_) => Version::Http1,
            Wire::Http2(_) => Version::Http2,
        };
        let midway = !stream.bytes.is_fresh();
        if let Some(link) = self.links.get_mut(&pair) {
            link.wires[direction as usize] = wire(version, direction, midway);
        }
        self.join_link(id, pair, direction);
    }
}
