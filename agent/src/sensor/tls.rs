//! Plaintext at the boundary of TLS libraries: finds the libraries of observed processes and
//! attaches the programs to their functions.

mod library;
mod search;

use std::collections::HashMap;

use aya::Ebpf;
use aya::programs::UProbe;
use aya::programs::uprobe::UProbeScope;

pub(super) use library::programs;
use search::{Found, Search};

use crate::hooks::HookStatus;

/// Binaries that are attached to at a time; further ones stay opaque.
const MAX_ATTACHED: usize = 512;

/// The search for TLS libraries, and what came of it.
pub(super) struct Tls {
    search: Search,
    attached: usize,
}

impl Tls {
    /// Loads the programs and starts the search. Without any of the programs, TLS stays opaque.
    pub(super) fn start(ebpf: &mut Ebpf) -> (Option<Self>, Vec<HookStatus>) {
        let mut refused = HashMap::new();
        for name in programs() {
            if let Err(reason) = load(ebpf, name) {
                refused.insert(name, reason);
            }
        }
        let statuses = programs().into_iter().map(|name| HookStatus {
            name: format!("uprobe {name}"),
            tier: 0,
            on: !refused.contains_key(name),
            reason: refused.get(name).cloned().unwrap_or_default(),
            lost: "calls inside TLS".to_owned(),
        });
        let statuses: Vec<_> = statuses.collect();
        if !refused.is_empty() {
            return (None, statuses);
        }
        match Search::start() {
            Ok((search, installed)) => {
                let mut tls = Self { search, attached: 0 };
                for found in &installed {
                    tls.attach(ebpf, found);
                }
                (Some(tls), statuses)
            }
            Err(error) => {
                log::warn!("TLS stays opaque: cannot start the search for its libraries: {error}");
                (None, statuses)
            }
        }
    }

    /// A process has come into view, or may have loaded a library.
    pub(super) fn look_at(&self, pid: u32) {
        self.search.look_at(pid);
    }

    /// Attaches to what was found since the last time.
    pub(super) fn attach_found(&mut self, ebpf: &mut Ebpf) {
        while let Some(found) = self.search.next() {
            self.attach(ebpf, &found);
        }
    }

    fn attach(&mut self, ebpf: &mut Ebpf, found: &Found) {
        if self.attached >= MAX_ATTACHED {
            log::warn!(
                "{} stays opaque: {MAX_ATTACHED} TLS libraries are watched already",
                found.path.display()
            );
            return;
        }
        self.attached += 1;
        attach(ebpf, found);
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe, String> {
    ebpf.program_mut(name)
        .ok_or_else(|| format!("the object has no program {name}"))?
        .try_into()
        .map_err(|error| super::error::in_full(&error))
}

fn load(ebpf: &mut Ebpf, name: &str) -> Result<(), String> {
    program(ebpf, name)?
        .load()
        .map_err(|error| super::error::in_full(&error))
}

fn attach(ebpf: &mut Ebpf, found: &Found) {
    for place in &found.places {
        let attached = program(ebpf, place.program).and_then(|program| {
            program
                .attach(place.offset, &found.path, UProbeScope::AllProcesses)
                .map_err(|error| super::error::in_full(&error))
        });
        if let Err(error) = attached {
            // Mostly a process that has ended meanwhile.
            log::debug!("{} is not attached to {}: {error}", place.program, found.path.display());
            return;
        }
    }
    log::debug!("watching TLS in {}", found.path.display());
}
