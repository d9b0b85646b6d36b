//! Binaries that have been looked into, each once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::binary::{Tls, examine};
use crate::host::{self, FileId, MappedFile};

/// Binaries of which it is known what they have; beyond it all are forgotten.
const MAX_KNOWN: usize = 8192;

/// What binaries have of TLS.
#[derive(Default)]
pub(super) struct Catalogue {
    known: HashMap<FileId, Option<Arc<Tls>>>,
}

impl Catalogue {
    /// What the file at `open` has of TLS. `program` is its name when it is the program of a process.
    pub(super) fn look(&mut self, open: &Path, program: Option<&str>) -> Option<(FileId, Arc<Tls>)> {
        let id = host::file_id(open)?;
        if let Some(known) = self.known.get(&id) {
            return known.clone().map(|tls| (id, tls));
        }
        let found = examine(open, program).unwrap_or_else(|error| {
            // Mostly a process that has ended meanwhile, or code that is not an ELF file.
            log::debug!("{} is not searched for TLS: {error}", open.display());
            None
        });
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        let found = found.map(Arc::new);
        self.known.insert(id, found.clone());
        found.map(|tls| (id, tls))
    }

    /// The TLS libraries of a process.
    pub(super) fn of_process(&mut self, pid: u32) -> Vec<(MappedFile, FileId, Arc<Tls>)> {
        let program = host::file_id(Path::new(&format!("/proc/{pid}/exe")));
        let mut found = Vec::new();
        for file in host::executable_files(pid) {
            let name = file.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_program = program.is_some() && host::file_id(&file.open) == program;
            if let Some((id, tls)) = self.look(&file.open, is_program.then_some(name)) {
                found.push((file, id, tls));
            }
        }
        found
    }

    /// Another look finds nothing to hook in this binary.
    pub(super) fn give_up(&mut self, id: FileId) {
        self.known.insert(id, None);
    }
}
