//! The series that calls are counted in: server, client, method and tool, and a number for each.

use std::collections::HashMap;

use super::limits::{MAX_NAME, MAX_SERIES};
use crate::calls::{CallRecord, Party};

/// What names beyond the bound share.
const OTHER: &str = "_OTHER";
const UNKNOWN: &str = "?";
/// Between the names of a key; no name holds it.
const SEPARATOR: char = '\0';

/// Numbers of series. The names come from the wire: they are bounded in length and number.
#[derive(Debug, Default)]
pub(super) struct Names {
    ids: HashMap<Box<str>, i64>,
    /// The next number.
    next: i64,
    /// Those that are not in the database yet.
    fresh: Vec<i64>,
    /// To look up without an allocation.
    key: String,
    pub(super) overflowed: u64,
}

impl Names {
    /// Takes over the numbers of a database. The answer says which of the numbers that were given
    /// out before have become others.
    pub(super) fn adopt(&mut self, known: impl Iterator<Item = (i64, [String; 4])>) -> HashMap<i64, i64> {
        let known = known
            .map(|(id, names)| (names.join("\0").into_boxed_str(), id))
            .collect();
        let before = std::mem::replace(&mut self.ids, known);
        self.next = self.ids.values().max().map_or(1, |last| last + 1);
        self.fresh.clear();
        let mut moved = HashMap::new();
        for (key, old) in before {
            let id = *self.ids.entry(key).or_insert_with(|| {
                self.fresh.push(self.next);
                self.next += 1;
                self.next - 1
            });
            moved.insert(old, id);
        }
        moved
    }

    /// The number of the call's series.
    pub(super) fn of(&mut self, call: &CallRecord) -> i64 {
        self.key.clear();
        let label = |party: &Option<Party>| party.as_ref().and_then(Party::label).unwrap_or(UNKNOWN).to_owned();
        let [server, client] = [&call.server, &call.client].map(label);
        for (index, name) in [
            &server,
            &client,
            &*call.method,
            call.tool.as_deref().unwrap_or_default(),
        ]
        .into_iter()
        .enumerate()
        {
            if index > 0 {
                self.key.push(SEPARATOR);
            }
            push_bounded(&mut self.key, name);
        }
        if let Some(&id) = self.ids.get(self.key.as_str()) {
            return id;
        }
        if self.ids.len() >= MAX_SERIES {
            self.overflowed += 1;
            self.key.clear();
            self.key.push_str(&[OTHER; 4].join("\0"));
            if let Some(&id) = self.ids.get(self.key.as_str()) {
                return id;
            }
        }
        let id = self.next;
        self.next += 1;
        self.ids.insert(self.key.as_str().into(), id);
        self.fresh.push(id);
        id
    }

    /// Those that are to be written, with their names.
    pub(super) fn fresh(&self) -> Vec<(i64, [String; 4])> {
        if self.fresh.is_empty() {
            return Vec::new();
        }
        let fresh: std::collections::HashSet<_> = self.fresh.iter().copied().collect();
        self.ids
            .iter()
            .filter(|(_, id)| fresh.contains(id))
            .map(|(key, &id)| {
                let mut names = key.split(SEPARATOR).map(str::to_owned);
                (id, std::array::from_fn(|_| names.next().unwrap_or_default()))
            })
            .collect()
    }

    /// They have been written.
    pub(super) fn written(&mut self) {
        self.fresh.clear();
    }

    /// Forgets series that are no longer in the database.
    pub(super) fn forget(&mut self, gone: &[i64]) {
        self.ids.retain(|_, id| !gone.contains(id));
    }
}

/// The name as far as it may go, without what separates names.
pub(super) fn bounded(name: &str) -> String {
    let mut out = String::new();
    push_bounded(&mut out, name);
    out
}

fn push_bounded(out: &mut String, name: &str) {
    let end = name.floor_char_boundary(MAX_NAME);
    out.extend(name[..end].chars().map(|c| if c == SEPARATOR { ' ' } else { c }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::record::tests::{call, record};

    fn of_tool(names: &mut Names, tool: &str) -> i64 {
        let mut call = call();
        call.tool = Some(tool.into());
        names.of(&record(call))
    }

    #[test]
    fn the_same_names_have_the_same_number() {
        let mut names = Names::default();
        let (a, b) = (of_tool(&mut names, "a"), of_tool(&mut names, "b"));
        assert_ne!(a, b);
        assert_eq!(of_tool(&mut names, "a"), a);
        let fresh = names.fresh();
        assert_eq!(fresh.len(), 2);
        names.written();
        assert!(names.fresh().is_empty());
        let mut again = Names::default();
        let early = of_tool(&mut again, "b");
        let new = of_tool(&mut again, "new");
        let moved = again.adopt(fresh.into_iter());
        assert_eq!(
            moved[&early], b,
            "a number that was given out before the file could be read"
        );
        assert!(moved[&new] > b.max(a));
        assert_eq!(of_tool(&mut again, "b"), b);
        assert_eq!(again.fresh().len(), 1);
    }

    #[test]
    fn names_without_end_share_one_number() {
        let mut names = Names::default();
        for n in 0..MAX_SERIES {
            of_tool(&mut names, &n.to_string());
        }
        let other = of_tool(&mut names, "one more");
        assert_eq!(of_tool(&mut names, "and more"), other);
        assert_eq!(names.overflowed, 2);
        assert_eq!(bounded(&"é".repeat(500)).len(), MAX_NAME);
        assert_eq!(bounded("a\0b"), "a b");
    }
}
