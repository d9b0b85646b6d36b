//! Bodies: from bytes without transfer coding to messages.

use super::decode::Decoder;
use super::messages::{Found, Messages};
use super::sse::{EventName, EventStream, Sse};
use super::{Coding, Media};
use crate::json::Envelope;
use crate::limits::Limits;

/// What a body has been found to hold, besides messages.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// The session that an `endpoint` event names: the query's, else the URI's path (2024-11-05).
    pub(crate) endpoint: Option<Box<str>>,
    /// An event had an id: the stream can be resumed.
    pub(crate) resumable: bool,
    /// An event has come to its end since this was last asked.
    dispatched: bool,
    /// Bytes that cannot be understood: their coding is unknown or broken, or they would grow
    /// beyond all bounds.
    pub(crate) lost: u64,
}

/// One body under way.
#[derive(Debug)]
pub(crate) struct Body {
    coded: Option<Box<Coded>>,
    text: Text,
    pub(crate) notes: Notes,
}

/// A body with a content coding.
#[derive(Debug)]
struct Coded {
    decoder: Decoder,
    plain: Vec<u8>,
    /// Position after the latest byte: no text lies beyond, however much more of it there is.
    end: u64,
}

#[derive(Debug)]
enum Text {
    /// One document.
    Document(Box<Messages>),
    /// One document in each event. An idle stream holds no framer.
    Events {
        stream: EventStream,
        messages: Option<Box<Messages>>,
        /// Text of an event that may be an `endpoint`: they are short.
        start: Vec<u8>,
        /// What has come of a chunk behind a part that is missing, while that is too little to tell what it begins.
        resumed: Option<Vec<u8>>,
    },
    /// Nothing that matters.
    Other,
}

impl Body {
    pub(crate) fn new(media: Media, coding: Coding) -> Self {
        Self {
            coded: Some(Decoder::new(coding))
                .filter(|decoder| !decoder.is_identity())
                .map(|decoder| {
                    Box::new(Coded {
                        decoder,
                        plain: Vec::new(),
                        end: 0,
                    })
                }),
            text: match media {
                Media::Json | Media::Unsaid => Text::Document(Box::new(Messages::new())),
                Media::EventStream => Text::Events {
                    stream: EventStream::new(),
                    messages: None,
                    start: Vec::new(),
                    resumed: None,
                },
                Media::Other => Text::Other,
            },
            notes: Notes::default(),
        }
    }

    /// Position of the first byte of what is not complete.
    pub(crate) fn open_since(&self) -> Option<u64> {
        let open = match &self.text {
            Text::Document(messages) => messages.open_since(),
            Text::Events { messages, .. } => messages.as_ref().and_then(|messages| messages.open_since()),
            Text::Other => None,
        };
        open.map(|position| position.min(self.end()))
    }

    /// Position after the latest byte of a coded body. Text of others lies where it says.
    fn end(&self) -> u64 {
        self.coded.as_ref().map_or(u64::MAX, |coded| coded.end)
    }

    /// Takes bytes that lie at `at`.
    pub(crate) fn push(&mut self, at: u64, bytes: &[u8], limits: &Limits, take: &mut impl FnMut(&Envelope, Found)) {
        let Some(coded) = &mut self.coded else {
            self.text.push(at, bytes, limits, &mut self.notes, take);
            return;
        };
        let Coded { decoder, plain, end } = &mut **coded;
        *end = at + bytes.len() as u64;
        plain.clear();
        if decoder.decode(bytes, plain, limits).is_err() {
            self.notes.lost += bytes.len() as u64;
            self.text = Text::Other;
        }
        let end = *end;
        let mut take = |envelope: &Envelope, found: Found| take(envelope, found.until(end));
        self.text.push(at, plain, limits, &mut self.notes, &mut take);
        if std::mem::take(&mut self.notes.dispatched) {
            decoder.next_message();
        }
        plain.clear();
        plain.shrink_to(limits.name_bytes);
    }

    /// So many bytes are missing.
    pub(crate) fn missing(&mut self, len: u64, limits: &Limits) -> Option<Found> {
        if self.coded.is_some() {
            self.text = Text::Other;
            self.notes.lost += len;
            return Some(Found::Cut);
        }
        // What has come of a beginning is of no use without its rest.
        let begun = self.text.take_resumed().map_or(0, |begun| begun.len() as u64);
        let len = begun.saturating_add(len);
        match &mut self.text {
            Text::Document(messages) => messages.gap(len, limits),
            // A syscall that is not captured whole is one large event: what follows is its end.
            Text::Events {
                messages: Some(messages),
                ..
            } => messages.gap(len, limits),
            Text::Events { stream, .. } => stream.gap(len).map(|_| Found::Cut),
            Text::Other => None,
        }
    }

    /// Behind what was missing, a chunk begins.
    pub(crate) fn resumes(&mut self) {
        if let Text::Events { resumed, .. } = &mut self.text {
            *resumed = Some(Vec::new());
        }
    }

    /// Nothing more will be understood of it.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.text, Text::Other)
    }

    /// The body is complete.
    pub(crate) fn finish(&mut self, limits: &Limits, take: &mut impl FnMut(&Envelope, Found)) {
        let end = self.end();
        let mut take = |envelope: &Envelope, found: Found| take(envelope, found.until(end));
        match &mut self.text {
            Text::Document(messages) => messages.finish(limits, &mut take),
            Text::Events { stream, messages, .. } => {
                if stream.end().is_some() && messages.take().is_some() {
                    take(&Envelope::default(), Found::Cut);
                }
            }
            Text::Other => {}
        }
    }
}

impl Text {
    fn push(
        &mut self,
        at: u64,
        text: &[u8],
        limits: &Limits,
        notes: &mut Notes,
        take: &mut impl FnMut(&Envelope, Found),
    ) {
        let Some(mut begun) = self.take_resumed() else {
            return self.parse(at, text, limits, notes, take);
        };
        let before = begun.len() as u64;
        begun.extend_from_slice(text);
        let begins = begins_event(&begun);
        if let Self::Events {
            stream,
            messages,
            resumed,
            ..
        } = self
        {
            match begins {
                None => return *resumed = Some(begun),
                Some(false) => {}
                Some(true) => {
                    *stream = EventStream::new();
                    if messages.take().is_some() {
                        take(&Envelope::default(), Found::Cut);
                    }
                }
            }
        }
        self.parse(at.saturating_sub(before), &begun, limits, notes, take);
    }

    /// Takes what has come of the chunk behind what was missing, if that is yet to be judged.
    fn take_resumed(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Events { resumed, .. } => resumed.take(),
            Self::Document(_) | Self::Other => None,
        }
    }

    fn parse(
        &mut self,
        at: u64,
        text: &[u8],
        limits: &Limits,
        notes: &mut Notes,
        take: &mut impl FnMut(&Envelope, Found),
    ) {
        let (stream, messages, start) = match self {
            Self::Document(messages) => return messages.push(at, text, limits, take),
            Self::Other => return,
            Self::Events {
                stream,
                messages,
                start,
                ..
            } => (stream, messages, start),
        };
        let mut rest = text;
        while !rest.is_empty() {
            let (taken, event) = stream.push(rest);
            let (position, given) = (at + (text.len() - rest.len()) as u64, rest);
            rest = &rest[taken..];
            match event {
                None => {}
                Some(Sse::Data(data)) => {
                    // It is a part of what was given: a line end may follow it.
                    let data_at = position + (data.as_ptr().addr() - given.as_ptr().addr()) as u64;
                    start.extend(data.iter().take(limits.uri_bytes.saturating_sub(start.len())));
                    messages
                        .get_or_insert_with(|| Box::new(Messages::new()))
                        .push(data_at, data, limits, take);
                }
                Some(Sse::Newline) => {
                    if let Some(messages) = messages {
                        messages.new_line(limits, take);
                    }
                }
                Some(Sse::Cut) => {
                    if messages.take().is_some() {
                        take(&Envelope::default(), Found::Cut);
                    }
                    *start = Vec::new();
                }
                Some(Sse::Dispatch(event)) => {
                    notes.resumable |= event.has_id;
                    notes.dispatched = true;
                    if event.name == EventName::Endpoint {
                        notes.endpoint = session_of(start);
                    } else if let Some(messages) = messages {
                        messages.finish(limits, take);
                    }
                    *messages = None;
                    *start = Vec::new();
                }
            }
            if taken == 0 {
                return;
            }
        }
    }
}

/// Whether a chunk that begins so is the first of an event: servers give each event one. `None`: it is too short to tell.
fn begins_event(chunk: &[u8]) -> Option<bool> {
    let fields: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b":"];
    if fields.iter().any(|field| chunk.starts_with(field)) {
        return Some(true);
    }
    let is_open = fields.iter().any(|field| field.starts_with(chunk));
    (!is_open).then_some(false)
}

/// What names the session in the URI that messages are to be posted to.
fn session_of(uri: &[u8]) -> Option<Box<str>> {
    let head = super::RequestHead::new(super::Verb::Post, uri, super::Fields::default(), &Limits::default());
    Some(head.query_session.unwrap_or(head.path)).filter(|session| !session.is_empty())
}
