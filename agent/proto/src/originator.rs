//! The requests of one direction of a conversation, by what the peers name them by.

use std::collections::{HashMap, VecDeque};

use crate::hash::Seeded;
use crate::slab::Slot;

/// What belongs to the requests of one direction.
#[derive(Debug, Default)]
pub(crate) struct Originator {
    /// By what the peers may name its calls; over HTTP only while there are any.
    pub(crate) names: Option<Box<Names>>,
    pub(crate) sequence: u64,
}

/// The calls of one direction, by what peers name them by.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) ids: HashMap<Box<str>, Slot, Seeded>,
    /// Progress tokens that differ from the id.
    pub(crate) tokens: HashMap<Box<str>, Slot, Seeded>,
    pub(crate) cancelled: VecDeque<Box<str>>,
}

impl Originator {
    pub(crate) fn by_id(&self, id: &str) -> Option<Slot> {
        self.names.as_ref()?.ids.get(id).copied()
    }

    pub(crate) fn by_token(&self, token: &str) -> Option<Slot> {
        self.names.as_ref()?.tokens.get(token).copied()
    }

    pub(crate) fn names(&mut self) -> &mut Names {
        self.names.get_or_insert_default()
    }

    /// Gives back the room of what is over.
    pub(crate) fn rest(&mut self) {
        if let Some(names) = &mut self.names {
            names.ids.shrink_to_fit();
            names.tokens.shrink_to_fit();
            if names.ids.is_empty() && names.tokens.is_empty() && names.cancelled.is_empty() {
                self.names = None;
            }
        }
    }
}
