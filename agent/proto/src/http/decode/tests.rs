use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::collection::vec;
use proptest::prelude::*;
use structured_zstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;

/// Three events that Node's Brotli encoder flushed one by one, and its last byte.
const BROTLI: [&str; 4] = [
    "831580646174613a207b226a736f6e727063223a22322e30222c226964223a302c22726573756c74223a7b7d7d0a0a",
    "5801805f2a86ac94602676d86200",
    "5801805f42a688502200e019",
    "03",
];
/// 300 000 bytes of `0123456789abcdef` over and over, in three blocks with a checksum, by zstd.
const ZSTD: &str = "28b52ffd0458c4000080303132333435363738396162636465660100daff279f4b4c000008300100fcff3910024d000008300100\
                    dc131d0801adbc3ccd";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn event(id: usize) -> String {
    format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n\n")
}

fn decode(coding: Coding, pieces: &[&[u8]], limits: &Limits) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(coding);
    let mut out = Vec::new();
    for piece in pieces {
        decoder.decode(piece, &mut out, limits)?;
    }
    Ok(out)
}

fn encode(kind: u8, body: &[u8]) -> (Coding, Vec<u8>) {
    let level = Compression::default();
    match kind % 4 {
        0 => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(body).unwrap();
            (Coding::Gzip, encoder.finish().unwrap())
        }
        1 => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(body).unwrap();
            (Coding::Deflate, encoder.finish().unwrap())
        }
        2 => {
            let mut encoder = DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(body).unwrap();
            (Coding::Deflate, encoder.finish().unwrap())
        }
        _ => (Coding::Zstd, compress_to_vec(body, CompressionLevel::Fastest)),
    }
}

#[test]
fn flushed_events_come_out_at_once() {
    let limits = Limits::default();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut gzip = Decoder::new(Coding::Gzip);
    let mut brotli = Decoder::new(Coding::Brotli);
    for (id, flushed) in BROTLI[..3].iter().enumerate() {
        encoder.write_all(event(id).as_bytes()).unwrap();
        encoder.flush().unwrap();
        let mut out = Vec::new();
        gzip.decode(&std::mem::take(encoder.get_mut()), &mut out, &limits)
            .unwrap();
        assert_eq!(out, event(id).as_bytes());
        out.clear();
        brotli.decode(&bytes(flushed), &mut out, &limits).unwrap();
        assert_eq!(out, event(id).as_bytes());
    }
    let mut zstd = Decoder::new(Coding::Zstd);
    let body = bytes(ZSTD);
    let mut out = Vec::new();
    // The frame's header and its first block.
    zstd.decode(&body[..35], &mut out, &limits).unwrap();
    assert_eq!(out.len(), 128 * 1024);
    zstd.decode(&body[35..], &mut out, &limits).unwrap();
    assert_eq!(out.len(), 300_000);
    assert!(out.chunks(16).all(|chunk| chunk == b"0123456789abcdef"));
}

#[test]
fn frames_follow_each_other_and_padding_is_passed_over() {
    let limits = Limits::default();
    let frame = compress_to_vec(&b"abc"[..], CompressionLevel::Fastest);
    let body = [&frame[..], b"\x50\x2a\x4d\x18\x03\0\0\0xyz", &frame].concat();
    let each: Vec<_> = body.chunks(1).collect();
    assert_eq!(decode(Coding::Zstd, &each, &limits).unwrap(), b"abcabc");
    let (coding, member) = encode(0, b"abc");
    assert_eq!(decode(coding, &[&member, &member], &limits).unwrap(), b"abcabc");
}

#[test]
fn bombs_are_stopped_at_the_cap() {
    let limits = Limits {
        decoded_free: 1 << 20,
        ..Limits::default()
    };
    let zeros = vec![0; 8 << 20];
    for kind in 0..4 {
        let (coding, bomb) = encode(kind, &zeros);
        let mut decoder = Decoder::new(coding);
        let mut out = Vec::new();
        assert_eq!(
            decoder.decode(&bomb, &mut out, &limits),
            Err(DecodeError::Bomb),
            "{coding:?}"
        );
        let most = (bomb.len() as u64 * limits.decoded_ratio).max(limits.decoded_free);
        assert!(out.len() as u64 <= most + 1);
        assert_eq!(decoder.decode(b"x", &mut out, &limits), Err(DecodeError::Bomb));
    }
    let limits = Limits {
        decoded_bytes: 10,
        ..Limits::default()
    };
    assert_eq!(
        decode(Coding::Brotli, &[&bytes(BROTLI[0])], &limits),
        Err(DecodeError::Bomb)
    );
}

#[test]
fn the_cap_holds_for_each_message() {
    let limits = Limits {
        decoded_bytes: event(0).len() as u64,
        ..Limits::default()
    };
    let mut decoder = Decoder::new(Coding::Brotli);
    let mut out = Vec::new();
    for flushed in BROTLI {
        decoder.decode(&bytes(flushed), &mut out, &limits).unwrap();
        decoder.next_message();
    }
    assert_eq!(out.len(), 3 * event(0).len());
}

#[test]
fn what_cannot_be_decoded_says_why() {
    let limits = Limits::default();
    for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd] {
        assert_eq!(
            decode(coding, &[&[0xdd; 64]], &limits),
            Err(DecodeError::Corrupt),
            "{coding:?}"
        );
    }
    assert_eq!(decode(Coding::Unknown, &[b"x"], &limits), Err(DecodeError::Unsupported));
    let small = Limits {
        decode_window_bytes: 64 << 10,
        ..limits
    };
    for (coding, body) in [(Coding::Zstd, ZSTD), (Coding::Brotli, BROTLI[0])] {
        assert_eq!(
            decode(coding, &[&bytes(body)], &small),
            Err(DecodeError::Unsupported),
            "{coding:?}"
        );
    }
    assert!(Decoder::new(Coding::Identity).is_identity());
}

proptest! {
    #[test]
    fn any_split_decodes_to_the_same(kind: u8, words in vec("[a-z]{1,9}", 0..300), size in 1_usize..64) {
        let body = words.concat().into_bytes();
        let (coding, encoded) = encode(kind, &body);
        let pieces: Vec<_> = encoded.chunks(size).collect();
        prop_assert_eq!(decode(coding, &pieces, &Limits::default()), Ok(body));
    }

    #[test]
    fn garbage_never_panics(kind: u8, words in vec("[a-z]{1,9}", 0..50), at: usize, junk: u8, cut in 1_usize..64) {
        let (coding, mut encoded) = encode(kind, &words.concat().into_bytes());
        if !encoded.is_empty() {
            let at = at % encoded.len();
            encoded[at] ^= junk;
        }
        let mut brotli: Vec<u8> = BROTLI.iter().flat_map(|piece| bytes(piece)).collect();
        let at = at % brotli.len();
        brotli[at] ^= junk;
        for (coding, body) in [(coding, encoded), (Coding::Brotli, brotli)] {
            let pieces: Vec<_> = body.chunks(cut).collect();
            let whole = decode(coding, &[&body], &Limits::default());
            let split = decode(coding, &pieces, &Limits::default());
            prop_assert_eq!(whole.is_ok(), split.is_ok());
        }
    }
}
