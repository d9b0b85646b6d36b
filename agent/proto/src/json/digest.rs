//! A hash of what a request asks, for telling that two ask the same.

use super::envelope::{HASH_SEED, hash};
use crate::limits::Limits;

/// The parameters that are no field of the envelope and no `_meta`, hashed as they are written, in any order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Digest {
    /// The sum over those that are complete.
    sum: u64,
    /// The one under way.
    open: Option<u64>,
    /// Bytes so far; more than the limit are not worth the time.
    bytes: usize,
}

impl Digest {
    pub(super) fn begin(&mut self, key: &[u8]) {
        self.open = Some(hash(HASH_SEED, key));
    }

    /// A part is missing: nobody knows what is asked.
    pub(super) fn lose(&mut self) {
        self.bytes = usize::MAX;
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn push(&mut self, bytes: &[u8], limits: &Limits) {
        self.bytes = self.bytes.saturating_add(bytes.len());
        if let Some(open) = &mut self.open
            && self.bytes <= limits.digest_bytes
        {
            *open = hash(*open, bytes);
        }
    }

    pub(super) fn end(&mut self) {
        self.sum = self.sum.wrapping_add(self.open.take().unwrap_or(0));
    }

    /// `None` when there was too much of it.
    pub(super) fn value(&self, limits: &Limits) -> Option<u64> {
        (self.bytes <= limits.digest_bytes && self.open.is_none()).then_some(self.sum)
    }
}

#[cfg(test)]
mod tests {
    use crate::json::Scanner;
    use crate::limits::Limits;

    fn of(params: &str, pieces: usize) -> Option<u64> {
        let limits = Limits::default();
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let mut scanner = Scanner::new();
        for (index, piece) in text.as_bytes().chunks(pieces).enumerate() {
            scanner.push((index * pieces) as u64, piece, &limits);
        }
        scanner.envelope().request_hash(&limits)
    }

    #[test]
    fn the_same_is_asked_in_any_pieces_and_order() {
        let asked = r#"{"name":"a","arguments":{"x":[1,"}\\\""],"y":null},"n":1.5e3,"s":"t"}"#;
        let other =
            r#"{"s":"t","_meta":{"progressToken":7},"n":1.5e3,"name":"a","arguments":{"x":[1,"}\\\""],"y":null}}"#;
        let whole = of(asked, usize::MAX);
        assert!(whole.is_some());
        for pieces in [1, 2, 3, 7, usize::MAX] {
            assert_eq!(of(asked, pieces), whole, "{pieces}");
            assert_eq!(of(other, pieces), whole, "{pieces}");
        }
    }

    #[test]
    fn what_differs_is_told_apart() {
        let all = [
            r#"{"name":"a","arguments":{"x":1}}"#,
            r#"{"name":"a","arguments":{"x":2}}"#,
            r#"{"name":"b","arguments":{"x":1}}"#,
            r#"{"name":"a","argument":{"x":1}}"#,
            r#"{"name":"a"}"#,
            r#"{"uri":"a"}"#,
            r#"{"cursor":"a"}"#,
            "{}",
        ];
        let mut hashes: Vec<_> = all.iter().map(|params| of(params, 5).unwrap()).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), all.len());
    }

    #[test]
    fn what_is_too_long_is_like_nothing() {
        let long = "x".repeat(Limits::default().digest_bytes + 1);
        assert_eq!(of(&format!(r#"{{"arguments":"{long}"}}"#), 1000), None);
    }
}
