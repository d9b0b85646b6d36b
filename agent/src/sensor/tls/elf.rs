//! Binaries, read a piece at a time: some have a hundred megabytes of symbols and more of code.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use memchr::memmem::Finder;
use object::elf::{self, FileHeader64, PT_LOAD, SHN_UNDEF, SHT_DYNSYM, SHT_SYMTAB};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};
use object::{NativeEndian, ReadCache};

use super::functions::ANCHORS;

/// Bytes read at a time.
const PIECE: usize = 256 << 10;
/// Longest name that is looked at; the ends of pieces overlap by so much.
const MAX_NAME: usize = 2048;
/// Bytes of one table or section that are read.
const MAX_SECTION: u64 = 256 << 20;
/// Size of a symbol's entry.
const SYMBOL: usize = size_of::<elf::Sym64<NativeEndian>>();

/// A function of a binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) address: u64,
    pub(super) size: u64,
}

/// An ELF file of this machine's kind.
pub(super) struct Elf {
    file: File,
    /// Loaded parts: addresses and where they are in the file.
    segments: Vec<(Range<u64>, u64)>,
    sections: Vec<Section>,
}

struct Section {
    name: Vec<u8>,
    kind: u32,
    link: usize,
    at: Range<u64>,
}

impl Elf {
    /// Reads the headers.
    ///
    /// # Errors
    /// When the file cannot be read, or is no 64-bit ELF file of this machine's byte order.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let cache = ReadCache::new(File::open(path)?);
        let header = FileHeader64::<NativeEndian>::parse(&cache).map_err(io::Error::other)?;
        let endian = header.endian().map_err(io::Error::other)?;
        let loaded = header.program_headers(endian, &cache).map_err(io::Error::other)?;
        let loaded = loaded.iter().filter(|segment| segment.p_type(endian) == PT_LOAD);
        let segments = loaded.map(|segment| {
            let start = segment.p_vaddr(endian);
            (
                start..start.saturating_add(segment.p_filesz(endian)),
                segment.p_offset(endian),
            )
        });
        let segments = segments.collect();
        let table = header.sections(endian, &cache).map_err(io::Error::other)?;
        let sections = table.iter().map(|section| {
            let (start, len) = section.file_range(endian).unwrap_or_default();
            Section {
                name: table.section_name(endian, section).unwrap_or_default().to_vec(),
                kind: section.sh_type(endian),
                link: section.sh_link(endian) as usize,
                at: start..start.saturating_add(len.min(MAX_SECTION)),
            }
        });
        let sections = sections.collect();
        Ok(Self {
            segments,
            sections,
            file: cache.into_inner(),
        })
    }

    /// Where in the file the code at `address` is.
    pub(super) fn offset(&self, address: u64) -> Option<u64> {
        let (range, offset) = self.segments.iter().find(|(range, _)| range.contains(&address))?;
        Some(address - range.start + offset)
    }

    /// Whether it has a symbol table that is not only for linking.
    pub(super) fn has_symbols(&self) -> bool {
        self.sections.iter().any(|section| section.kind == SHT_SYMTAB)
    }

    /// The first `len` bytes of a section; fewer when it is shorter.
    pub(super) fn beginning_of(&self, section: &str, len: usize) -> Option<Vec<u8>> {
        let at = &self.section(section)?.at;
        let len = len.min(usize::try_from(at.end - at.start).unwrap_or(len));
        self.code(at.start, len).ok()
    }

    /// `len` bytes of the file at `offset`.
    ///
    /// # Errors
    /// When the file has not as many.
    pub(super) fn code(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// The first of `marks` that occurs in a section.
    ///
    /// # Errors
    /// When the section cannot be read.
    pub(super) fn mark_in(&self, section: &str, marks: &[&str]) -> io::Result<Option<usize>> {
        let Some(section) = self.section(section) else {
            return Ok(None);
        };
        let finders: Vec<Finder<'_>> = marks.iter().map(|mark| Finder::new(mark.as_bytes())).collect();
        let mut found = None;
        self.pieces(&section.at, |_, piece| {
            found = finders.iter().position(|finder| finder.find(piece).is_some());
            found.is_none()
        })?;
        Ok(found)
    }

    /// The functions whose names `wanted` gives a number: that, and where they are. Both symbol
    /// tables are looked at, the smaller one first; the other only when that leaves some
    /// of the `enough` missing.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub(super) fn functions(
        &self,
        wanted: impl Fn(&[u8]) -> Option<usize>,
        enough: impl Fn(&[(usize, Symbol)]) -> bool,
    ) -> io::Result<Vec<(usize, Symbol)>> {
        let mut found: Vec<(usize, Symbol)> = Vec::new();
        for kind in [SHT_DYNSYM, SHT_SYMTAB] {
            for table in self.sections.iter().filter(|section| section.kind == kind) {
                let Some(strings) = self.sections.get(table.link) else {
                    continue;
                };
                let names = self.names(&strings.at, &wanted)?;
                if !names.is_empty() {
                    self.symbols(&table.at, &names, &mut found)?;
                }
            }
            if enough(&found) {
                break;
            }
        }
        found.sort_unstable_by_key(|(number, symbol)| (*number, symbol.address));
        found.dedup();
        Ok(found)
    }

    fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name.as_bytes())
    }

    /// Where in a table of strings the wanted ones are. A string may be the end of a longer one.
    fn names(&self, strings: &Range<u64>, wanted: impl Fn(&[u8]) -> Option<usize>) -> io::Result<HashMap<u64, usize>> {
        let finders: Vec<Finder<'_>> = ANCHORS.iter().map(|anchor| Finder::new(anchor.as_bytes())).collect();
        let mut names = HashMap::new();
        self.pieces(strings, |at, piece| {
            for hit in finders.iter().flat_map(|finder| finder.find_iter(piece)) {
                let Some(end) = memchr::memchr(0, &piece[hit..]).map(|len| hit + len) else {
                    continue;
                };
                let begin = memchr::memrchr(0, &piece[..hit]).map_or(0, |nul| nul + 1);
                for begin in [hit, begin] {
                    if let Some(number) = wanted(&piece[begin..end]) {
                        names.insert(at + begin as u64, number);
                    }
                }
            }
            true
        })?;
        Ok(names)
    }

    /// Takes the symbols of a table that have one of the names.
    fn symbols(
        &self,
        table: &Range<u64>,
        names: &HashMap<u64, usize>,
        found: &mut Vec<(usize, Symbol)>,
    ) -> io::Result<()> {
        let mut bytes = vec![0; PIECE / SYMBOL * SYMBOL];
        let mut at = table.start;
        while at < table.end {
            let len = bytes.len().min(usize::try_from(table.end - at).unwrap_or(bytes.len()));
            let piece = &mut bytes[..len];
            self.file.read_exact_at(piece, at)?;
            let (symbols, _) = object::pod::slice_from_all_bytes::<elf::Sym64<NativeEndian>>(piece)
                .map(|symbols| (symbols, ()))
                .map_err(|()| io::Error::other("a symbol table that ends in the middle of a symbol"))?;
            for symbol in symbols {
                let defined = symbol.st_shndx.get(NativeEndian) != SHN_UNDEF;
                if defined && let Some(&number) = names.get(&u64::from(symbol.st_name.get(NativeEndian))) {
                    let symbol = Symbol {
                        address: symbol.st_value.get(NativeEndian),
                        size: symbol.st_size.get(NativeEndian),
                    };
                    found.push((number, symbol));
                }
            }
            at += len as u64;
        }
        Ok(())
    }

    /// Reads a part of the file in overlapping pieces, until `take` has enough. It is told where in
    /// that part a piece begins.
    fn pieces(&self, part: &Range<u64>, mut take: impl FnMut(u64, &[u8]) -> bool) -> io::Result<()> {
        let mut bytes = vec![0; PIECE];
        let mut at = part.start;
        while at < part.end {
            let len = PIECE.min(usize::try_from(part.end - at).unwrap_or(PIECE));
            self.file.read_exact_at(&mut bytes[..len], at)?;
            if !take(at - part.start, &bytes[..len]) || at + len as u64 == part.end {
                break;
            }
            at += (len - MAX_NAME) as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_binary() {
        let elf = Elf::open(Path::new("/proc/self/exe")).unwrap();
        assert!(elf.has_symbols(), "tests are not stripped");
        let wanted = |name: &[u8]| name.ends_with(b"6rustls_is_not_all").then_some(7);
        let none = elf.functions(wanted, |_| false).unwrap();
        assert!(none.is_empty() || none.iter().all(|(number, _)| *number == 7));
        assert_eq!(
            elf.mark_in(".rodata", &["never \u{1} there", "BAD MARK ONE"]).unwrap(),
            Some(1)
        );
        assert!(elf.offset(u64::MAX).is_none());
        assert!(Elf::open(Path::new("/proc/self/maps")).is_err());
    }
}
