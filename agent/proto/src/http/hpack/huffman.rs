//! The Huffman code of HPACK (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length are consecutive, in the order of their symbols. So
//! the lengths are all that has to be written down.

/// Length of each symbol's code in bits; the last symbol is EOS.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, //
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, //
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, //
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, //
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const EOS: u16 = 256;
const SHORTEST: usize = 5;
const LONGEST: usize = 30;

/// What decoding needs, by code length.
struct Code {
    /// First code of this length.
    first: [u32; LONGEST + 1],
    /// Behind the last code of this length, as the first bits of 32.
    limit: [u64; LONGEST + 1],
    /// Where the symbols of this length begin.
    offset: [usize; LONGEST + 1],
    /// Symbols by length, then value.
    symbols: [u16; 257],
}

static CODE: Code = build();

const fn build() -> Code {
    let mut code = Code {
        first: [0; LONGEST + 1],
        limit: [0; LONGEST + 1],
        offset: [0; LONGEST + 1],
        symbols: [0; 257],
    };
    let (mut next, mut sorted, mut length) = (0_u32, 0, 1);
    while length <= LONGEST {
        next <<= 1;
        code.first[length] = next;
        code.offset[length] = sorted;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                code.symbols[sorted] = symbol as u16;
                sorted += 1;
                next += 1;
            }
            symbol += 1;
        }
        code.limit[length] = (next as u64) << (32 - length);
        length += 1;
    }
    // Every bit string is a prefix of a code: otherwise a length above is wrong.
    assert!(next == 1 << LONGEST && sorted == LENGTHS.len());
    code
}

/// Appends what `bytes` encode, at most 8/5 of their length. `None` when they are no valid code:
/// `out` may then hold a part of it.
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = bytes.iter();
    // The next bits, the first of them on top; the bits below the valid ones are 0.
    let (mut window, mut valid) = (0_u64, 0_u32);
    loop {
        while valid <= 56
            && let Some(&byte) = rest.next()
        {
            window |= u64::from(byte) << (56 - valid);
            valid += 8;
        }
        // Padding: less than a byte of ones. No symbol has so short a code of ones.
        if valid < 8 && window == !(u64::MAX.checked_shr(valid).unwrap_or(0)) {
            return Some(());
        }
        let top = window >> 32;
        let length = (SHORTEST..=LONGEST).find(|&length| top < CODE.limit[length])?;
        let nth = (top as u32 >> (32 - length)) - CODE.first[length];
        let symbol = CODE.symbols[CODE.offset[length] + nth as usize];
        if length as u32 > valid || symbol == EOS {
            return None;
        }
        out.push(symbol as u8);
        window <<= length;
        valid -= length as u32;
    }
}

/// The encoder, for tests.
#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let mut bits = Vec::new();
    for &byte in text {
        let length = usize::from(LENGTHS[usize::from(byte)]);
        let from = CODE.offset[length];
        let nth = CODE.symbols[from..]
            .iter()
            .position(|&symbol| symbol == u16::from(byte));
        let code = CODE.first[length] + nth.unwrap() as u32;
        bits.extend((0..length).rev().map(|bit| (code >> bit) & 1 == 1));
    }
    bits.resize(bits.len().next_multiple_of(8), true);
    bits.chunks(8)
        .map(|byte| byte.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(bytes, &mut out).map(|()| out)
    }

    #[test]
    fn all_symbols_survive() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decoded(&encode(&all)).unwrap(), all);
        for length in 0..40 {
            let text = vec![b'a'; length];
            assert_eq!(decoded(&encode(&text)).unwrap(), text);
        }
    }

    #[test]
    fn only_short_padding_of_ones_is_valid() {
        // "0" is 00000.
        assert_eq!(decoded(&[0b0000_0111]).unwrap(), b"0");
        assert_eq!(decoded(&[0b0000_0000, 0b0011_1111]).unwrap(), b"00");
        assert_eq!(decoded(&[0b0000_0110]), None);
        assert_eq!(decoded(&[0b0000_0111, 0xff]), None);
        assert_eq!(decoded(&[0xff; 4]), None, "EOS");
    }
}
