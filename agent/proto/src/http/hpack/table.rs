//! The tables of HPACK (RFC 7541, sections 2.3 and 4, appendix A).

use std::borrow::Cow;
use std::collections::VecDeque;

/// A name or a value, if it is known.
pub(super) type Known<'a> = Option<&'a [u8]>;

/// What an entry takes beside its name and value, in bytes (section 4.1).
const OVERHEAD: usize = 32;
/// Size of the dynamic table before anybody changes it.
const DEFAULT_BYTES: usize = 4096;

const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[derive(Clone, Debug)]
struct Entry {
    name: Option<Cow<'static, [u8]>>,
    value: Option<Box<[u8]>>,
    bytes: usize,
}

/// The dynamic table, or the newer part of it.
///
/// An index counts from the newest entry. So what was added while we watched has the same index
/// here as at the peers, however much was there before, and what is not here is unknown. It also
/// does no harm to keep what the peers have evicted: nobody refers to it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// What the encoder may use. It says so itself when it changes it (section 4.2), which makes
    /// the setting of its peer of no interest here.
    size: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            size: DEFAULT_BYTES,
        }
    }
}

impl Table {
    /// A table that may hold entries from before.
    pub(super) fn unknown() -> Self {
        Self {
            size: usize::MAX,
            ..Self::default()
        }
    }

    /// Name and value at an index, which is not 0.
    pub(super) fn get(&self, index: usize) -> (Known<'_>, Known<'_>) {
        if let Some((name, value)) = STATIC.get(index - 1) {
            return (Some(name.as_bytes()), Some(value.as_bytes()));
        }
        match self.entries.get(index - 1 - STATIC.len()) {
            Some(entry) => (entry.name.as_deref(), entry.value.as_deref()),
            None => (None, None),
        }
    }

    /// The name at an index as an entry keeps it.
    pub(super) fn name(&self, index: usize) -> Option<Cow<'static, [u8]>> {
        match STATIC.get(index - 1) {
            Some((name, _)) => Some(Cow::Borrowed(name.as_bytes())),
            None => self.entries.get(index - 1 - STATIC.len())?.name.clone(),
        }
    }

    /// Adds an entry. `length` is that of its value, which need not be kept.
    pub(super) fn insert(
        &mut self,
        name: Option<Cow<'static, [u8]>>,
        value: Option<Box<[u8]>>,
        length: usize,
        most: usize,
    ) {
        let bytes = name.as_ref().map_or(0, |name| name.len()) + length + OVERHEAD;
        let size = self.size.min(most);
        self.shrink(size.saturating_sub(bytes));
        // One that is too large empties the table and is not added (section 4.4). If it is too
        // large only for us, all that is older moves by one, and is gone here.
        if bytes <= size {
            self.bytes += bytes;
            self.entries.push_front(Entry { name, value, bytes });
        } else {
            self.entries.clear();
            self.bytes = 0;
        }
    }

    pub(super) fn resize(&mut self, size: usize, most: usize) {
        self.size = size;
        self.shrink(size.min(most));
    }

    fn shrink(&mut self, bytes: usize) {
        while self.bytes > bytes
            && let Some(oldest) = self.entries.pop_back()
        {
            self.bytes -= oldest.bytes;
        }
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
