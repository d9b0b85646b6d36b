//! Bodies: content codings, and the messages of documents and events.

use super::{choice, limits, pieces};
use crate::Limits;
use crate::http::body::Body;
use crate::http::messages::Found;
use crate::http::{Coding, Media};
use crate::json::{Envelope, Field};

/// The ids of the messages that a body holds, and the bytes of it that could not be read.
fn read<'a>(media: Media, coding: Coding, pieces: impl IntoIterator<Item = (&'a [u8], u64)>) -> (Vec<String>, u64) {
    let limits = Limits {
        id_bytes: 4096,
        captured_bytes: 16 * 1024,
        ..limits()
    };
    let (mut body, mut at, mut ids) = (Body::new(media, coding), 0, Vec::new());
    let mut take = |envelope: &Envelope, found: Found| {
        ids.push(match found {
            Found::Message { .. } => envelope.boxed(Field::Id).map_or_else(String::new, plain),
            _ => "lost".to_owned(),
        });
    };
    for (bytes, missing) in pieces {
        body.push(at, bytes, &limits, &mut take);
        at += bytes.len() as u64;
        if missing > 0 {
            body.missing(missing, &limits);
            at += missing;
        }
    }
    body.finish(&limits, &mut take);
    (ids, body.notes.lost)
}

/// An id as it is, if it is one that JSON allows and that needs no escapes: of others, how they
/// are spelled is up to the pieces.
fn plain(id: Box<str>) -> String {
    let odd = |c: char| c.is_ascii_control() || c == '\\' || !c.is_ascii();
    if id.contains(odd) { "odd".to_owned() } else { id.into() }
}

/// A body: bits 0 to 2 of the choice are its coding, bits 3 and 4 what it is.
pub(super) fn body(data: &[u8]) {
    let (how, bytes) = choice(data);
    let coding = match how & 7 {
        0 => Coding::Identity,
        1 => Coding::Gzip,
        2 => Coding::Deflate,
        3 => Coding::Brotli,
        4 => Coding::Zstd,
        _ => Coding::Unknown,
    };
    let media = match how >> 3 & 3 {
        0 => Media::Json,
        1 => Media::EventStream,
        2 => Media::Unsaid,
        _ => Media::Other,
    };
    let (whole, lost) = read(media, coding, [(bytes, 0)]);
    let (cut, lost_in_pieces) = read(media, coding, pieces::cut(bytes).into_iter().map(|piece| (piece, 0)));
    // How much of a broken body is read before it proves broken is up to the pieces.
    assert!(lost + lost_in_pieces > 0 || whole == cut, "pieces make a difference");
    read(media, coding, pieces::tear(bytes));
}
