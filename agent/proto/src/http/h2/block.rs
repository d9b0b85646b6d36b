//! What a header block says (RFC 9113, sections 8.1 and 8.3).

use crate::http::{Fields, RequestHead, ResponseHead, Verb};
use crate::limits::Limits;

/// The fields of a block that matter, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Block {
    verb: Option<Verb>,
    target: Vec<u8>,
    pub(super) status: u16,
    fields: Fields,
    /// The first field is known, and no pseudo-header: those come first.
    pub(super) is_trailer: bool,
    begun: bool,
    websocket: bool,
}

impl Block {
    /// Takes note of a field. The answer is whether its value can matter to another block.
    pub(super) fn note(&mut self, name: Option<&[u8]>, value: Option<&[u8]>, limits: &Limits) -> bool {
        if !std::mem::replace(&mut self.begun, true) {
            self.is_trailer = name.is_some_and(|name| !name.starts_with(b":"));
        }
        // A value without its name is kept for nothing: the name stays unknown.
        let (Some(name), Some(value)) = (name, value) else {
            return false;
        };
        match name {
            b":method" => self.verb = Some(Verb::new(value)),
            b":path" => self.target = value.to_vec(),
            b":status" => self.status = status(value),
            b":protocol" => self.websocket = value == b"websocket",
            _ => {
                self.fields.note(name, value, limits);
                let mut alone = Fields::default();
                alone.note(name, value, limits);
                return alone != Fields::default();
            }
        }
        true
    }

    /// The head of a request: `Other` and an empty path where they are not known.
    pub(super) fn request(self, limits: &Limits) -> RequestHead {
        let verb = self.verb.unwrap_or(Verb::Other);
        let mut fields = self.fields;
        // Extended CONNECT (RFC 8441) takes the place of `Upgrade`.
        fields.websocket |= self.websocket;
        RequestHead::new(verb, &self.target, fields, limits)
    }

    /// The head of a response: status 0 where it is not known.
    pub(super) fn response(self) -> ResponseHead {
        ResponseHead {
            status: self.status,
            fields: self.fields,
        }
    }
}

fn status(value: &[u8]) -> u16 {
    str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}
