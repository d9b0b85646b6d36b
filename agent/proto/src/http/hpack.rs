//! Header compression of HTTP/2 (RFC 7541), also when the beginning was not seen.
//!
//! Whoever joins a connection in its middle does not know the dynamic table. References to what it
//! held then are unknown fields; the fields around them are not affected, and whatever is added
//! from then on is known. Nothing is ever guessed.

mod huffman;
mod table;

use std::borrow::Cow;

use crate::limits::Limits;
use table::{Known, Table};

/// The block breaks off or is no header block: what it did to the dynamic table is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Decodes the header blocks of one direction of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hpack {
    table: Table,
    /// Where strings are decompressed to.
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Largest integer that is of use: of what is larger, no index, length or size can be.
const LARGEST: usize = 1 << 28;

impl Hpack {
    /// Whatever is in the dynamic table becomes unknown.
    pub(crate) fn forget(&mut self) {
        self.table = Table::unknown();
    }

    /// Size of what is known of the dynamic table, as HPACK counts it.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn held(&self) -> usize {
        self.table.bytes()
    }

    /// Decodes a block. `field` is given each name and value, as far as they are known, and
    /// answers whether the value has to be kept if it gets into the dynamic table: what does not
    /// matter now will not matter later, and may be a secret.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        limits: &Limits,
        mut field: impl FnMut(Option<&[u8]>, Option<&[u8]>) -> bool,
    ) -> Result<(), Malformed> {
        let most = limits.hpack_table_bytes;
        let mut rest = block;
        while let Some(&first) = rest.first() {
            if first & 0x80 != 0 {
                let (name, value) = match integer(&mut rest, 7)? {
                    0 => return Err(Malformed),
                    index => self.table.get(index),
                };
                field(name, value);
            } else if first & 0xc0 == 0x40 {
                let index = integer(&mut rest, 6)?;
                self.literal(index, &mut rest, Some(most), &mut field)?;
            } else if first & 0xe0 == 0x20 {
                let size = integer(&mut rest, 5)?;
                self.table.resize(size, most);
            } else {
                let index = integer(&mut rest, 4)?;
                self.literal(index, &mut rest, None, &mut field)?;
            }
        }
        Ok(())
    }

    /// A field whose value is spelled out. `insert` is given when it becomes an entry.
    fn literal(
        &mut self,
        index: usize,
        rest: &mut &[u8],
        insert: Option<usize>,
        field: &mut impl FnMut(Option<&[u8]>, Option<&[u8]>) -> bool,
    ) -> Result<(), Malformed> {
        let Self { table, name, value } = self;
        let name = match index {
            0 => string(rest, name)?,
            index => table.get(index).0,
        };
        let value = string(rest, value)?;
        let keep = field(name, value);
        if let Some(most) = insert {
            let name = match index {
                0 => name.map(|name| Cow::Owned(name.to_vec())),
                index => table.name(index),
            };
            let length = value.map_or(0, <[u8]>::len);
            table.insert(name, value.filter(|_| keep).map(Box::from), length, most);
        }
        Ok(())
    }
}

/// Takes an integer whose first byte has `bits` of it (section 5.1).
fn integer(rest: &mut &[u8], bits: u32) -> Result<usize, Malformed> {
    let (&first, mut more) = rest.split_first().ok_or(Malformed)?;
    let mask = (1 << bits) - 1;
    let mut value = usize::from(first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (&byte, after) = more.split_first().ok_or(Malformed)?;
            more = after;
            value += usize::from(byte & 0x7f) << shift;
            if value > LARGEST || shift > 28 {
                return Err(Malformed);
            }
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
    }
    *rest = more;
    Ok(value)
}

/// Takes a string (section 5.2): what it says is unknown if it is not encoded as it should be.
fn string<'a, 'r: 'a>(rest: &mut &'r [u8], buffer: &'a mut Vec<u8>) -> Result<Known<'a>, Malformed> {
    let compressed = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (text, after) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = after;
    if !compressed {
        return Ok(Some(text));
    }
    buffer.clear();
    Ok(huffman::decode(text, buffer).map(|()| &**buffer))
}

#[cfg(test)]
mod tests;
