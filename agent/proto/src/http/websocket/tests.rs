use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Payload(Vec<u8>),
    Missing(u64),
    End(bool),
    Cut,
    Close,
    Bad,
}

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let mask = if masked { MASKED } else { 0 };
    match payload.len() {
        short @ 0..126 => frame.push(mask | short as u8),
        medium @ 126..0x1_0000 => {
            frame.push(mask | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(mask | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    if masked {
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        frame.extend_from_slice(payload);
    }
    frame
}

struct Run {
    ws: WebSocket,
    limits: Limits,
    seen: Vec<Seen>,
}

impl Run {
    fn new(ws: WebSocket) -> Self {
        Self {
            ws,
            limits: Limits::default(),
            seen: Vec::new(),
        }
    }

    fn note(seen: &mut Vec<Seen>, part: WsPart<'_>) {
        let part = match part {
            WsPart::Payload(bytes) => {
                assert!(!bytes.is_empty());
                if let Some(Seen::Payload(all)) = seen.last_mut() {
                    return all.extend_from_slice(bytes);
                }
                Seen::Payload(bytes.to_vec())
            }
            WsPart::Missing(n) => Seen::Missing(n),
            WsPart::End { text } => Seen::End(text),
            WsPart::Cut => Seen::Cut,
            WsPart::Close => Seen::Close,
            WsPart::Bad => Seen::Bad,
        };
        seen.push(part);
    }

    fn push(&mut self, mut bytes: &[u8]) -> &mut Self {
        loop {
            let (taken, part) = self.ws.push(bytes, &self.limits);
            bytes = &bytes[taken..];
            let Some(part) = part else { break };
            Self::note(&mut self.seen, part);
        }
        assert!(bytes.is_empty() && self.ws.scratch.capacity() <= 2 * CHUNK);
        self
    }

    fn gap(&mut self, len: u64) -> &mut Self {
        if let Some(part) = self.ws.gap(len) {
            Self::note(&mut self.seen, part);
        }
        self
    }
}

fn payload(text: &str) -> Seen {
    Seen::Payload(text.as_bytes().to_vec())
}

/// Messages of one sender, compressed with one window.
fn compressed(messages: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut state = Compress::new(Compression::default(), false);
    let mut message = |bytes: &[u8]| {
        let mut out = Vec::with_capacity(bytes.len() + 1024);
        state.compress_vec(bytes, &mut out, FlushCompress::Sync).unwrap();
        assert!(out.ends_with(&inflate::TAIL));
        out.truncate(out.len() - inflate::TAIL.len());
        out
    };
    messages.iter().map(|bytes| message(bytes)).collect()
}

#[test]
fn the_examples_of_rfc_6455_section_5_7() {
    let mut run = Run::new(WebSocket::responses(false));
    run.push(&[0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    run.push(&[
        0x01, 0x03, 0x48, 0x65, 0x6c, 0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x80, 0x02, 0x6c, 0x6f,
    ]);
    let hello = [payload("Hello"), Seen::End(true)];
    assert_eq!(run.seen[..2], hello);
    assert_eq!(run.seen[2..], hello);
    let mut run = Run::new(WebSocket::requests(false));
    run.push(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    assert_eq!(run.seen, hello);
}

/// "Hello" twice with one window, as it is and fragmented.
#[test]
fn the_examples_of_rfc_7692_section_7_2_3() {
    let mut run = Run::new(WebSocket::responses(false));
    run.push(&[0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    run.push(&[0xc1, 0x05, 0xf2, 0x00, 0x11, 0x00, 0x00]);
    run.push(&[0x41, 0x03, 0xf2, 0x00, 0x11, 0x80, 0x02, 0x00, 0x00]);
    let hello = [payload("Hello"), Seen::End(true)];
    assert_eq!(run.seen, [hello.clone(), hello.clone(), hello].concat());
}

#[test]
fn lengths_of_all_three_forms_are_read_and_none_is_allocated() {
    for length in [0, 125, 126, 65_535, 65_536, 200_000] {
        let body = vec![b'x'; length];
        for masked in [true, false] {
            let mut run = Run::new(WebSocket::new(masked, false));
            run.push(&frame(FIN | BINARY, masked, &body));
            let all: Vec<_> = [Seen::Payload(body.clone()), Seen::End(false)]
                .into_iter()
                .skip(usize::from(length == 0))
                .collect();
            assert!(run.seen == all, "{length}");
        }
    }
    let mut run = Run::new(WebSocket::requests(false));
    run.push(&[
        0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, b'{',
    ]);
    assert_eq!(run.seen, [payload("{")]);
}

#[test]
fn what_is_no_frame_is_bad() {
    let bad: [&[u8]; 9] = [
        b"HTTP/1.1 200",
        &[0x91, 0x00],
        &[0x83, 0x00],
        &[0x09, 0x00],
        &[0x89, 0x7e, 0x00, 0x7e],
        &[0x80, 0x00],
        &[0x81, 0x80, 1, 2, 3, 4],
        &[0x01, 0x00, 0x81, 0x00],
        &[0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0],
    ];
    for bytes in bad {
        let mut run = Run::new(WebSocket::responses(false));
        run.push(bytes).push(&frame(FIN | TEXT, false, b"{}"));
        assert_eq!(run.seen, [Seen::Bad], "{bytes:x?}");
    }
}

#[test]
fn nothing_follows_a_close() {
    let mut run = Run::new(WebSocket::responses(false));
    run.push(&frame(FIN | CLOSE, false, &[3, 0xe8]))
        .push(b"whatever")
        .gap(3);
    assert_eq!(run.seen, [Seen::Close]);
}

#[test]
fn missing_payload_is_counted_and_the_mask_goes_on() {
    let mut run = Run::new(WebSocket::requests(false));
    let bytes = frame(FIN | TEXT, true, b"{\"id\":1}");
    run.push(&bytes[..8]).gap(3).push(&bytes[11..]);
    assert_eq!(
        run.seen,
        [payload("{\""), Seen::Missing(3), payload(":1}"), Seen::End(true)]
    );
}

#[test]
fn behind_a_missing_header_the_next_whole_frames_are_read() {
    for run in [
        &mut Run::new(WebSocket::responses(true)),
        Run::new(WebSocket::responses(false)).gap(1),
    ] {
        run.push(b"rest of a frame")
            .push(&frame(CONTINUATION | FIN, false, b"more"));
        assert_eq!(run.seen, []);
        run.push(&[frame(FIN | PING, false, b""), frame(FIN | TEXT, false, b"{}")].concat());
        assert_eq!(run.seen, [payload("{}"), Seen::End(true)]);
    }
    let mut run = Run::new(WebSocket::responses(false));
    run.push(&frame(TEXT, false, b"begun")).gap(1);
    assert_eq!(run.seen, [payload("begun"), Seen::Cut]);
}

#[test]
fn compressed_messages_after_a_loss_are_cut_and_others_are_read() {
    let messages = compressed(&[b"{\"method\":\"first\"}", b"{\"method\":\"second\"}"]);
    let mut run = Run::new(WebSocket::responses(false));
    let first = frame(FIN | COMPRESSED | TEXT, false, &messages[0]);
    run.push(&first[..5]).gap(2).push(&first[7..]);
    assert_eq!(run.seen.last(), Some(&Seen::Cut));
    run.seen.clear();
    run.push(&frame(FIN | COMPRESSED | TEXT, false, &messages[1]));
    run.push(&frame(FIN | TEXT, false, b"plain"));
    assert_eq!(run.seen, [Seen::Cut, payload("plain"), Seen::End(true)]);
}

#[test]
fn a_bomb_and_what_is_not_compressed_are_cut() {
    let mut run = Run::new(WebSocket::responses(false));
    run.limits.ws_inflated_bytes = 100_000;
    let bomb = compressed(&[&vec![0; 10_000_000]]);
    assert!(bomb[0].len() < 20_000);
    run.push(&frame(FIN | COMPRESSED | TEXT, false, &bomb[0]));
    assert_eq!((run.seen.len(), run.seen.last()), (2, Some(&Seen::Cut)));
    let mut run = Run::new(WebSocket::responses(false));
    run.push(&frame(FIN | COMPRESSED | TEXT, false, &[0xff; 20]));
    assert_eq!(run.seen, [Seen::Cut]);
}

#[test]
fn behind_the_end_of_a_deflate_stream_nothing_compressed_is_read() {
    let mut run = Run::new(WebSocket::responses(false));
    // RFC 7692, section 7.2.3.4: "Hello" in a block that is the last.
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    run.push(&frame(FIN | COMPRESSED | TEXT, false, &last));
    run.push(&frame(FIN | COMPRESSED | TEXT, false, &last));
    assert_eq!(run.seen, [payload("Hello"), Seen::End(true), Seen::Cut]);
}

/// Frames of a conversation, in order: fragmented messages with pings between.
fn conversation(masked: bool) -> impl Strategy<Value = (Vec<u8>, Vec<Seen>)> {
    let body = prop::collection::vec(any::<u8>(), 0..300);
    let message = (
        body,
        any::<bool>(),
        any::<bool>(),
        prop::option::of(any::<prop::sample::Index>()),
    );
    prop::collection::vec(message, 0..6).prop_map(move |messages| {
        let bodies: Vec<&[u8]> = messages.iter().filter(|m| m.2).map(|m| m.0.as_slice()).collect();
        let mut packed = compressed(&bodies).into_iter();
        let (mut bytes, mut seen) = (Vec::new(), Vec::new());
        for (body, text, compress, split) in &messages {
            let sent = if *compress {
                packed.next().unwrap()
            } else {
                body.clone()
            };
            let first = if *text { TEXT } else { BINARY } | if *compress { COMPRESSED } else { 0 };
            if let Some(split) = split {
                let at = split.index(sent.len() + 1);
                bytes.extend(frame(first, masked, &sent[..at]));
                bytes.extend(frame(FIN | PING, masked, b"ping"));
                bytes.extend(frame(FIN | CONTINUATION, masked, &sent[at..]));
            } else {
                bytes.extend(frame(FIN | first, masked, &sent));
            }
            if !body.is_empty() {
                seen.push(Seen::Payload(body.clone()));
            }
            seen.push(Seen::End(*text));
        }
        (bytes, seen)
    })
}

proptest! {
    #[test]
    fn any_split_gives_the_same_messages(
        (masked, (bytes, seen)) in any::<bool>().prop_flat_map(|masked| (Just(masked), conversation(masked))),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut run = Run::new(WebSocket::new(masked, false));
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        for pair in cuts.windows(2) {
            run.push(&bytes[pair[0]..pair[1]]);
        }
        prop_assert_eq!(run.seen, seen);
    }

    #[test]
    fn garbage_is_survived(
        pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..100), 0..50_u64), 0..20),
        masked in any::<bool>(),
        midway in any::<bool>(),
    ) {
        let mut run = Run::new(WebSocket::new(masked, midway));
        for (bytes, gap) in &pieces {
            run.push(bytes).gap(*gap);
        }
    }
}
