//! Understanding the end of a message whose middle was not captured.
//!
//! A JSON text can be read backwards from its closing brace: outside of strings at that point, the
//! quotes that delimit strings are those before an even number of backslashes.

use super::field::Field;
use super::scanner::Scanner;
use crate::limits::Limits;

/// What head and tail of a message gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// One message: the envelope holds what both ends said.
    Message,
    /// The tail is a message of its own: the one before the hole is lost.
    Another { at: usize },
    /// Nothing that can be trusted.
    Broken,
}

/// Members that a message has once. Two sightings are two messages.
const ONCE: u64 = Field::Jsonrpc.bit()
    | Field::Id.bit()
    | Field::Method.bit()
    | Field::Params.bit()
    | Field::Result.bit()
    | Field::Error.bit();
const ANSWER: u64 = Field::Result.bit() | Field::Error.bit();

impl Scanner {
    /// Goes on after a hole with the bytes up to the end of the line.
    pub(crate) fn read_tail(&mut self, position: u64, tail: &[u8], limits: &Limits) -> Tail {
        let (at, before) = match resume_point(tail, self.known_depth()) {
            Resume::Member { at, depth } => (at, self.resume(depth)),
            Resume::Closing { at } => (at, self.resume_at_end()),
            Resume::Message { at } if tail[..at].iter().all(u8::is_ascii_whitespace) => {
                return Tail::Another { at };
            }
            Resume::Message { .. } | Resume::Never => return Tail::Broken,
        };
        // The closing brace ends the push; only white space follows it.
        let _step = self.push(position + at as u64, &tail[at..], limits);
        let after = self.envelope().present;
        self.rejoin(before);
        let both = before | after;
        let method_and_answer = both & Field::Method.bit() != 0 && both & ANSWER != 0;
        // Head and tail together have to be a message: where the tail says nothing, the head has to.
        let is_message = both & (ANSWER | Field::Method.bit()) != 0;
        if self.is_done() && before & after & ONCE == 0 && is_message && !method_and_answer {
            Tail::Message
        } else {
            Tail::Broken
        }
    }
}

/// Where scanning can go on in the bytes after a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resume {
    /// At the key at this index, a member of the object at this depth (1 is the message).
    Member { at: usize, depth: usize },
    /// At the brace at this index, which closes the message: no member lies in the tail as a whole.
    Closing { at: usize },
    /// A whole message begins at this index: the hole swallowed the end of another one.
    Message { at: usize },
    /// Nowhere.
    Never,
}

/// Finds the first member of the message, or of an object right within it that spans the hole,
/// that lies in `tail` as a whole.
fn resume_point(tail: &[u8], known_depth: usize) -> Resume {
    let mut at = tail.iter().rposition(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
    if tail.get(at) != Some(&b'}') {
        return Resume::Never;
    }
    let closing = at;
    let mut depth = 1_usize;
    // Earliest members found so far of the message and of the object within it.
    let mut members: [Option<usize>; 2] = [None, None];
    let mut key: Option<usize> = None;
    let mut after_colon = false;
    while at > 0 {
        at -= 1;
        let was_colon = std::mem::take(&mut after_colon);
        match tail[at] {
            b' ' | b'\t' | b'\r' | b'\n' => after_colon = was_colon,
            b':' => {
                after_colon = true;
                key = None;
            }
            b'"' => {
                let Some(open) = opening_quote(tail, at) else {
                    break;
                };
                key = was_colon.then_some(open);
                at = open;
            }
            b',' => note(&mut members, depth, key.take()),
            b'{' => {
                note(&mut members, depth, key.take());
                depth -= 1;
                if depth == 0 {
                    return Resume::Message { at };
                }
                if depth == 1 {
                    members[1] = None;
                }
            }
            b'[' => {
                key = None;
                depth -= 1;
                if depth == 0 {
                    return Resume::Never;
                }
            }
            b'}' | b']' => {
                key = None;
                depth += 1;
            }
            _ => key = None,
        }
    }
    match members {
        [_, Some(at)] if depth >= 2 && known_depth >= 2 => Resume::Member { at, depth: 2 },
        [Some(at), _] if known_depth >= 1 => Resume::Member { at, depth: 1 },
        // A message closes at least what it is and what it holds.
        [None, None] if known_depth >= 1 && depth >= 2 => Resume::Closing { at: closing },
        _ => Resume::Never,
    }
}

fn note(members: &mut [Option<usize>; 2], depth: usize, key: Option<usize>) {
    if let Some(member) = members.get_mut(depth.wrapping_sub(1))
        && key.is_some()
    {
        *member = key;
    }
}

fn opening_quote(tail: &[u8], closing: usize) -> Option<usize> {
    let mut end = closing;
    loop {
        let quote = memchr::memrchr(b'"', tail.get(..end)?)?;
        let backslashes = tail[..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
        // Backslashes that reach into the hole cannot be counted.
        if backslashes == quote {
            return None;
        }
        if backslashes % 2 == 0 {
            return Some(quote);
        }
        end = quote;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tail: &str, known_depth: usize) -> (String, usize) {
        match resume_point(tail.as_bytes(), known_depth) {
            Resume::Member { at, depth } => (tail[at..].to_owned(), depth),
            other => (format!("{other:?}"), 0),
        }
    }

    #[test]
    fn finds_members_behind_the_hole() {
        let tail = r#"ext \" and {"}],"isError":true},"jsonrpc":"2.0","id":"a\"b"}"#;
        assert_eq!(
            at(tail, 3),
            (r#""isError":true},"jsonrpc":"2.0","id":"a\"b"}"#.to_owned(), 2)
        );
        assert_eq!(at(tail, 1), (r#""jsonrpc":"2.0","id":"a\"b"}"#.to_owned(), 1));
        assert_eq!(at(r#"xx"}]},"id":5}"#, 2), (r#""id":5}"#.to_owned(), 1));
        assert_eq!(at(r#"xx"}}}}"#, 2).0, "Closing { at: 6 }");
        assert_eq!(at("no brace", 2), ("Never".to_owned(), 0));
    }

    #[test]
    fn sees_that_a_whole_message_follows() {
        let tail = r#"xx"}},"id":1}   {"id":2}"#;
        assert_eq!(resume_point(tail.as_bytes(), 2), Resume::Message { at: 16 });
    }
}
