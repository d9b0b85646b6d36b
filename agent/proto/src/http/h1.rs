use super::{ExchangeKey, Fields, Part, RequestHead, ResponseHead, Verb};
use crate::limits::Limits;
#[derive(Debug, PartialEq, Clone, Copy)]
enum M {
    Head,
    Len(u64),
    Close,
    Size,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    Switched,
    Ended,
}
#[derive(Debug)]
pub(crate) struct H1 {
    req: bool,
    mid: bool,
    m: M,
    buf: Vec<u8>,
    start: u64,
    key: u64,
    next: u64,
    sw: bool,
}
impl H1 {
    pub(crate) fn requests(mid: bool) -> Self {
        Self {
            req: true,
            mid,
            m: M::Head,
            buf: vec![],
            start: 0,
            key: 0,
            next: 0,
            sw: false,
        }
    }
    pub(crate) fn responses(mid: bool) -> Self {
        Self {
            req: false,
            ..Self::requests(mid)
        }
    }
    pub(crate) fn head_start(&self) -> u64 {
        self.start
    }
    pub(crate) fn open_head(&self) -> Option<u64> {
        (self.m == M::Head && !self.buf.is_empty()).then_some(self.start)
    }
    pub(crate) fn no_body(&mut self) {
        self.m = M::Ended;
    }
    fn line(&mut self, b: &[u8]) -> (usize, bool) {
        match memchr::memchr(b'\n', b) {
            Some(i) => {
                self.buf.extend(&b[..=i]);
                (i + 1, true)
            }
            None => {
                self.buf.extend(b);
                (b.len(), false)
            }
        }
    }
    pub(crate) fn push<'a>(
        &mut self,
        pos: u64,
        b: &'a [u8],
        limits: &Limits,
    ) -> (usize, Option<(ExchangeKey, Part<'a>)>) {
        let mut at = 0;
        loop {
            let r = &b[at..];
            match self.m {
                M::Ended => {
                    self.m = M::Head;
                    return (at, Some((self.key, Part::End)));
                }
                M::Switched => {
                    return (
                        at,
                        if std::mem::replace(&mut self.sw, false) {
                            Some((self.key, Part::Switched))
                        } else {
                            None
                        },
                    );
                }
                _ if r.is_empty() => return (at, None),
                M::Head => {
                    if self.buf.is_empty() {
                        self.start = pos + at as u64;
                    }
                    let (n, done) = self.line(r);
                    at += n;
                    if !done {
                        continue;
                    }
                    if self.buf == b"\r\n" {
                        self.buf.clear();
                        continue;
                    }
                    if !self.buf.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    let head = std::mem::take(&mut self.buf);
                    let mut hs = [httparse::EMPTY_HEADER; 128];
                    let mut f = Fields::default();
                    let (mut len, mut chunked) = (None, false);
                    let mut note = |hs: &[httparse::Header<'_>]| {
                        for h in hs {
                            f.note(h.name.as_bytes(), h.value, limits);
                            if h.name.eq_ignore_ascii_case("content-length") {
                                len = std::str::from_utf8(h.value)
                                    .ok()
                                    .and_then(|v| v.trim().parse::<u64>().ok());
                            }
                            if h.name.eq_ignore_ascii_case("transfer-encoding") {
                                chunked = true;
                            }
                        }
                    };
                    let part;
                    if self.req {
                        let mut q = httparse::Request::new(&mut hs);
                        if q.parse(&head).is_err() {
                            continue;
                        }
                        note(q.headers);
                        let verb = match q.method {
                            Some("GET") => Verb::Get,
                            Some("POST") => Verb::Post,
                            Some("DELETE") => Verb::Delete,
                            Some("HEAD") => Verb::Head,
                            _ => Verb::Other,
                        };
                        part = Part::Request(Box::new(RequestHead::new(
                            verb,
                            q.path.unwrap_or("").as_bytes(),
                            f,
                            limits,
                        )));
                        self.m = if chunked {
                            M::Size
                        } else {
                            match len {
                                Some(n) if n > 0 => M::Len(n),
                                _ => M::Ended,
                            }
                        };
                    } else {
                        let mut q = httparse::Response::new(&mut hs);
                        if q.parse(&head).is_err() {
                            continue;
                        }
                        note(q.headers);
                        let status = q.code.unwrap_or(0);
                        if status < 200 && status != 101 {
                            continue;
                        }
                        self.m = if status == 101 {
                            self.sw = true;
                            M::Switched
                        } else if chunked {
                            M::Size
                        } else {
                            match len {
                                Some(0) => M::Ended,
                                Some(n) => M::Len(n),
                                None if status == 204 || status == 304 => M::Ended,
                                None => M::Close,
                            }
                        };
                        part = Part::Response(Box::new(ResponseHead { status, fields: f }));
                    }
                    self.key = self.next;
                    self.next += 1;
                    return (at, Some((self.key, part)));
                }
                M::Len(n) | M::Chunk(n) => {
                    let take = r.len().min(n as usize);
                    let left = n - take as u64;
                    self.m = match self.m {
                        M::Len(_) if left == 0 => M::Ended,
                        M::Len(_) => M::Len(left),
                        _ if left == 0 => M::ChunkEnd,
                        _ => M::Chunk(left),
                    };
                    return (at + take, Some((self.key, Part::Body(&r[..take]))));
                }
                M::Close => return (b.len(), Some((self.key, Part::Body(r)))),
                M::Size => {
                    let (n, done) = self.line(r);
                    at += n;
                    if done {
                        let l = std::mem::take(&mut self.buf);
                        let t = String::from_utf8_lossy(&l);
                        let n = u64::from_str_radix(t.trim(), 16).unwrap_or(0);
                        self.m = if n == 0 { M::Trailer } else { M::Chunk(n) };
                    }
                }
                M::ChunkEnd => {
                    let (n, done) = self.line(r);
                    at += n;
                    if done {
                        self.buf.clear();
                        self.m = M::Size;
                    }
                }
                M::Trailer => {
                    let (n, done) = self.line(r);
                    at += n;
                    if done {
                        let l = std::mem::take(&mut self.buf);
                        if l == b"\r\n" {
                            self.m = M::Ended;
                        }
                    }
                }
            }
        }
    }
    pub(crate) fn gap(&mut self, _s: u64, n: u64, _l: &Limits) -> Option<(ExchangeKey, Part<'static>)> {
        match self.m {
            M::Len(k) if n < k => {
                self.m = M::Len(k - n);
                Some((self.key, Part::Missing(n)))
            }
            M::Chunk(k) if n < k => {
                self.m = M::Chunk(k - n);
                Some((self.key, Part::Missing(n)))
            }
            _ => {
                let open = self.m != M::Head;
                self.m = M::Head;
                self.buf.clear();
                open.then_some((self.key, Part::Cut))
            }
        }
    }
    pub(crate) fn end(&mut self) -> Option<(ExchangeKey, Part<'static>)> {
        match std::mem::replace(&mut self.m, M::Head) {
            M::Close => Some((self.key, Part::End)),
            M::Head | M::Switched => None,
            _ => Some((self.key, Part::Cut)),
        }
    }
}
pub(crate) fn looks_like_request(b: &[u8]) -> Option<bool> {
    for v in ["GET /", "POST /", "DELETE /", "HEAD /", "PUT /", "OPTIONS /"] {
        let n = b.len().min(v.len());
        if b[..n] == v.as_bytes()[..n] {
            return (b.len() >= v.len()).then_some(true);
        }
    }
    Some(false)
}
pub(crate) fn looks_like_response(b: &[u8]) -> Option<bool> {
    let n = b.len().min(7);
    if b[..n] == b"HTTP/1."[..n] {
        (n == 7).then_some(true)
    } else {
        Some(false)
    }
}
