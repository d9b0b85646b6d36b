//! An initramfs: the files that a guest is given, as a "newc" archive.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::sh;

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;

/// An archive being written. Parents come by themselves, and what is there already stays.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    there: BTreeSet<PathBuf>,
}

impl Archive {
    pub(crate) fn dir(&mut self, path: &Path) {
        if path.parent().is_none() || self.there.contains(path) {
            return;
        }
        self.parents(path);
        self.entry(path, DIRECTORY, &[]);
    }

    pub(crate) fn link(&mut self, path: &Path, to: &str) {
        self.parents(path);
        self.entry(path, LINK, to.as_bytes());
    }

    /// A file with these contents and permissions.
    pub(crate) fn file(&mut self, path: &Path, permissions: u32, contents: &[u8]) {
        self.parents(path);
        self.entry(path, FILE | permissions, contents);
    }

    /// A file or folder of this machine, with the shared libraries of the programs in it.
    pub(crate) fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        let facts = fs::metadata(from).with_context(|| format!("cannot give {} to the guest", from.display()))?;
        if facts.is_dir() {
            self.dir(to);
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                self.copy(&entry.path(), &to.join(entry.file_name()))?;
            }
            return Ok(());
        }
        if self.there.contains(to) {
            return Ok(());
        }
        let permissions = facts.permissions().mode() & 0o777;
        let contents = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.file(to, permissions, &contents);
        if permissions & 0o100 != 0 && contents.starts_with(b"\x7fELF") {
            for library in libraries(from) {
                self.copy(&library, &library)?;
            }
        }
        Ok(())
    }

    /// A file of this machine alone: a root brings its own libraries.
    pub(crate) fn give(&mut self, from: &Path, to: &Path) -> Result<()> {
        let unreadable = || format!("cannot give {} to the guest", from.display());
        let permissions = fs::metadata(from).with_context(unreadable)?.permissions().mode() & 0o777;
        let contents = fs::read(from).with_context(unreadable)?;
        self.file(to, permissions, &contents);
        Ok(())
    }

    /// A whole root with its links and permissions; everything is root's, and devices are left to the guest.
    pub(crate) fn tree(&mut self, root: &Path) -> Result<()> {
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
            for entry in entries {
                let path = entry?.path();
                let to = Path::new("/").join(path.strip_prefix(root).unwrap_or(&path));
                let about = fs::symlink_metadata(&path)?;
                let kind = about.file_type();
                if kind.is_symlink() {
                    self.link(&to, &fs::read_link(&path)?.to_string_lossy());
                } else if kind.is_dir() {
                    self.entry(&to, about.permissions().mode(), &[]);
                    folders.push(path);
                } else if kind.is_file() {
                    let contents = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                    self.entry(&to, about.permissions().mode(), &contents);
                }
            }
        }
        Ok(())
    }

    /// The archive, closed.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.raw("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn parents(&mut self, path: &Path) {
        if let Some(parent) = path.parent() {
            self.dir(parent);
        }
    }

    fn entry(&mut self, path: &Path, mode: u32, contents: &[u8]) {
        if self.there.insert(path.to_owned()) {
            let name = path.to_string_lossy();
            self.raw(name.trim_start_matches('/'), mode, contents);
        }
    }

    fn raw(&mut self, name: &str, mode: u32, contents: &[u8]) {
        let inode = self.there.len();
        let links = if mode == DIRECTORY { 2 } else { 1 };
        let (size, name_size) = (contents.len(), name.len() + 1);
        // Magic, inode, mode, uid, gid, links, time, size, device (2), special device (2), name's size, checksum.
        let head = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{links:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{name_size:08x}{0:08x}",
            0
        );
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(contents);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The shared libraries of a program, by `ldd`. None for a static one.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let text = sh::ask(sh::cmd("ldd").arg(program)).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parent_is_there_once_and_entries_are_aligned() {
        let mut archive = Archive::default();
        archive.file(Path::new("/a/b/c"), 0o644, b"12345");
        archive.file(Path::new("/a/b/d"), 0o644, b"1");
        archive.file(Path::new("/a/b/d"), 0o644, b"second is ignored");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(bytes.windows(6).filter(|w| w == b"070701").count(), 5);
    }
}
