//! What was not seen, or seen and not delivered, by name.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;

/// Counts of everything that went missing. Names are stable: they go into output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Losses(BTreeMap<Cow<'static, str>, u64>);

impl Losses {
    /// Adds `count` to the losses called `name`. Nothing lost is not mentioned.
    pub fn add(&mut self, name: impl Into<Cow<'static, str>>, count: u64) {
        if count > 0 {
            *self.0.entry(name.into()).or_default() += count;
        }
    }

    /// Whether nothing was lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and counts, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, count)| (name.as_ref(), *count))
    }
}

impl std::fmt::Display for Losses {
    /// `name=count` for each, separated by spaces.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, count)) in self.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{name}={count}")?;
        }
        Ok(())
    }
}
