//! What a binary has of TLS: where to hook it, or why it stays opaque.

use std::io;
use std::path::Path;

use super::elf::{Elf, Symbol};
use super::functions::{At, BORINGSSL, Direction, FUNCTIONS, Function};
use super::{Library, go};

/// A program and where it goes: an offset in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) program: &'static str,
    pub(super) offset: u64,
}

/// What a binary has of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) library: Library,
    /// Where to hook it; empty when its plaintext cannot be seen.
    pub(super) sites: Vec<Site>,
    /// What is not seen, and why; empty when all is.
    pub(super) reason: String,
}

/// Code of one function that is decoded at most.
const MAX_CODE: u64 = 256 << 10;

/// Looks into the binary at `path`. A library is of no interest without its symbols; of the program
/// of a process, which is called `program`, is told why it is opaque. `None` when there is no TLS
/// in it.
///
/// # Errors
/// When it cannot be read, or is not a binary of this machine.
pub(super) fn examine(path: &Path, program: Option<&str>) -> io::Result<Option<Tls>> {
    let elf = Elf::open(path)?;
    let boring = FUNCTIONS.len();
    let wanted = |name: &[u8]| {
        if name == BORINGSSL.as_bytes() {
            return Some(boring);
        }
        FUNCTIONS.iter().position(|function| function.name.matches(name))
    };
    let enough = |found: &[(usize, Symbol)]| directions(found) == (true, true);
    let found = elf.functions(wanted, enough)?;
    let Some((writes, reads)) = Some(directions(&found)).filter(|(writes, reads)| *writes || *reads) else {
        return program.map_or(Ok(None), |name| opaque(name, &elf));
    };
    let library = match library(&found) {
        Some(Library::OpenSsl) if found.iter().any(|(number, _)| *number == boring) => Library::BoringSsl,
        Some(library) => library,
        None => return Ok(None),
    };
    if library == Library::Go && !is_go_with_registers(&elf) {
        return Ok(Some(Tls {
            library,
            sites: Vec::new(),
            reason: "built by Go older than 1.18: its calling convention is another".to_owned(),
        }));
    }
    let mut sites = Vec::new();
    for (number, symbol) in &found {
        if let Some(function) = FUNCTIONS.get(*number).filter(|function| of(library, function)) {
            for &(program, at) in function.hooks {
                sites.extend(
                    places(&elf, *symbol, at)?
                        .into_iter()
                        .map(|offset| Site { program, offset }),
                );
            }
        }
    }
    sites.sort_unstable_by_key(|site| (site.program, site.offset));
    sites.dedup();
    let reason = match (writes, reads) {
        (true, true) => String::new(),
        (true, false) => "what it reads is not seen: the function has no symbol, or is inlined".to_owned(),
        (false, _) => "what it writes is not seen: the function has no symbol, or is inlined".to_owned(),
    };
    Ok(Some(Tls { library, sites, reason }))
}

/// Whether a function is of the library; BoringSSL's names are OpenSSL's.
fn of(library: Library, function: &Function) -> bool {
    function.library == library || (library == Library::BoringSsl && function.library == Library::OpenSsl)
}

/// The library of the functions that move plaintext.
fn library(found: &[(usize, Symbol)]) -> Option<Library> {
    let functions = found.iter().filter_map(|(number, _)| FUNCTIONS.get(*number));
    functions
        .filter(|function| function.moves.is_some())
        .map(|function| function.library)
        .next()
}

/// Whether there are functions that write plaintext, and such that read it.
fn directions(found: &[(usize, Symbol)]) -> (bool, bool) {
    let has = |direction| {
        let mut functions = found.iter().filter_map(|(number, _)| FUNCTIONS.get(*number));
        functions.any(|function| function.moves == Some(direction))
    };
    (has(Direction::Write), has(Direction::Read))
}

fn is_go_with_registers(elf: &Elf) -> bool {
    elf.beginning_of(go::BUILD_INFO, go::BUILD_INFO_LEN)
        .is_some_and(|info| go::has_register_abi(&info))
}

/// Offsets in the file of the places in a function.
fn places(elf: &Elf, symbol: Symbol, at: At) -> io::Result<Vec<u64>> {
    let Some(entry) = elf.offset(symbol.address) else {
        return Ok(Vec::new());
    };
    if at != At::Exits {
        return Ok(vec![entry]);
    }
    let len = usize::try_from(symbol.size.min(MAX_CODE)).unwrap_or(0);
    let code = elf.code(entry, len)?;
    Ok(go::exits(&code).into_iter().map(|exit| entry + exit).collect())
}

/// Marks in the constants of programs that have a TLS library in them: names of its source files, in
/// two halves, or this program's own constants would bear them.
const MARKS: &[([&str; 2], Library)] = &[
    (["ssl/ssl_", "lib.cc"], Library::BoringSsl),
    (["ssl/ssl_", "lib.c"], Library::OpenSsl),
    (["/rust", "ls-0."], Library::Rustls),
];
/// The same in the table of function names of Go.
const GO_MARK: &str = "crypto/tls.(*Conn).Write";
/// Programs that keep no marks.
const PROGRAMS: &[(&str, Library)] = &[("bun", Library::BoringSsl), ("deno", Library::Rustls)];

/// A program that has none of the symbols, but may have a TLS library all the same.
fn opaque(name: &str, elf: &Elf) -> io::Result<Option<Tls>> {
    let library = match PROGRAMS.iter().find(|(program, _)| *program == name) {
        Some((_, library)) => Some(*library),
        None => marked(elf)?,
    };
    let reason = if elf.has_symbols() {
        "the TLS library in the program has no symbols"
    } else {
        "the program is stripped: the functions of its TLS library cannot be found"
    };
    Ok(library.map(|library| Tls {
        library,
        sites: Vec::new(),
        reason: reason.to_owned(),
    }))
}

/// The library whose marks a program bears.
fn marked(elf: &Elf) -> io::Result<Option<Library>> {
    if elf.beginning_of(go::BUILD_INFO, 1).is_some() {
        let found = elf.mark_in(".gopclntab", &[GO_MARK])?;
        return Ok(found.map(|_| Library::Go));
    }
    let marks: Vec<String> = MARKS.iter().map(|(halves, _)| halves.concat()).collect();
    let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
    let found = elf.mark_in(".rodata", &marks)?;
    Ok(found.and_then(|mark| MARKS.get(mark)).map(|(_, library)| *library))
}
