//! Which functions of a binary to watch, and where they are in its file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol, ReadCache};

/// A program and the function that it is for.
struct Probe {
    symbol: &'static str,
    program: &'static str,
}

const fn probe(symbol: &'static str, program: &'static str) -> Probe {
    Probe { symbol, program }
}

/// The functions of OpenSSL, which BoringSSL has as well. Nothing is seen without the first two, or
/// the two behind them.
const PROBES: &[Probe] = &[
    probe("SSL_read", "ssl_read"),
    probe("SSL_read", "ssl_read_return"),
    probe("SSL_write", "ssl_write"),
    probe("SSL_write", "ssl_write_return"),
    probe("SSL_read_ex", "ssl_read"),
    probe("SSL_read_ex", "ssl_read_ex_return"),
    probe("SSL_write_ex", "ssl_write"),
    probe("SSL_write_ex", "ssl_write_ex_return"),
    probe("SSL_do_handshake", "ssl_handshake"),
    probe("SSL_connect", "ssl_handshake"),
    probe("SSL_accept", "ssl_handshake"),
    probe("SSL_new", "ssl_new_return"),
    probe("SSL_free", "ssl_free"),
];

/// Every program that is attached to functions of binaries.
pub(in crate::sensor) fn programs() -> Vec<&'static str> {
    let mut programs: Vec<_> = PROBES.iter().map(|probe| probe.program).collect();
    programs.sort_unstable();
    programs.dedup();
    programs
}

/// Where a program goes: its offset in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) program: &'static str,
    pub(super) offset: u64,
}

/// The places in a binary; empty when it has no functions of a TLS library, or none by name.
///
/// # Errors
/// When the file cannot be read as an ELF file of 64 bits.
pub(super) fn places(path: &Path) -> io::Result<Vec<Place>> {
    let file = File::open(path)?;
    let cache = ReadCache::new(file);
    let elf = ElfFile64::<Endianness, _>::parse(&cache).map_err(io::Error::other)?;
    let mut found: BTreeMap<&str, u64> = BTreeMap::new();
    let wanted = |name: &str| {
        PROBES
            .iter()
            .find(|probe| probe.symbol == name)
            .map(|probe| probe.symbol)
    };
    for symbol in elf.dynamic_symbols().chain(elf.symbols()) {
        if symbol.is_definition()
            && let Ok(name) = symbol.name()
            && let Some(name) = wanted(name)
        {
            found.entry(name).or_insert(symbol.address());
        }
        if found.len() == PROBES.len() {
            break;
        }
    }
    let offset = |address: u64| {
        elf.elf_program_headers().iter().find_map(|segment| {
            let endian = elf.endian();
            let start = segment.p_vaddr(endian);
            let loaded = segment.p_type(endian) == object::elf::PT_LOAD;
            let within = (start..start.saturating_add(segment.p_filesz(endian))).contains(&address);
            (loaded && within).then(|| address - start + segment.p_offset(endian))
        })
    };
    let place = |probe: &Probe| {
        let address = found.get(probe.symbol)?;
        Some(Place {
            program: probe.program,
            offset: offset(*address)?,
        })
    };
    Ok(PROBES.iter().filter_map(place).collect())
}
