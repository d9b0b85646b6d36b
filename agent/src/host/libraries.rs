//! The files that a process runs code from.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Lines of a process's memory map that are read: some processes have a million.
const MAX_LINES: usize = 16_384;

/// A file of which a process has mapped a part that may be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// As the process knows it.
    pub path: PathBuf,
    /// As this process can open it, from whatever mount namespace, also when it was deleted or
    /// replaced: good while the process lives.
    pub open: PathBuf,
}

/// Tells a file from every other: device, inode number, size and time of the last change.
pub type FileId = (u64, u64, u64, i64);

/// The identity of the file at `path`. `None` when there is none, or it may not be looked at.
#[must_use]
pub fn file_id(path: &Path) -> Option<FileId> {
    let data = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some((data.dev(), data.ino(), data.size(), data.mtime()))
}

/// The files that a process runs code from, its program among them. None of a process that is gone
/// or may not be looked into.
#[must_use]
pub fn executable_files(pid: u32) -> Vec<MappedFile> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let Ok(maps) = File::open(process.join("maps")) else {
        return Vec::new();
    };
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    let lines = BufReader::new(maps).split(b'\n').take(MAX_LINES);
    for line in lines.map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if let Some(mapping) = Mapping::parse(&line)
            && seen.insert((mapping.device.to_owned(), mapping.inode))
        {
            files.push(mapping.file(&process));
        }
    }
    files
}

/// What a line of `/proc/PID/maps` says of a mapped file: address, permissions, offset, device,
/// inode number, path.
struct Mapping<'a> {
    range: &'a str,
    device: &'a str,
    inode: u64,
    path: &'a str,
}

impl<'a> Mapping<'a> {
    /// `None` of anything but executable code from a file.
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let range = fields.next()?;
        if !fields.next()?.contains('x') {
            return None;
        }
        let device = fields.nth(1)?;
        let inode = fields.next()?.parse().ok().filter(|&inode| inode != 0)?;
        let path = fields.next()?.trim_start();
        path.starts_with('/').then_some(Self {
            range,
            device,
            inode,
            path,
        })
    }

    fn file(&self, process: &Path) -> MappedFile {
        let path = Path::new(self.path.strip_suffix(" (deleted)").unwrap_or(self.path));
        let open = process.join("root").join(path.strip_prefix("/").unwrap_or(path));
        // Deleted, replaced or hidden by a mount: what is mapped is still to be had.
        let same = fs::metadata(&open).is_ok_and(|data| data.ino() == self.inode);
        MappedFile {
            open: if same {
                open
            } else {
                process.join("map_files").join(self.range)
            },
            path: path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let code = "7f00-7f10 r-xp 00001000 fe:01 42   /usr/lib/a library.so";
        let mapping = Mapping::parse(code).unwrap();
        assert_eq!(
            (mapping.range, mapping.device, mapping.inode, mapping.path),
            ("7f00-7f10", "fe:01", 42, "/usr/lib/a library.so")
        );
        for other in [
            "7f00-7f10 r--p 00001000 fe:01 42   /usr/lib/a.so",
            "7f00-7f10 r-xp 00000000 00:00 0   [vdso]",
            "7f00-7f10 r-xp 00000000 00:00 0",
            "7f00-7f10 r-xp 00000000 00:05 7   anon_inode:[x]",
            "",
        ] {
            assert!(Mapping::parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn own_program_is_mapped() {
        let own = file_id(Path::new("/proc/self/exe"));
        assert!(own.is_some());
        let files = executable_files(std::process::id());
        assert!(files.iter().any(|file| file_id(&file.open) == own), "{files:?}");
        assert!(executable_files(u32::MAX).is_empty());
    }
}
