//! Field offsets from the kernel's BTF: the little of the format that finding members needs.
//!
//! Format: the kernel's Documentation/bpf/btf.rst. The types are visited once, as bytes; nothing is
//! kept but the structures that were asked for, so a 5 MB BTF costs no memory worth naming.

use std::collections::HashMap;
use std::io;

/// Where the running kernel keeps its BTF.
pub(super) const RUNNING_KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// Why an offset cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are not BTF, or end too early.
    #[error("the BTF is damaged at byte {at}: {what}")]
    Damaged {
        /// Position.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// No structure has this member.
    #[error("this kernel has no {structure}.{member}")]
    Missing {
        /// The structure.
        structure: String,
        /// The member.
        member: String,
    },
}

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;

/// The members of the structures that were asked for, of one kernel.
pub(super) struct Layouts {
    /// In bits.
    offsets: HashMap<(String, String), u32>,
}

impl Layouts {
    /// Reads the running kernel's.
    ///
    /// # Errors
    /// When the file cannot be read or is not BTF.
    pub(super) fn of_running_kernel(structures: &[&str]) -> Result<Self, BtfError> {
        let bytes = std::fs::read(RUNNING_KERNEL).map_err(|source| BtfError::Read {
            path: RUNNING_KERNEL.to_owned(),
            source,
        })?;
        Self::parse(&bytes, structures)
    }

    /// Reads the members of `structures`, those of their anonymous members included.
    ///
    /// # Errors
    /// When the bytes are not BTF.
    pub(super) fn parse(btf: &[u8], structures: &[&str]) -> Result<Self, BtfError> {
        let blob = Blob::new(btf)?;
        let positions = blob.type_positions()?;
        let mut offsets = HashMap::new();
        for &at in &positions {
            let header = blob.header(at)?;
            if header.kind != KIND_STRUCT || header.members == 0 {
                continue;
            }
            let name = blob.name(header.name)?;
            if structures.contains(&name) {
                blob.collect(&positions, at, 0, 0, &mut |member, offset| {
                    offsets.entry((name.to_owned(), member.to_owned())).or_insert(offset);
                })?;
            }
        }
        Ok(Self { offsets })
    }

    /// Byte offset of `structure.member`.
    ///
    /// # Errors
    /// When this kernel has no such member.
    pub(super) fn offset(&self, structure: &str, member: &str) -> Result<u32, BtfError> {
        self.bit_offset(structure, member).map(|bits| bits / 8)
    }

    /// As [`Self::offset`], in bits.
    ///
    /// # Errors
    /// As there.
    pub(super) fn bit_offset(&self, structure: &str, member: &str) -> Result<u32, BtfError> {
        self.offsets
            .get(&(structure.to_owned(), member.to_owned()))
            .copied()
            .ok_or_else(|| BtfError::Missing {
                structure: structure.to_owned(),
                member: member.to_owned(),
            })
    }
}

/// `struct btf_type`, of which the rest depends on the kind.
struct TypeHeader {
    name: u32,
    kind: u32,
    members: u32,
    bitfields: bool,
}

struct Blob<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Blob<'a> {
    fn new(btf: &'a [u8]) -> Result<Self, BtfError> {
        let damaged = |at, what| BtfError::Damaged { at, what };
        let word = |at| word(btf, at);
        if btf.get(..2) != Some(&MAGIC.to_ne_bytes()) {
            return Err(damaged(0, "no magic number"));
        }
        let header = word(4)? as usize;
        let section = |offset: usize, len: usize| {
            let from = header.checked_add(word(offset)? as usize);
            let to = from.and_then(|from| Some(from + word(len).ok()? as usize));
            from.zip(to)
                .and_then(|(from, to)| btf.get(from..to))
                .ok_or(damaged(offset, "a section beyond the end"))
        };
        Ok(Self {
            types: section(8, 12)?,
            strings: section(16, 20)?,
        })
    }

    fn header(&self, at: usize) -> Result<TypeHeader, BtfError> {
        let info = word(self.types, at + 4)?;
        Ok(TypeHeader {
            name: word(self.types, at)?,
            kind: info >> 24 & 0x1f,
            members: info & 0xffff,
            bitfields: info >> 31 != 0,
        })
    }

    /// Byte position of every type, by id less one: id 0 is void and has none.
    fn type_positions(&self) -> Result<Vec<usize>, BtfError> {
        let mut positions = Vec::with_capacity(self.types.len() / 40);
        let mut at = 0;
        while at < self.types.len() {
            positions.push(at);
            let header = self.header(at)?;
            let count = header.members as usize;
            let rest = match header.kind {
                1 | 14 | 17 => 4,                                 // int, var, decl tag
                3 => 12,                                          // array
                KIND_STRUCT | KIND_UNION | 15 | 19 => 12 * count, // and data section, enum64
                6 | 13 => 8 * count,                              // enum, function prototype
                2 | 7..=12 | 16 | 18 => 0, // pointer, forward, typedef, qualifiers, function, float, type tag
                _ => {
                    return Err(BtfError::Damaged {
                        at,
                        what: "a type of unknown kind",
                    });
                }
            };
            at += 12 + rest;
        }
        Ok(positions)
    }

    fn name(&self, offset: u32) -> Result<&'a str, BtfError> {
        let damaged = BtfError::Damaged {
            at: offset as usize,
            what: "a name beyond the end",
        };
        let bytes = self
            .strings
            .get(offset as usize..)
            .and_then(|rest| rest.split(|&b| b == 0).next());
        bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or(damaged)
    }

    /// Calls `found` with the name and the offset in bits of every member of the structure at `at`.
    fn collect(
        &self,
        positions: &[usize],
        at: usize,
        base: u32,
        depth: u32,
        found: &mut impl FnMut(&'a str, u32),
    ) -> Result<(), BtfError> {
        let header = self.header(at)?;
        for i in 0..header.members as usize {
            let member = at + 12 + 12 * i;
            let position = word(self.types, member + 8)?;
            let bits = if header.bitfields {
                position & 0x00ff_ffff
            } else {
                position
            };
            let offset = base + bits;
            let name = self.name(word(self.types, member)?)?;
            if !name.is_empty() {
                found(name, offset);
                continue;
            }
            let inner = positions.get((word(self.types, member + 4)? as usize).wrapping_sub(1));
            // Anonymous members are structures and unions; a few levels deep in any kernel.
            if let Some(&inner) = inner
                && depth < 8
                && matches!(self.header(inner)?.kind, KIND_STRUCT | KIND_UNION)
            {
                self.collect(positions, inner, offset, depth + 1, found)?;
            }
        }
        Ok(())
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    let word = at
        .checked_add(4)
        .and_then(|end| bytes.get(at..end))
        .and_then(|word| word.try_into().ok());
    word.map(u32::from_ne_bytes).ok_or(BtfError::Damaged {
        at,
        what: "it ends too early",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A BTF of one structure `s { int a; struct { int b; }; }` made by hand.
    fn sample() -> Vec<u8> {
        let strings = b"\0s\0a\0b\0int\0";
        let mut types = Vec::new();
        let mut put = |words: &[u32]| words.iter().for_each(|w| types.extend(w.to_ne_bytes()));
        put(&[7, 1 << 24, 4, 32]); // 1: int
        put(&[0, 4 << 24 | 1, 4, 5, 1, 0]); // 2: anonymous struct { int b }
        put(&[1, 4 << 24 | 2, 8, 3, 1, 0, 0, 2, 32]); // 3: struct s
        let mut btf = Vec::new();
        btf.extend(MAGIC.to_ne_bytes());
        btf.extend([1, 0]);
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            btf.extend(word.to_ne_bytes());
        }
        btf.extend(&types);
        btf.extend(strings);
        btf
    }

    #[test]
    fn members_of_anonymous_members_are_found() {
        let layouts = Layouts::parse(&sample(), &["s"]).unwrap();
        assert_eq!(layouts.offset("s", "a").unwrap(), 0);
        assert_eq!(layouts.offset("s", "b").unwrap(), 4);
        assert_eq!(layouts.bit_offset("s", "b").unwrap(), 32);
        assert!(matches!(layouts.offset("s", "c"), Err(BtfError::Missing { .. })));
    }

    #[test]
    fn damage_is_an_error_wherever_it_is() {
        let good = sample();
        for len in 0..good.len() {
            assert!(Layouts::parse(&good[..len], &["s"]).is_err(), "{len}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            drop(Layouts::parse(&bad, &["s"])); // any answer, but an answer
        }
    }
}
