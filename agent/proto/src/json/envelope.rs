//! What was taken out of one message.

use std::borrow::Cow;

use super::digest::Digest;
use super::field::Field;
use crate::limits::Limits;

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    len: u32,
}

/// The values that were taken out of one message. Their texts share one buffer.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(super) present: u64,
    spans: [Span; Field::COUNT],
    text: Vec<u8>,
    /// Hash of `requestState`, which may be long and is nobody's business.
    request_state: u64,
    /// Hash of what did not fit into the value being captured.
    overflow: Option<u64>,
    pub(super) digest: Digest,
}

pub(crate) const HASH_SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: for equality of opaque values, not against adversaries.
pub(crate) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Default for Envelope {
    fn default() -> Self {
        Self::new()
    }
}

impl Envelope {
    pub(super) fn new() -> Self {
        Self {
            present: 0,
            spans: [Span::default(); Field::COUNT],
            text: Vec::new(),
            request_state: HASH_SEED,
            overflow: None,
            digest: Digest::default(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.present = 0;
        self.text.clear();
        self.digest = Digest::default();
    }

    pub(super) fn begin(&mut self, field: Field) {
        let start = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        self.spans[field as usize] = Span { start, len: 0 };
        self.overflow = None;
    }

    pub(super) fn append(&mut self, field: Field, bytes: &[u8], limits: &Limits) {
        let cap = match field {
            Field::Uri => limits.uri_bytes,
            Field::Id | Field::RequestId | Field::ProgressToken | Field::MetaProgressToken | Field::SubscriptionId => {
                limits.id_bytes
            }
            _ => limits.name_bytes,
        };
        let taken = self.spans[field as usize].len as usize;
        let free = cap
            .saturating_sub(taken)
            .min(limits.captured_bytes.saturating_sub(self.text.len()));
        let (kept, rest) = bytes.split_at(free.min(bytes.len()));
        self.text.extend_from_slice(kept);
        self.spans[field as usize].len += u32::try_from(kept.len()).unwrap_or(0);
        if !rest.is_empty() {
            self.overflow = Some(hash(self.overflow.unwrap_or(HASH_SEED), rest));
        }
    }

    /// Keeps a value that is at hand as a whole.
    #[inline]
    pub(super) fn store(&mut self, field: Field, bytes: &[u8], is_token: bool, limits: &Limits) {
        let start = self.text.len();
        // Shorter than every cap: nothing to cut.
        if bytes.len() <= limits.name_bytes.min(limits.id_bytes).min(limits.uri_bytes)
            && start + bytes.len() <= limits.captured_bytes
        {
            self.text.extend_from_slice(bytes);
            self.spans[field as usize] = Span {
                start: u32::try_from(start).unwrap_or(u32::MAX),
                len: u32::try_from(bytes.len()).unwrap_or(0),
            };
            self.present |= field.bit();
            return;
        }
        self.begin(field);
        self.append(field, bytes, limits);
        self.finish(field, is_token);
    }

    /// Completes a value. A token that did not fit stays distinct through a hash of its rest.
    pub(super) fn finish(&mut self, field: Field, is_token: bool) {
        if let Some(rest) = self.overflow.take()
            && is_token
        {
            let start = self.text.len();
            self.text.extend_from_slice(format!("~{rest:016x}\"").as_bytes());
            self.spans[field as usize].len += u32::try_from(self.text.len() - start).unwrap_or(0);
        }
        self.present |= field.bit();
    }

    pub(super) fn begin_hash(&mut self) {
        self.request_state = HASH_SEED;
    }

    pub(super) fn append_hash(&mut self, bytes: &[u8]) {
        self.request_state = hash(self.request_state, bytes);
    }

    pub(super) fn mark(&mut self, field: Field) {
        self.present |= field.bit();
    }

    pub(super) fn unmark(&mut self, fields: u64) {
        self.present &= !fields;
    }

    /// The same for requests that ask the same of a server; `None` where that cannot be told. Stays in this process.
    pub(crate) fn request_hash(&self, limits: &Limits) -> Option<u64> {
        let seed = self.digest.value(limits)?;
        let fields = [Field::Method, Field::Name, Field::Uri];
        Some(fields.into_iter().fold(seed, |seed, field| {
            let text = self.bytes(field).unwrap_or_default();
            // What is absent is not what is empty, and no name runs into the next.
            hash(hash(seed, &[u8::from(self.has(field))]), text).rotate_left(7)
        }))
    }

    pub(crate) fn has(&self, field: Field) -> bool {
        self.present & field.bit() != 0
    }

    pub(crate) fn bytes(&self, field: Field) -> Option<&[u8]> {
        if !self.has(field) {
            return None;
        }
        let Span { start, len } = self.spans[field as usize];
        self.text
            .get(start as usize..(start as usize).saturating_add(len as usize))
    }

    pub(crate) fn text(&self, field: Field) -> Option<Cow<'_, str>> {
        self.bytes(field).map(String::from_utf8_lossy)
    }

    pub(crate) fn boxed(&self, field: Field) -> Option<Box<str>> {
        self.text(field).map(Into::into)
    }

    pub(crate) fn request_state(&self, field: Field) -> Option<u64> {
        self.has(field).then_some(self.request_state)
    }
}
