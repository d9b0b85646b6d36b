//! The compiler and the linker of the eBPF programs.
//!
//! No stable toolchain ships `core` for the bpf target, so `core` is built with the programs, which
//! takes a compiler with its library's source: a rustup nightly with `rust-src`, or Debian's
//! `rustc-web` with `rust-web-src`. bpf-linker reads what the compiler writes only if its LLVM is at
//! least as new.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sh;

/// A compiler that can build `core`.
#[derive(Debug)]
pub(crate) enum Compiler {
    /// `rustup run nightly`.
    Nightly(Facts),
    /// The distribution's own.
    Debian(Facts),
}

/// What is known of a compiler.
#[derive(Debug)]
pub(crate) struct Facts {
    /// `rustc 1.96.0 (...)`.
    pub(crate) version: String,
    /// The major version of its LLVM.
    pub(crate) llvm: u32,
}

/// An installed bpf-linker.
#[derive(Debug)]
pub(crate) struct Linker {
    /// The program.
    pub(crate) path: PathBuf,
    /// `0.13.0`.
    pub(crate) version: String,
    /// The major version of the LLVM library that it loads; none when that is linked in.
    pub(crate) llvm: Option<u32>,
}

/// The name of the rustup toolchain that is tried.
pub(crate) const NIGHTLY: &str = "nightly";
/// Debian's compiler.
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Debian's cargo.
pub(crate) const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// The compilers that are installed with the source of `core`, best first.
pub(crate) fn compilers() -> Vec<Compiler> {
    let mut found = Vec::new();
    if nightly_has_source()
        && let Some(facts) = facts(&mut nightly("rustc"))
    {
        found.push(Compiler::Nightly(facts));
    }
    if Path::new(DEBIAN_CARGO).exists()
        && has_source(Path::new("/usr"))
        && let Some(facts) = facts(&mut clean(DEBIAN_RUSTC))
    {
        found.push(Compiler::Debian(facts));
    }
    found
}

/// The installed bpf-linker.
pub(crate) fn linker() -> Option<Linker> {
    let path = sh::which("bpf-linker")?;
    let version = sh::ask(sh::cmd(&path).arg("--version"))?;
    let libraries = sh::ask(sh::cmd("ldd").arg(&path)).unwrap_or_default();
    Some(Linker {
        version: version.split_whitespace().last()?.to_owned(),
        llvm: libraries.split_once("libLLVM").and_then(|(_, rest)| {
            let rest = rest.trim_start_matches(['-', '.']).trim_start_matches("so.");
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        }),
        path,
    })
}

impl Linker {
    /// Whether this linker is good for `compiler`.
    pub(crate) fn fits(&self, compiler: &Compiler) -> bool {
        self.is_recent() && self.llvm.is_none_or(|llvm| llvm >= compiler.facts().llvm)
    }

    /// Before 0.11 a global variable made BTF that the kernel refuses; 0.13 is what is tested.
    fn is_recent(&self) -> bool {
        let mut numbers = self.version.split('.').map_while(|n| n.parse::<u32>().ok());
        (numbers.next(), numbers.next()) >= (Some(0), Some(13))
    }
}

impl Compiler {
    pub(crate) fn facts(&self) -> &Facts {
        match self {
            Self::Nightly(facts) | Self::Debian(facts) => facts,
        }
    }

    pub(crate) fn has_clippy(&self) -> bool {
        match self {
            Self::Nightly(_) => nightly_folder().is_some_and(|folder| folder.join("bin/cargo-clippy").exists()),
            Self::Debian(_) => Path::new("/usr/bin/cargo-clippy").exists(),
        }
    }

    /// A cargo that compiles with this compiler, in an environment free of what `cargo xtask` and
    /// the user have set for the other packages.
    pub(crate) fn cargo(&self) -> Command {
        match self {
            Self::Nightly(_) => nightly("cargo"),
            Self::Debian(_) => {
                let mut cargo = clean(DEBIAN_CARGO);
                cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
        }
    }
}

impl std::fmt::Display for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Facts { version, llvm } = self.facts();
        write!(f, "{version} with LLVM {llvm}")
    }
}

/// Whether rustup has a nightly, and that the source of `core`. Answered from the folders, because
/// rustup itself may want to download what is missing.
fn nightly_has_source() -> bool {
    nightly_folder().is_some_and(|folder| has_source(&folder))
}

/// The folder of rustup's nightly toolchain.
pub(crate) fn nightly_folder() -> Option<PathBuf> {
    let home = match std::env::var_os("RUSTUP_HOME") {
        Some(home) => PathBuf::from(home),
        None => std::env::home_dir()?.join(".rustup"),
    };
    let machine = std::env::consts::ARCH;
    let folder = home.join(format!("toolchains/{NIGHTLY}-{machine}-unknown-linux-gnu"));
    (folder.is_dir() && sh::which("rustup").is_some()).then_some(folder)
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
}

fn facts(rustc: &mut Command) -> Option<Facts> {
    let text = sh::ask(rustc.arg("-vV"))?;
    let llvm = text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    Some(Facts {
        version: text.lines().next()?.to_owned(),
        llvm: llvm.split('.').next()?.parse().ok()?,
    })
}

fn nightly(program: &str) -> Command {
    let mut command = clean("rustup");
    command.env("RUSTUP_AUTO_INSTALL", "0").args(["run", NIGHTLY, program]);
    command
}

/// A command without the variables that steer another cargo, rustc or rustup.
pub(crate) fn clean(program: &str) -> Command {
    let mut command = sh::cmd(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let keep = [
            "CARGO_HOME",
            "CARGO_NET_",
            "CARGO_HTTP_",
            "CARGO_REGISTR",
            "CARGO_TERM_",
        ];
        let steers = name.starts_with("CARGO")
            || name.starts_with("RUSTC")
            || name.starts_with("RUSTDOC")
            || [
                "RUSTFLAGS",
                "RUSTUP_TOOLCHAIN",
                "RUST_RECURSION_COUNT",
                "LD_LIBRARY_PATH",
            ]
            .contains(&&*name);
        if steers && !keep.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&*name);
        }
    }
    command
}
