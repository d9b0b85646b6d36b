//! Where things are.

use std::path::{Path, PathBuf};

/// The top of the repository.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo's target folder: the user's choice, else `target`.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(chosen) => root().join(chosen),
        None => root().join("target"),
    }
}

/// A program that the release build leaves.
pub(crate) fn release(program: &str) -> PathBuf {
    target().join("release").join(program)
}

/// The eBPF object for kernels of architecture `arch`, where the agent's build script looks for it: first
/// beside the profiles of the target that it builds for.
pub(crate) fn bpf_object(arch: &str) -> PathBuf {
    let beside = if arch == std::env::consts::ARCH {
        target()
    } else {
        target().join(format!("{arch}-unknown-linux-gnu"))
    };
    beside.join("bpf/mcpsonar.bpf.o")
}

/// A folder for what is fetched once and used by all check-outs.
pub(crate) fn cache() -> PathBuf {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(chosen) if !chosen.is_empty() => PathBuf::from(chosen),
        _ => std::env::home_dir()
            .unwrap_or_else(|| PathBuf::from("/tmp"))
            .join(".cache"),
    };
    base.join("mcpsonar")
}

/// Where `cargo install` puts programs.
pub(crate) fn cargo_bin() -> Option<PathBuf> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => std::env::home_dir()?.join(".cargo"),
    };
    Some(home.join("bin"))
}
