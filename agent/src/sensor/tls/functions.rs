//! The functions of TLS libraries that are hooked: their names in binaries, and which program goes
//! where. The programs are in `agent-ebpf/src/tls`.

use super::Library;

/// Where in a function a program goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Its first instruction.
    Entry,
    /// Where it returns to.
    Return,
    /// Each of its return instructions: for functions whose stack may move meanwhile.
    Exits,
}

/// What a function is called.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    /// This, exactly.
    Exact(&'static str),
    /// Something that contains all of the fragments of one list: Rust's mangled names, of which the
    /// second list is for the mangling that is called v0.
    Mangled([&'static [&'static str]; 2]),
}

impl Name {
    /// Whether `name` is this one's.
    pub(super) fn matches(self, name: &[u8]) -> bool {
        let contains = |fragment: &&str| memchr::memmem::find(name, fragment.as_bytes()).is_some();
        match self {
            Self::Exact(exact) => name == exact.as_bytes(),
            Self::Mangled(lists) => lists.iter().any(|list| list.iter().all(contains)),
        }
    }
}

/// A function and what is done with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    pub(super) library: Library,
    pub(super) name: Name,
    /// Programs and their places.
    pub(super) hooks: &'static [(&'static str, At)],
    /// The direction that is seen by it.
    pub(super) moves: Option<Direction>,
}

/// What a function moves plaintext for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Write,
    Read,
}

const fn ssl(name: &'static str, hooks: &'static [(&'static str, At)], moves: Option<Direction>) -> Function {
    Function {
        library: Library::OpenSsl,
        name: Name::Exact(name),
        hooks,
        moves,
    }
}

const fn go(name: &'static str, hooks: &'static [(&'static str, At)], moves: Option<Direction>) -> Function {
    Function {
        library: Library::Go,
        name: Name::Exact(name),
        hooks,
        moves,
    }
}

const fn rustls(
    legacy: &'static [&'static str],
    v0: &'static [&'static str],
    hooks: &'static [(&'static str, At)],
    moves: Option<Direction>,
) -> Function {
    Function {
        library: Library::Rustls,
        name: Name::Mangled([legacy, v0]),
        hooks,
        moves,
    }
}

use At::{Entry, Exits, Return};
use Direction::{Read, Write};

/// What names begin with, or contain, at the point where a search for them begins.
pub(super) const ANCHORS: [&str; 4] = ["SSL_", "crypto/tls.(*Conn).", "6rustls", "rustls..conn.."];

/// Every function.
pub(super) const FUNCTIONS: &[Function] = &[
    ssl(
        "SSL_write",
        &[("ssl_write", Entry), ("ssl_return", Return)],
        Some(Write),
    ),
    ssl(
        "SSL_write_ex",
        &[("ssl_write_ex", Entry), ("ssl_return", Return)],
        Some(Write),
    ),
    ssl("SSL_read", &[("ssl_read", Entry), ("ssl_return", Return)], Some(Read)),
    ssl(
        "SSL_read_ex",
        &[("ssl_read_ex", Entry), ("ssl_return", Return)],
        Some(Read),
    ),
    ssl("SSL_do_handshake", &[("ssl_handshake", Entry)], None),
    ssl("SSL_connect", &[("ssl_handshake", Entry)], None),
    ssl("SSL_accept", &[("ssl_handshake", Entry)], None),
    ssl("SSL_shutdown", &[("ssl_handshake", Entry)], None),
    ssl("SSL_new", &[("ssl_new", Return)], None),
    ssl("SSL_free", &[("ssl_free", Entry)], None),
    ssl("SSL_clear", &[("ssl_clear", Entry)], None),
    go(
        "crypto/tls.(*Conn).Write",
        &[("go_write", Entry), ("go_return", Exits)],
        Some(Write),
    ),
    go(
        "crypto/tls.(*Conn).Read",
        &[("go_read", Entry), ("go_return", Exits)],
        Some(Read),
    ),
    go("crypto/tls.(*Conn).clientHandshake", &[("go_handshake", Entry)], None),
    go("crypto/tls.(*Conn).serverHandshake", &[("go_handshake", Entry)], None),
    go("crypto/tls.(*Conn).Close", &[("go_close", Entry)], None),
    rustls(
        &["rustls..conn..ConnectionCommon", "PlaintextSink$GT$5write17h"],
        &["6rustls4conn", "13PlaintextSink5write"],
        &[("rustls_write", Entry), ("rustls_return", Return)],
        Some(Write),
    ),
    rustls(
        &["rustls..conn..ConnectionCommon", "PlaintextSink$GT$14write_vectored17h"],
        &["6rustls4conn", "13PlaintextSink14write_vectored"],
        &[("rustls_write_vectored", Entry), ("rustls_return", Return)],
        Some(Write),
    ),
    rustls(
        &["6rustls4conn", "ConnectionCommon$LT$", "8read_tls17h"],
        &["6rustls4conn", "16ConnectionCommon", "8read_tls"],
        &[("rustls_read_tls", Entry)],
        None,
    ),
    rustls(
        &["6rustls6vecbuf14ChunkVecBuffer6append17h"],
        &["6rustls6vecbuf", "14ChunkVecBuffer6append"],
        &[("rustls_append", Entry)],
        Some(Read),
    ),
    rustls(
        &["drop_in_place$LT$rustls..conn..ConnectionCommon$LT$"],
        &["13drop_in_placeINtNtC", "6rustls4conn16ConnectionCommon"],
        &[("rustls_drop", Entry)],
        None,
    ),
];

/// A function that BoringSSL has and OpenSSL has not.
pub(super) const BORINGSSL: &str = "SSL_CTX_set_grease_enabled";

/// Every program that is attached to functions of binaries.
pub(in crate::sensor) fn programs() -> Vec<&'static str> {
    let mut programs: Vec<_> = FUNCTIONS
        .iter()
        .flat_map(|function| function.hooks.iter().map(|(program, _)| *program))
        .collect();
    programs.sort_unstable();
    programs.dedup();
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(name: &str) -> Vec<&'static str> {
        let found = FUNCTIONS
            .iter()
            .filter(|function| function.name.matches(name.as_bytes()));
        found.map(|function| function.hooks[0].0).collect()
    }

    #[test]
    fn names_of_binaries() {
        let names = [
            ("SSL_write", "ssl_write"),
            ("SSL_write_ex", "ssl_write_ex"),
            ("crypto/tls.(*Conn).Read", "go_read"),
            (
                "_ZN99_$LT$rustls..conn..ConnectionCommon$LT$T$GT$$u20$as$u20$rustls..conn..connection..PlaintextSink$GT$14write_vectored17h986c9835b3a2f4f4E",
                "rustls_write_vectored",
            ),
            (
                "_ZN99_$LT$rustls..conn..ConnectionCommon$LT$T$GT$$u20$as$u20$rustls..conn..connection..PlaintextSink$GT$5write17h613380039354d0e7E",
                "rustls_write",
            ),
            (
                "_ZN6rustls4conn28ConnectionCommon$LT$Data$GT$8read_tls17h8ce49894f28959bdE",
                "rustls_read_tls",
            ),
            (
                "_ZN6rustls6vecbuf14ChunkVecBuffer6append17h48cde9819ffe4a6eE",
                "rustls_append",
            ),
            (
                "_ZN4core3ptr108drop_in_place$LT$rustls..conn..ConnectionCommon$LT$rustls..client..client_conn..ClientConnectionData$GT$$GT$17hcb8ca50046202ce1E.llvm.1",
                "rustls_drop",
            ),
        ];
        for (name, program) in names {
            assert_eq!(matching(name), [program], "{name}");
        }
        for other in [
            "SSL_writev",
            "my_SSL_write",
            "crypto/tls.(*Conn).ReadFrom",
            "_ZN6rustls6vecbuf14ChunkVecBuffer19append_limited_copy17hc6999b85fbf73157E",
        ] {
            assert!(matching(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn every_program_is_named_once() {
        let programs = programs();
        assert!(programs.contains(&"ssl_return") && programs.contains(&"go_return"));
        assert!(programs.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
