//! Server-sent events: <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>.

use memchr::memchr2;

/// What an event is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EventName {
    /// No name, or `message`: a JSON-RPC message.
    #[default]
    Message,
    /// `endpoint`: where the legacy transport takes messages.
    Endpoint,
    /// `error`.
    Error,
    Other,
}

/// What was found in an event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sse<'a> {
    /// A piece of the event's data: the last of the bytes that were taken, but for the line end.
    Data(&'a [u8]),
    /// The data goes on in another line; between the two is a newline.
    Newline,
    /// The event is complete. One without a `data` field is none and is not reported.
    Dispatch(Dispatched),
    /// An event was lost to missing bytes, or to the end of the stream.
    Cut,
}

/// What is known of an event besides its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dispatched {
    pub(crate) name: EventName,
    /// Its data is empty, as that of a priming event.
    pub(crate) empty: bool,
    /// It has an id: the stream can be resumed behind it.
    pub(crate) has_id: bool,
}

impl Default for Dispatched {
    fn default() -> Self {
        Self {
            name: EventName::default(),
            empty: true,
            has_id: false,
        }
    }
}

/// The fields that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Data,
    Event,
    Id,
    /// `retry`, comments, and what nobody knows.
    Other,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// In the name of a field.
    #[default]
    Name,
    /// Behind the colon: one space is not of the value.
    Space(Field),
    Value(Field),
    /// Behind a gap, until a blank line. `empty`: of the line, nothing was seen yet.
    Lost {
        empty: bool,
    },
}

/// Longest name of a field that matters, or of an event that does, and one byte more.
const WORD: usize = 9;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A word that is compared with a few short ones.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    bytes: [u8; WORD],
    len: u8,
}

impl Word {
    /// What does not fit makes the word one that nobody knows.
    fn append(&mut self, more: &[u8]) {
        for byte in more.iter().take(WORD - usize::from(self.len)) {
            self.bytes[usize::from(self.len)] = *byte;
            self.len += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Finds events in the bytes of a body. Nothing of their data is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventStream {
    state: State,
    /// Bytes of the byte order mark so far; `None` behind the start of the stream.
    mark: Option<u8>,
    /// The last byte was a carriage return: a newline belongs to it.
    after_cr: bool,
    /// The field's name or the event's, whichever is being read.
    word: Word,
    has_data: bool,
    event: Dispatched,
}

impl EventStream {
    /// The stream of a body, from its first byte.
    pub(crate) fn new() -> Self {
        Self {
            mark: Some(0),
            ..Self::default()
        }
    }

    /// Takes bytes up to and including the next thing found; all of them when there is none.
    pub(crate) fn push<'a>(&mut self, bytes: &'a [u8]) -> (usize, Option<Sse<'a>>) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if let Some(matched) = self.mark {
                let (before, rest) = BOM.split_at(usize::from(matched).min(BOM.len()));
                match rest {
                    [next, more @ ..] if *next == byte => {
                        at += 1;
                        self.mark = (!more.is_empty()).then_some(matched + 1);
                    }
                    _ => {
                        self.word.append(before);
                        self.mark = None;
                    }
                }
                continue;
            }
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                at += 1;
                continue;
            }
            if matches!(byte, b'\r' | b'\n') {
                self.after_cr = byte == b'\r';
                at += 1;
                if let Some(found) = self.end_line() {
                    return (at, Some(found));
                }
                continue;
            }
            let found = match self.state {
                State::Lost { .. } => {
                    self.state = State::Lost { empty: false };
                    at = line_end(bytes, at);
                    None
                }
                State::Name => {
                    at += 1;
                    if byte == b':' {
                        let field = self.field();
                        self.state = State::Space(field);
                        self.begin_value(field)
                    } else {
                        self.word.append(&[byte]);
                        None
                    }
                }
                State::Space(field) => {
                    self.state = State::Value(field);
                    at += usize::from(byte == b' ');
                    None
                }
                State::Value(field) => {
                    let from = at;
                    at = line_end(bytes, at);
                    self.value(field, &bytes[from..at])
                }
            };
            if found.is_some() {
                return (at, found);
            }
        }
        (at, None)
    }

    /// The next `len` bytes are missing: with them the event that is open, or another, and all up
    /// to the next blank line.
    pub(crate) fn gap(&mut self, len: u64) -> Option<Sse<'static>> {
        let news = len > 0 && !matches!(self.state, State::Lost { .. });
        if news {
            *self = Self {
                state: State::Lost { empty: false },
                ..Self::default()
            };
        } else if len > 0 {
            (self.state, self.after_cr) = (State::Lost { empty: false }, false);
        }
        news.then_some(Sse::Cut)
    }

    /// The stream ended: an event without its blank line is none.
    pub(crate) fn end(&mut self) -> Option<Sse<'static>> {
        let open = self.has_data || (self.state == State::Name && !self.word.as_bytes().is_empty());
        *self = Self::new();
        open.then_some(Sse::Cut)
    }

    fn field(&mut self) -> Field {
        let field = match self.word.as_bytes() {
            b"data" => Field::Data,
            b"event" => Field::Event,
            b"id" => Field::Id,
            _ => Field::Other,
        };
        self.word = Word::default();
        field
    }

    fn begin_value<'a>(&mut self, field: Field) -> Option<Sse<'a>> {
        match field {
            Field::Data => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.empty = false;
                    return Some(Sse::Newline);
                }
            }
            Field::Id => self.event.has_id = false,
            Field::Event | Field::Other => {}
        }
        None
    }

    fn value<'a>(&mut self, field: Field, bytes: &'a [u8]) -> Option<Sse<'a>> {
        match field {
            Field::Data => {
                self.event.empty = false;
                return Some(Sse::Data(bytes));
            }
            Field::Event => self.word.append(bytes),
            Field::Id => self.event.has_id = true,
            Field::Other => {}
        }
        None
    }

    fn end_line<'a>(&mut self) -> Option<Sse<'a>> {
        let mut found = None;
        let state = std::mem::take(&mut self.state);
        match state {
            State::Lost { empty: false } => self.state = State::Lost { empty: true },
            State::Lost { empty: true } => {}
            State::Name if self.word.as_bytes().is_empty() => {
                let event = std::mem::take(&mut self.event);
                if std::mem::take(&mut self.has_data) {
                    return Some(Sse::Dispatch(event));
                }
            }
            // A name without a colon has an empty value.
            State::Name => {
                let field = self.field();
                found = self.begin_value(field);
                self.end_value(field);
            }
            State::Space(field) | State::Value(field) => self.end_value(field),
        }
        found
    }

    fn end_value(&mut self, field: Field) {
        let word = std::mem::take(&mut self.word);
        if field == Field::Event {
            self.event.name = match word.as_bytes() {
                b"" | b"message" => EventName::Message,
                b"endpoint" => EventName::Endpoint,
                b"error" => EventName::Error,
                _ => EventName::Other,
            };
        }
    }
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    memchr2(b'\r', b'\n', &bytes[from..]).map_or(bytes.len(), |end| from + end)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The events, as their names, data, and `+` where they have an id.
    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut stream = EventStream::new();
        let mut open = Vec::new();
        let mut out = Vec::new();
        for piece in pieces {
            feed(&mut stream, piece, &mut open, &mut out);
        }
        out.extend(stream.end().map(|_| "!".into()));
        out
    }

    fn feed(stream: &mut EventStream, piece: &[u8], open: &mut Vec<u8>, out: &mut Vec<String>) {
        let mut rest = piece;
        loop {
            let (taken, found) = stream.push(rest);
            rest = &rest[taken..];
            match found {
                Some(Sse::Data(bytes)) => open.extend_from_slice(bytes),
                Some(Sse::Newline) => open.push(b'\n'),
                Some(Sse::Dispatch(event)) => {
                    assert_eq!(event.empty, open.is_empty());
                    let id = if event.has_id { "+" } else { "" };
                    out.push(format!("{:?}{id} {}", event.name, String::from_utf8_lossy(open)));
                    open.clear();
                }
                Some(Sse::Cut) => panic!("no cut without a gap"),
                None => break,
            }
        }
        assert!(rest.is_empty());
    }

    const SAMPLES: [(&str, &[&str]); 12] = [
        ("event: message\ndata: {\"a\":1}\n\n", &["Message {\"a\":1}"]),
        ("event: message\r\ndata: {}\r\n\r\n", &["Message {}"]),
        ("data: {}\rid: 1/1\r\r", &["Message+ {}"]),
        ("id: 7\ndata: \n\ndata:x\n\n", &["Message+ ", "Message x"]),
        ("data: a\ndata: b\ndata\ndata:  c\n\n", &["Message a\nb\n\n c"]),
        (": comment\n\n:\n\nretry: 3000\n\nevent: error\n\n", &[]),
        (
            "event: endpoint\ndata: /message?sessionId=x\n\n",
            &["Endpoint /message?sessionId=x"],
        ),
        (
            "event: messages\ndata: x\n\nevent: message-and-more\ndata: y\n\n",
            &["Other x", "Other y"],
        ),
        (
            "event: error\nevent\ndata: x\n\nevent:error\ndata: y\n\n",
            &["Message x", "Error y"],
        ),
        (
            "\u{feff}data: x\n\n\u{feff}data: y\n\ndata: z\n\n",
            &["Message x", "Message z"],
        ),
        ("datadatadata: x\n\ndat: y\nid\ndata\n\n", &["Message "]),
        ("data: x\n\ndata: incomplete\n", &["Message x", "!"]),
    ];

    #[test]
    fn events_in_any_split() {
        for (text, expected) in SAMPLES {
            let bytes = text.as_bytes();
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                    assert_eq!(events(&pieces), expected, "{text:?} {first} {second}");
                }
            }
        }
    }

    #[test]
    fn a_gap_loses_the_event_and_the_next_is_found() {
        for (before, after) in [
            ("data: a", "b\n\ndata: c\n\n"),
            ("data: a\n", "\n\ndata: c\n\n"),
            ("data: a\r\n", "\n\r\ndata: c\n\n"),
            ("", "x\r\rdata: c\r\r"),
        ] {
            let (mut open, mut out) = (Vec::new(), Vec::new());
            let mut stream = EventStream::new();
            feed(&mut stream, before.as_bytes(), &mut open, &mut out);
            assert_eq!(stream.gap(0), None);
            assert_eq!(stream.gap(5), Some(Sse::Cut));
            assert_eq!(stream.gap(1), None);
            open.clear();
            feed(&mut stream, after.as_bytes(), &mut open, &mut out);
            assert_eq!(out, ["Message c"], "{before:?} {after:?}");
        }
    }

    #[test]
    fn an_idle_stream_is_small() {
        assert!(size_of::<EventStream>() <= 32);
    }

    proptest! {
        #[test]
        fn garbage_in_any_split_is_the_same(
            words in vec(prop_oneof![
                Just("data"), Just(":"), Just(" "), Just("\n"), Just("\r"), Just("id"), Just("event"),
                Just("message"), Just("x"), Just("\u{feff}"), Just("\u{1f600}"),
            ], 0..40),
        ) {
            let text = words.concat();
            let each: Vec<_> = text.as_bytes().chunks(1).collect();
            prop_assert_eq!(events(&[text.as_bytes()]), events(&each));
        }
    }
}
