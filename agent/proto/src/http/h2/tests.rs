use proptest::prelude::*;

use super::*;

/// A part with its bytes, and its exchange.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Request(Box<crate::http::RequestHead>),
    Response(u16),
    Body(Vec<u8>),
    Missing(u64),
    End,
    Cut(Option<u32>),
    Bad,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

const POST: &[u8] = &[0x83, 0x86, 0x84];
const OK: &[u8] = &[0x88];

fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])
}

fn concat(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}

struct Run {
    h2: H2,
    position: u64,
    seen: Vec<(u64, Seen)>,
    limits: Limits,
}

impl Run {
    fn new(h2: H2) -> Self {
        Self {
            h2,
            position: 0,
            seen: Vec::new(),
            limits: Limits::default(),
        }
    }

    fn requests() -> Self {
        let mut run = Self::new(H2::requests(false));
        run.push(PREFACE);
        run.push(&settings());
        run
    }

    fn note(&mut self, exchange: u64, part: Part<'_>) {
        let reset = self.h2.reset();
        let seen = match part {
            Part::Request(head) => Seen::Request(head),
            Part::Response(head) => Seen::Response(head.status),
            Part::Body(bytes) => {
                // Bodies in pieces are one.
                if let Some((last, Seen::Body(body))) = self.seen.last_mut()
                    && *last == exchange
                {
                    return body.extend_from_slice(bytes);
                }
                Seen::Body(bytes.to_vec())
            }
            Part::Missing(n) => Seen::Missing(n),
            Part::End => Seen::End,
            Part::Cut => Seen::Cut(reset),
            Part::Bad => Seen::Bad,
            Part::Resumed | Part::Switched => panic!("not of HTTP/2"),
        };
        self.seen.push((exchange, seen));
    }

    fn push(&mut self, mut bytes: &[u8]) {
        loop {
            let limits = self.limits.clone();
            let (taken, part) = self.h2.push(self.position, bytes, &limits);
            if let Some((_, Part::Body(body))) = &part {
                assert!(!body.is_empty() && bytes[..taken].ends_with(body));
            }
            self.position += taken as u64;
            bytes = &bytes[taken..];
            let Some((exchange, part)) = part else { break };
            self.note(exchange, part);
        }
        assert!(bytes.is_empty());
        assert!(self.h2.collected.len() <= self.limits.h2_block_bytes);
        assert!(self.h2.streams.len() <= self.limits.h2_streams);
    }

    fn gap(&mut self, len: u64) {
        let limits = self.limits.clone();
        let first = self.h2.gap(self.position, len, &limits);
        self.position += len;
        if let Some((exchange, part)) = first {
            self.note(exchange, part);
            self.push(&[]);
        }
    }

    fn end(&mut self) {
        let limits = self.limits.clone();
        while let Some((exchange, part)) = self.h2.end(&limits) {
            self.note(exchange, part);
        }
    }

    fn parts(&self) -> Vec<(u64, &str)> {
        let name = |seen: &Seen| match seen {
            Seen::Request(_) | Seen::Response(_) => "head",
            Seen::Body(_) => "body",
            Seen::Missing(_) => "missing",
            Seen::End => "end",
            Seen::Cut(_) => "cut",
            Seen::Bad => "bad",
        };
        self.seen
            .iter()
            .map(|(exchange, seen)| (*exchange, name(seen)))
            .collect()
    }
}

#[test]
fn openings_are_told_apart() {
    assert_eq!(looks_like_preface(b""), None);
    assert_eq!(looks_like_preface(b"PRI * HT"), None);
    assert_eq!(looks_like_preface(b"POST /mcp"), Some(false));
    assert_eq!(looks_like_preface(PREFACE), Some(true));
    assert_eq!(looks_like_settings(b"HTTP/1.1 200 OK"), Some(false));
    assert_eq!(looks_like_settings(b"H"), Some(false));
    assert_eq!(looks_like_settings(&settings()[..5]), None);
    assert_eq!(looks_like_settings(&settings()), Some(true));
    assert_eq!(looks_like_settings(&frame(4, 1, 0, &[])), Some(false), "an answer");
}

#[test]
fn a_request_with_everything_around_it() {
    let mut run = Run::requests();
    let mut padded = vec![3, 0, 0, 0, 0, 15];
    padded.extend_from_slice(POST);
    padded.extend([0; 3]);
    let start = run.position;
    run.push(&frame(8, 0, 0, &[0, 0, 1, 0]));
    run.push(&frame(1, 0x28, 1, &padded));
    run.push(&frame(9, 0, 1, &[]));
    run.push(&frame(9, 4, 1, &[0x0f, 0x0d, 1, b'7']));
    assert_eq!(run.h2.head_start(), start + 13);
    run.push(&frame(0xfe, 0xff, 1, b"whatever"));
    run.push(&frame(0, 8, 1, b"\x02abc\0\0"));
    run.push(&frame(6, 0, 0, &[0; 8]));
    run.push(&frame(0, 1, 1, b"defg"));
    let body = Seen::Body(b"abcdefg".to_vec());
    assert!(matches!(&run.seen[0], (1, Seen::Request(head)) if head.verb == crate::http::Verb::Post));
    assert_eq!(run.seen[1..], [(1, body), (1, Seen::End)]);
}

#[test]
fn interleaved_streams_are_kept_apart() {
    let mut run = Run::requests();
    let frames = [
        frame(1, 4, 1, POST),
        frame(1, 5, 3, POST),
        frame(0, 0, 1, b"a"),
        frame(1, 4, 5, POST),
        frame(0, 1, 5, b"b"),
        frame(0, 1, 1, b""),
    ];
    run.push(&concat(&frames));
    let expected = [
        (1, "head"),
        (3, "head"),
        (3, "end"),
        (1, "body"),
        (5, "head"),
        (5, "body"),
        (5, "end"),
        (1, "end"),
    ];
    assert_eq!(run.parts(), expected);
}

#[test]
fn interim_responses_pushes_and_trailers_are_no_heads() {
    let mut run = Run::new(H2::responses(false));
    let mut push = 2_u32.to_be_bytes().to_vec();
    push.extend([0x82, 0x86, 0x84, 0x41, 1, b'h']);
    let frames = [
        settings(),
        frame(1, 4, 1, b"\x08\x03103"),
        frame(1, 4, 1, OK),
        frame(5, 4, 1, &push),
        frame(1, 4, 2, OK),
        frame(0, 1, 2, b"pushed"),
        frame(0, 0, 1, b"x"),
        frame(1, 5, 1, b"\x00\x01t\x01v"),
        frame(1, 5, 3, b"\x48\x03202"),
        frame(1, 5, 5, b"\xbe"),
    ];
    run.push(&concat(&frames));
    let body = Seen::Body(b"x".to_vec());
    assert_eq!(run.seen[..3], [(1, Seen::Response(200)), (1, body), (1, Seen::End)]);
    assert_eq!(run.seen[3..5], [(3, Seen::Response(202)), (3, Seen::End)]);
    assert_eq!(run.seen[5..], [(5, Seen::Response(202)), (5, Seen::End)]);
}

#[test]
fn heads_say_what_their_fields_say_also_by_the_table() {
    let mut run = Run::requests();
    let mut block = b"\x83\x87\x44\x07/mcp?x=\x40\x0emcp-session-id\x02s1".to_vec();
    block.extend(b"\x40\x06cookie\x06secret\x5f\x10application/json");
    run.push(&frame(1, 5, 1, &block));
    run.push(&frame(1, 5, 3, b"\x83\x87\xc1\xc0\xbf\xbe"));
    let head = |n: usize| match &run.seen[n].1 {
        Seen::Request(head) => head.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(&*head(0).path, "/mcp");
    assert_eq!(head(0).fields.session.as_deref(), Some("s1"));
    assert_eq!(head(0).fields.media, crate::http::Media::Json);
    assert_eq!(head(0), head(2));
    let kept = format!("{:?}", run.h2);
    assert!(
        !kept.contains(&format!("{:?}", b"secret")),
        "what does not matter is not kept"
    );
}

#[test]
fn a_reset_says_that_it_is_one() {
    let mut run = Run::requests();
    run.push(&frame(1, 5, 1, POST));
    run.push(&frame(3, 0, 1, &[0, 0, 0, 8]));
    run.push(&frame(1, 4, 3, POST));
    run.end();
    assert_eq!(run.parts()[..2], [(1, "head"), (1, "end")]);
    assert_eq!(
        run.seen[2],
        (1, Seen::Cut(Some(8))),
        "the client takes back a request that is complete"
    );
    assert_eq!(run.seen[4], (3, Seen::Cut(None)));
}

#[test]
fn missing_data_is_counted_and_nothing_else_is_touched() {
    let mut run = Run::requests();
    run.push(&frame(1, 4, 1, POST));
    run.push(&frame(0, 9, 1, b"\x02abcdefgh..")[..12]);
    run.gap(5);
    run.push(b"h..");
    run.push(&frame(1, 5, 3, POST));
    let (a, h) = (Seen::Body(b"ab".to_vec()), Seen::Body(b"h".to_vec()));
    assert_eq!(
        run.seen[1..],
        [
            (1, a),
            (1, Seen::Missing(5)),
            (1, h),
            (1, Seen::End),
            (3, run.seen[5].1.clone()),
            (3, Seen::End)
        ]
    );
}

#[test]
fn behind_a_gap_over_frames_it_goes_on_with_the_next_likely_one() {
    let mut run = Run::requests();
    run.push(&frame(1, 4, 1, POST));
    run.push(&frame(1, 4, 3, POST));
    run.push(&frame(0, 1, 1, b"abcdef")[..11]);
    run.gap(100);
    let mut rest = b"rest of a frame, say".to_vec();
    rest.extend(frame(0, 0, 3, b"some"));
    rest.extend(frame(1, 5, 5, POST));
    run.push(&rest);
    let expected = [
        (1, "head"),
        (3, "head"),
        (1, "body"),
        (1, "cut"),
        (3, "cut"),
        (3, "head"),
        (3, "body"),
        (5, "head"),
        (5, "end"),
    ];
    assert_eq!(run.parts(), expected);
    assert_eq!(run.h2.take_skipped(), 20);
}

#[test]
fn joined_midway_it_finds_frames_and_knows_what_comes() {
    let mut run = Run::new(H2::responses(true));
    // The end of a frame; a status from before; a body; then a status that is new, and again.
    let mut bytes = b"{\"jsonrpc\":\"2.0\"}\n\n".to_vec();
    bytes.extend(frame(1, 4, 7, b"\xc2"));
    bytes.extend(frame(0, 1, 7, b"body"));
    run.push(&bytes);
    run.push(&frame(1, 5, 9, b"\x48\x03202"));
    run.push(&frame(1, 5, 11, b"\xbe"));
    // Of a stream that was open before.
    run.push(&frame(0, 0, 3, b"event"));
    assert_eq!(run.seen[0], (7, Seen::Response(0)));
    assert_eq!(
        run.seen[3..],
        [
            (9, Seen::Response(202)),
            (9, Seen::End),
            (11, Seen::Response(202)),
            (11, Seen::End),
            (3, Seen::Response(0)),
            (3, Seen::Body(b"event".to_vec())),
        ]
    );
}

#[test]
fn midway_a_single_frame_that_ends_with_the_bytes_is_enough_and_pieces_are_found_late() {
    let mut run = Run::new(H2::requests(true));
    run.push(&frame(1, 5, 1, POST));
    assert_eq!(run.parts(), [(1, "head"), (1, "end")]);
    // Byte by byte: the second frame ends the search for good, and the first is lost.
    let mut run = Run::new(H2::requests(true));
    for byte in concat(&[frame(1, 5, 1, POST), frame(1, 5, 3, POST)]) {
        run.push(&[byte]);
    }
    assert_eq!(run.parts(), [(3, "head"), (3, "end")]);
}

#[test]
fn a_block_that_is_too_long_is_passed_over() {
    let mut run = Run::requests();
    let long = vec![0; 16 * 1024];
    run.push(&frame(1, 0, 1, &long));
    for _ in 0..8 {
        run.push(&frame(9, 0, 1, &long));
    }
    run.push(&frame(9, 4, 1, &long));
    run.push(&frame(0, 1, 1, b"x"));
    assert_eq!(run.parts(), [(1, "head"), (1, "body"), (1, "end")]);
}

#[test]
fn what_cannot_be_is_bad_and_cuts_what_is_open() {
    let illegal = [
        frame(0, 0, 0, b"x"),
        frame(3, 0, 1, &[0; 5]),
        frame(9, 4, 1, POST),
        frame(5, 4, 1, &[0, 0, 0, 2]),
        frame(0, 8, 1, &[9, 1]),
        frame(1, 0x0c, 5, &[7, 0x82]),
        concat(&[frame(1, 0, 5, POST), frame(0, 0, 1, b"x")]),
    ];
    for bytes in illegal {
        let mut run = Run::requests();
        run.push(&frame(1, 4, 1, POST));
        run.push(&bytes);
        assert_eq!(run.parts()[..3], [(1, "head"), (0, "bad"), (1, "cut")], "{bytes:x?}");
    }
    let mut run = Run::new(H2::requests(false));
    run.push(b"POST /mcp HTTP/1.1\r\n\r\n");
    assert_eq!(run.parts(), [(0, "bad")]);
}

#[test]
fn streams_are_bounded() {
    let mut run = Run::requests();
    run.limits.h2_streams = 2;
    for stream in [1, 3, 5] {
        run.push(&frame(1, 4, stream, POST));
    }
    assert_eq!(run.parts(), [(1, "head"), (3, "head"), (1, "cut"), (5, "head")]);
    run.h2.close(3);
    run.push(&frame(1, 4, 7, POST));
    assert_eq!(run.parts().last(), Some(&(7, "head")));
}

/// Frames of a few streams, mostly as they should be.
fn conversation() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let stream = (0..4_u32).prop_map(|n| 2 * n + 1);
    let body = prop::collection::vec(any::<u8>(), 0..40);
    let one = (stream, body, 0..8_u8, any::<bool>()).prop_map(|(stream, body, kind, ends)| {
        let ends = u8::from(ends);
        match kind {
            0 | 1 => frame(1, 4 | ends, stream, b"\x83\x86\x84\x40\x01a\x01b"),
            2 => concat(&[frame(1, ends, stream, &[0x83]), frame(9, 4, stream, &[0x86, 0x84])]),
            3 => frame(8, 0, stream, &[0, 0, 0, 9]),
            4 => frame(3, 0, stream, &[0, 0, 0, 8]),
            5 => {
                let mut padded = vec![4];
                padded.extend(body);
                padded.extend([0; 4]);
                frame(0, 8 | ends, stream, &padded)
            }
            _ => frame(0, ends, stream, &body),
        }
    });
    prop::collection::vec(one, 0..24)
}

proptest! {
    #[test]
    fn any_split_gives_the_same_parts(
        frames in conversation(),
        garbage in prop::collection::vec(any::<u8>(), 0..30),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut bytes = concat(&frames);
        let whole_frames = bytes.len();
        let mut whole = Run::requests();
        whole.push(&bytes);
        let mut pieces = Run::requests();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, whole_frames]);
        cuts.sort_unstable();
        for pair in cuts.windows(2) {
            pieces.push(&bytes[pair[0]..pair[1]]);
        }
        prop_assert_eq!(&whole.seen, &pieces.seen);
        bytes.clear();
        whole.push(&garbage);
        whole.end();
    }

    #[test]
    fn gaps_anywhere_keep_every_message_in_order(
        frames in conversation(),
        at in any::<prop::sample::Index>(),
        len in 1..60_usize,
        tail in conversation(),
    ) {
        let bytes = concat(&[concat(&frames), concat(&tail)]);
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        let mut run = Run::requests();
        run.push(&bytes[..at]);
        run.gap(len as u64);
        run.push(bytes.get(at + len..).unwrap_or_default());
        run.end();
        let mut open = std::collections::BTreeSet::new();
        for (exchange, part) in run.parts() {
            match part {
                "head" => prop_assert!(open.insert(exchange)),
                "body" | "missing" => prop_assert!(open.contains(&exchange)),
                "end" => prop_assert!(open.remove(&exchange)),
                "cut" => { open.remove(&exchange); }
                _ => {}
            }
        }
        prop_assert!(open.is_empty());
    }

    #[test]
    fn garbage_is_survived(
        pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..200), 0..50_u64), 0..20),
        midway in any::<bool>(),
    ) {
        for h2 in [H2::requests(midway), H2::responses(midway)] {
            let mut run = Run::new(h2);
            for (bytes, gap) in &pieces {
                run.push(bytes);
                run.gap(*gap);
            }
            run.end();
        }
    }
}
