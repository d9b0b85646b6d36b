//! Finding HTTP/1: at the start of a stream, and again where the thread was lost.

use super::Role;
use super::start;

/// A start line that is looked for lies within the last so many bytes of its line. It need not
/// begin the line: bodies of JSON end without a newline.
const LAST: usize = 4096;

/// Methods that a request found midway may have.
const METHODS: [&[u8]; 9] = [
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE",
];

/// Whether a stream that begins with `bytes` carries HTTP/1 requests; `None`: too few to tell.
pub(crate) fn looks_like_request(bytes: &[u8]) -> Option<bool> {
    let Some(space) = bytes.iter().position(|byte| *byte == b' ') else {
        return METHODS.iter().all(|method| !method.starts_with(bytes)).then_some(false);
    };
    let (method, target) = (&bytes[..space], &bytes[space + 1..]);
    if !METHODS.contains(&method) {
        return Some(false);
    }
    let first = target.first()?;
    Some(match method {
        b"CONNECT" => first.is_ascii_alphanumeric() || *first == b'[',
        // The absolute form, for proxies, begins with `http`.
        _ => matches!(first, b'/' | b'*' | b'h' | b'H'),
    })
}

/// Whether a stream that begins with `bytes` carries HTTP/1 responses; `None`: too few to tell.
pub(crate) fn looks_like_response(bytes: &[u8]) -> Option<bool> {
    const START: &[u8] = b"HTTP/1.";
    match bytes.get(..START.len()) {
        Some(start) => Some(start == START),
        None => (!START.starts_with(bytes)).then_some(false),
    }
}

/// Appends to a line of which only the end matters.
pub(super) fn keep_last(line: &mut Vec<u8>, more: &[u8]) {
    let more = &more[more.len().saturating_sub(LAST)..];
    let excess = (line.len() + more.len()).saturating_sub(LAST);
    line.drain(..excess);
    line.extend_from_slice(more);
}

/// Where the start line begins with which this line ends, newline included.
pub(super) fn start_line(role: Role, line: &[u8]) -> Option<usize> {
    let begin = match role {
        Role::Responses => memchr::memmem::rfind(line, b"HTTP/1.")?,
        Role::Requests => {
            let text = line.trim_ascii_end();
            let text = text
                .strip_suffix(b" HTTP/1.1")
                .or_else(|| text.strip_suffix(b" HTTP/1.0"))?;
            let before = &text[..memchr::memrchr(b' ', text)?];
            let method = METHODS.iter().find(|method| before.ends_with(method))?;
            before.len() - method.len()
        }
    };
    start::is_start_line(role, &line[begin..]).then_some(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_from_the_first_bytes() {
        for (bytes, expected) in [
            ("", None),
            ("P", None),
            ("POST", None),
            ("POST ", None),
            ("POST /", Some(true)),
            ("POST /mcp HTTP/1.1\r\nHost", Some(true)),
            ("CONNECT host:443", Some(true)),
            ("GET http://host/ HTTP/1.1", Some(true)),
            ("GET key", Some(false)),
            ("PRI * HTTP/2.0\r\n", Some(false)),
            ("{\"jsonrpc\"", Some(false)),
            ("\u{16}", Some(false)),
            ("PX", Some(false)),
        ] {
            assert_eq!(looks_like_request(bytes.as_bytes()), expected, "{bytes}");
        }
    }

    #[test]
    fn responses_are_told_from_the_first_bytes() {
        for (bytes, expected) in [
            ("", None),
            ("HTTP/", None),
            ("HTTP/1.", Some(true)),
            ("HTTP/1.1 200 OK", Some(true)),
            ("HTTP/2 200", Some(false)),
            ("{", Some(false)),
        ] {
            assert_eq!(looks_like_response(bytes.as_bytes()), expected, "{bytes}");
        }
    }

    #[test]
    fn a_start_line_need_not_begin_its_line() {
        let request = |line: &str| start_line(Role::Requests, line.as_bytes());
        assert_eq!(request("{\"a\":\"b c\"}POST /mcp HTTP/1.1\r\n"), Some(11));
        assert_eq!(request("GET / HTTP/1.0\n"), Some(0));
        assert_eq!(request("ST /mcp HTTP/1.1\r\n"), None);
        assert_eq!(request("x-name: GET / HTTP/1.1 \u{1}\r\n"), None);
        let response = |line: &str| start_line(Role::Responses, line.as_bytes());
        assert_eq!(response("{}HTTP/1.1 200 OK\r\n"), Some(2));
        assert_eq!(response("see HTTP/1.1\r\n"), None);
    }

    #[test]
    fn of_a_long_line_the_end_is_kept() {
        let mut line = Vec::new();
        for _ in 0..100 {
            keep_last(&mut line, &[b'x'; 1000]);
        }
        keep_last(&mut line, b"GET / HTTP/1.1\r\n");
        assert_eq!(line.len(), LAST);
        assert!(start_line(Role::Requests, &line).is_some());
    }
}
