//! The methods of the Model Context Protocol, all revisions at once.
//!
//! 2024-11-05, 2025-03-26, 2025-06-18, 2025-11-25 (the handshake era) and 2026-07-28.

use crate::json::{Envelope, Field};
use crate::{Direction, ResultType, TraceContext};

/// Who may send a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    Server,
    Either,
}

impl Sender {
    pub(crate) fn direction(self) -> Option<Direction> {
        match self {
            Self::Client => Some(Direction::ClientToServer),
            Self::Server => Some(Direction::ServerToClient),
            Self::Either => None,
        }
    }
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    None,
    /// `params.name`.
    Tool,
    /// `params.name`.
    Prompt,
    /// `params.uri`.
    Resource,
    /// `params.taskId`.
    Task,
}

/// A method of some revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) sender: Sender,
    pub(crate) target: Target,
}

/// Looks a method up. Names are compared case-sensitively.
pub(crate) fn method(name: &[u8]) -> Option<Known> {
    use Sender::{Client, Either, Server};
    let (sender, target) = match name {
        b"tools/call" => (Client, Target::Tool),
        b"prompts/get" => (Client, Target::Prompt),
        b"resources/read" | b"resources/subscribe" | b"resources/unsubscribe" => (Client, Target::Resource),
        b"initialize"
        | b"server/discover"
        | b"subscriptions/listen"
        | b"tools/list"
        | b"prompts/list"
        | b"resources/list"
        | b"resources/templates/list"
        | b"completion/complete"
        | b"logging/setLevel"
        | b"notifications/initialized"
        | b"notifications/roots/list_changed" => (Client, Target::None),
        b"sampling/createMessage"
        | b"roots/list"
        | b"elicitation/create"
        | b"notifications/message"
        | b"notifications/tools/list_changed"
        | b"notifications/prompts/list_changed"
        | b"notifications/resources/list_changed"
        | b"notifications/resources/updated"
        | b"notifications/elicitation/complete"
        | b"notifications/subscriptions/acknowledged" => (Server, Target::None),
        b"tasks/get" | b"tasks/result" | b"tasks/cancel" | b"tasks/update" => (Either, Target::Task),
        b"ping"
        | b"tasks/list"
        | b"notifications/cancelled"
        | b"notifications/progress"
        | b"notifications/tasks/status"
        | b"notifications/tasks" => (Either, Target::None),
        _ => return None,
    };
    Some(Known { sender, target })
}

/// The name of a notification that can belong to a call.
pub(crate) fn notification(name: &[u8]) -> Option<&'static str> {
    [
        "notifications/progress",
        "notifications/message",
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/subscriptions/acknowledged",
        "notifications/tasks",
        "notifications/tasks/status",
    ]
    .into_iter()
    .find(|known| known.as_bytes() == name)
}

/// Whether a message with a method proves that its stream carries MCP, and if so, who sends it.
///
/// LSP has an `initialize` too, without `protocolVersion`; `ping` is anybody's.
pub(crate) fn proof(envelope: &Envelope) -> Option<Sender> {
    let name = envelope.bytes(Field::Method)?;
    let known = method(name);
    if envelope.has(Field::MetaVersion) {
        return Some(known.map_or(Sender::Either, |known| known.sender));
    }
    match name {
        b"initialize" if !envelope.has(Field::RequestedVersion) => None,
        b"ping" => None,
        _ => known.map(|known| known.sender),
    }
}

/// `params.uri` without query and fragment, which are the caller's business.
pub(crate) fn resource(uri: &str) -> Box<str> {
    uri.split(['?', '#']).next().unwrap_or_default().into()
}

pub(crate) fn result_type(envelope: &Envelope) -> ResultType {
    if envelope.has(Field::CreatedTaskId) {
        return ResultType::Task;
    }
    match envelope.text(Field::ResultType).as_deref() {
        None | Some("complete") => ResultType::Complete,
        Some("input_required") => ResultType::InputRequired,
        Some("task") => ResultType::Task,
        Some(other) => ResultType::Other(other.into()),
    }
}

/// W3C Trace Context, level 1: `version-traceid-parentid-flags`.
pub(crate) fn trace_context(text: &str) -> Option<TraceContext> {
    let mut parts = text.split('-');
    let [version] = hex(parts.next()?)?;
    let trace_id: [u8; 16] = hex(parts.next()?)?;
    let parent_id: [u8; 8] = hex(parts.next()?)?;
    let [flags] = hex(parts.next()?)?;
    let more = parts.next().is_some();
    let valid = version != 0xff && (version != 0 || !more) && trace_id != [0; 16] && parent_id != [0; 8];
    valid.then_some(TraceContext {
        trace_id,
        parent_id,
        flags,
    })
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| match pair[at] {
            lower @ (b'0'..=b'9' | b'a'..=b'f') => char::from(lower).to_digit(16),
            _ => None,
        };
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_is_strict() {
        let good = trace_context("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!((good.trace_id[0], good.parent_id[7], good.flags), (0x4b, 0xb7, 1));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert_eq!(trace_context(bad), None, "{bad}");
        }
    }

    #[test]
    fn uris_lose_query_and_fragment() {
        assert_eq!(&*resource("file:///a?token=x#y"), "file:///a");
        assert_eq!(&*resource("memo://b"), "memo://b");
    }
}
