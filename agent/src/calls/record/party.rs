//! One side of a call, as it goes out.

use std::sync::Arc;

use mcp_proto::Endpoint;
use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::host::ProcessFacts;

/// One side of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// Its own word for its name: a label, never to be trusted.
    pub name: Option<Box<str>>,
    /// Its own word for its version.
    pub version: Option<Box<str>>,
    /// The process, when it was seen.
    pub facts: Option<Arc<ProcessFacts>>,
}

impl Party {
    pub(in crate::calls) fn new(endpoint: Endpoint, facts: Option<&Arc<ProcessFacts>>) -> Option<Self> {
        let Endpoint {
            process: _,
            name,
            version,
        } = endpoint;
        let party = Self {
            name,
            version,
            facts: facts.cloned(),
        };
        (party != Self::default()).then_some(party)
    }

    /// What to call it: its own name, else its process's.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        let comm = || self.facts.as_ref().and_then(|facts| facts.comm.as_deref());
        self.name.as_deref().or_else(comm)
    }
}

impl Serialize for Party {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let facts = self.facts.as_deref();
        let mut out = serializer.serialize_struct("Party", 8)?;
        out.serialize_field("pid", &facts.map(|facts| facts.pid))?;
        out.serialize_field("name", &self.name)?;
        out.serialize_field("version", &self.version)?;
        out.serialize_field("comm", &facts.and_then(|facts| facts.comm.as_deref()))?;
        out.serialize_field("exe", &facts.and_then(|facts| facts.exe.as_deref()))?;
        out.serialize_field("cmdline", &facts.map(|facts| &facts.cmdline))?;
        out.serialize_field("cgroup", &facts.and_then(|facts| facts.cgroup.as_deref()))?;
        out.serialize_field("container", &facts.and_then(|facts| facts.container.as_deref()))?;
        out.end()
    }
}
