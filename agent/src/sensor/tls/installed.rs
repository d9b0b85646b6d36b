//! Binaries that processes are about to run: hooked before they do, the first byte of TLS is seen.

use std::fs;
use std::path::{Path, PathBuf};

/// Where distributions keep libraries.
const LIBRARIES: [&str; 8] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "usr/local/lib",
    "usr/local/lib64",
    "lib64",
    "lib",
];
/// Where they keep programs, and which of these have a TLS library of their own.
const PROGRAMS: [&str; 2] = ["usr/bin/node", "usr/local/bin/node"];
/// Files of one directory that are looked at.
const MAX_FILES: usize = 16_384;

/// The TLS libraries and programs that are installed under a root directory.
pub(super) fn installed(root: &Path) -> Vec<PathBuf> {
    let libraries = LIBRARIES
        .iter()
        .filter_map(|directory| fs::read_dir(root.join(directory)).ok());
    let libraries = libraries
        .flat_map(|entries| entries.take(MAX_FILES).flatten())
        .map(|entry| entry.path());
    let programs = PROGRAMS.iter().map(|program| root.join(program));
    libraries.filter(|path| is_tls_library(path)).chain(programs).collect()
}

fn is_tls_library(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with("libssl") && name.contains(".so"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_by_name() {
        for name in ["/lib/libssl.so.3", "libssl.so", "x/libssl-1a2b.so.1.1"] {
            assert!(is_tls_library(Path::new(name)), "{name}");
        }
        for name in ["/lib/libssl.a", "libcrypto.so.3", "/"] {
            assert!(!is_tls_library(Path::new(name)), "{name}");
        }
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/lib")).unwrap();
        fs::write(root.path().join("usr/lib/libssl.so.3"), "").unwrap();
        assert!(installed(root.path()).contains(&root.path().join("usr/lib/libssl.so.3")));
    }
}
