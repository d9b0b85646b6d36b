//! The inside of JSON strings: escapes, in pieces.

/// Decodes a JSON string that may arrive in any pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Decoder {
    escape: Escape,
    /// First half of a surrogate pair.
    high: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Backslash,
    Hex {
        digits: u8,
        value: u16,
    },
}

impl Decoder {
    /// Decodes up to the closing quote and returns the index after it, or `None` when the string
    /// goes on beyond `bytes`.
    pub(super) fn decode(&mut self, bytes: &[u8], from: usize, mut sink: impl FnMut(&[u8])) -> Option<usize> {
        let mut at = from;
        while let Some(&byte) = bytes.get(at) {
            match self.escape {
                Escape::None => {
                    let rest = &bytes[at..];
                    let plain = special(rest).unwrap_or(rest.len());
                    if plain > 0 {
                        self.lone_high(&mut sink);
                        sink(&rest[..plain]);
                    }
                    at += plain;
                    match bytes.get(at) {
                        Some(b'"') => {
                            self.lone_high(&mut sink);
                            return Some(at + 1);
                        }
                        Some(_) => self.escape = Escape::Backslash,
                        None => return None,
                    }
                }
                Escape::Backslash => {
                    self.escape = Escape::None;
                    let plain = match byte {
                        b'u' => {
                            self.escape = Escape::Hex { digits: 0, value: 0 };
                            at += 1;
                            continue;
                        }
                        b'n' => b'\n',
                        b't' => b'\t',
                        b'r' => b'\r',
                        b'b' => 8,
                        b'f' => 12,
                        other => other,
                    };
                    self.lone_high(&mut sink);
                    sink(&[plain]);
                }
                Escape::Hex { digits, value } => {
                    let Some(digit) = char::from(byte).to_digit(16) else {
                        // Not an escape after all: give up on it, keep the byte.
                        self.escape = Escape::None;
                        sink("\u{fffd}".as_bytes());
                        continue;
                    };
                    let value = value << 4 | u16::try_from(digit).unwrap_or(0);
                    if digits == 3 {
                        self.escape = Escape::None;
                        self.unit(value, &mut sink);
                    } else {
                        self.escape = Escape::Hex {
                            digits: digits + 1,
                            value,
                        };
                    }
                }
            }
            at += 1;
        }
        None
    }

    fn unit(&mut self, unit: u16, sink: &mut impl FnMut(&[u8])) {
        if (0xd800..0xdc00).contains(&unit) {
            self.lone_high(sink);
            self.high = Some(unit);
            return;
        }
        let code = match self.high.take() {
            Some(high) if (0xdc00..0xe000).contains(&unit) => {
                0x1_0000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(unit) - 0xdc00)
            }
            Some(_) => {
                sink("\u{fffd}".as_bytes());
                u32::from(unit)
            }
            None => u32::from(unit),
        };
        let decoded = char::from_u32(code).unwrap_or('\u{fffd}');
        sink(decoded.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn lone_high(&mut self, sink: &mut impl FnMut(&[u8])) {
        if self.high.take().is_some() {
            sink("\u{fffd}".as_bytes());
        }
    }
}

/// Finds the next quote or backslash.
#[inline]
pub(super) fn special(bytes: &[u8]) -> Option<usize> {
    if let Some(chunk) = bytes.first_chunk::<8>() {
        let hits = hits(*chunk);
        if hits != 0 {
            return Some((hits.trailing_zeros() / 8) as usize);
        }
        return special_beyond(&bytes[8..]).map(|beyond| beyond + 8);
    }
    special_beyond(bytes)
}

fn special_beyond(bytes: &[u8]) -> Option<usize> {
    /// Most strings, and most runs between escapes, end within so many words; a call into memchr
    /// costs more than looking at these.
    const WORDS: usize = 6;
    let mut rest = bytes;
    for word in 0..WORDS {
        let Some((chunk, after)) = rest.split_first_chunk::<8>() else {
            let near = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            return Some(word * 8 + near);
        };
        let hits = hits(*chunk);
        if hits != 0 {
            return Some(word * 8 + (hits.trailing_zeros() / 8) as usize);
        }
        rest = after;
    }
    memchr::memchr2(b'"', b'\\', rest).map(|far| WORDS * 8 + far)
}

const ONES: u64 = u64::MAX / 0xff;

/// Marks the first quote or backslash of a word.
#[inline]
fn hits(chunk: [u8; 8]) -> u64 {
    let chunk = u64::from_le_bytes(chunk);
    zero_bytes(chunk ^ (ONES * u64::from(b'"'))) | zero_bytes(chunk ^ (ONES * u64::from(b'\\')))
}

/// Marks the lowest byte of a word that is zero (and maybe higher ones).
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & (ONES * 0x80)
}

/// Finds the closing quote of a string that has no escapes and lies within `bytes`.
#[inline]
pub(super) fn plain_end(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let found = special(rest)?;
    (rest[found] == b'"').then_some(from + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str, split: usize) -> String {
        let mut decoder = Decoder::default();
        let mut out = Vec::new();
        let (a, b) = text.as_bytes().split_at(split);
        let end = decoder.decode(a, 0, |chunk| out.extend_from_slice(chunk));
        if end.is_none() {
            assert!(decoder.decode(b, 0, |chunk| out.extend_from_slice(chunk)).is_some());
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decodes_what_serde_json_decodes_at_every_split() {
        for text in [
            r#"plain""#,
            r#"a\"b\\c\/\n\t\r\b\f""#,
            r#"\u00e9\u20ac\ud83d\ude00x""#,
            r#"é€😀""#,
        ] {
            let expected: String = serde_json::from_str(&format!("\"{text}")).unwrap();
            for split in 0..text.len() {
                if text.is_char_boundary(split) {
                    assert_eq!(decode(text, split), expected, "{text} at {split}");
                }
            }
        }
    }

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        assert_eq!(decode(r#"\ud83dx""#, 3), "\u{fffd}x");
        assert_eq!(decode(r#"\ude00""#, 1), "\u{fffd}");
        assert_eq!(decode(r#"\ud83d""#, 6), "\u{fffd}");
    }
}
