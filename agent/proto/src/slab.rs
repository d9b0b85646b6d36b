//! Calls in flight, at places that are known by number.

/// A place, and which of its occupants over time is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    index: u32,
    generation: u32,
}

#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    /// Generation of entries that are new.
    base: u32,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            base: 0,
        }
    }

    /// Gives back its room, if it is empty. No slot of before is valid again.
    pub(crate) fn rest(&mut self) {
        if self.len() == 0 {
            self.base = self
                .entries
                .iter()
                .map(|(generation, _)| *generation + 1)
                .max()
                .unwrap_or(self.base);
            (self.entries, self.free) = (Vec::new(), Vec::new());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, value: T) -> Slot {
        if let Some(index) = self.free.pop()
            && let Some(entry) = self.entries.get_mut(index as usize)
        {
            entry.1 = Some(value);
            return Slot {
                index,
                generation: entry.0,
            };
        }
        let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.entries.push((self.base, Some(value)));
        Slot {
            index,
            generation: self.base,
        }
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let entry = self.entries.get_mut(slot.index as usize)?;
        if entry.0 == slot.generation {
            entry.1.as_mut()
        } else {
            None
        }
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        let entry = self.entries.get(slot.index as usize)?;
        if entry.0 == slot.generation {
            entry.1.as_ref()
        } else {
            None
        }
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        let entry = self.entries.get_mut(slot.index as usize)?;
        if entry.0 != slot.generation {
            return None;
        }
        let value = entry.1.take()?;
        entry.0 = entry.0.wrapping_add(1);
        self.free.push(slot.index);
        Some(value)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().filter_map(|entry| entry.1.as_mut())
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.entries.iter().zip(0..).filter_map(|((generation, value), index)| {
            value.as_ref().map(|value| {
                (
                    Slot {
                        index,
                        generation: *generation,
                    },
                    value,
                )
            })
        })
    }
}
