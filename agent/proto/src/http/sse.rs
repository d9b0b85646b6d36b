#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventName {
    Message,
    Endpoint,
    Error,
    Other,
}
#[derive(Debug)]
pub(crate) enum Sse<'a> {
    Data(&'a [u8]),
    Newline,
    Dispatch {
        name: EventName,
        empty: bool,
        resumable: bool,
    },
}
#[derive(Debug)]
pub(crate) struct EventStream {
    line: Vec<u8>,
    data: bool,
    has: bool,
    empty: bool,
    name: EventName,
    id: bool,
    cr: bool,
    sp: bool,
}
impl EventStream {
    pub(crate) fn new() -> Self {
        Self {
            line: vec![],
            data: false,
            has: false,
            empty: true,
            name: EventName::Message,
            id: false,
            cr: false,
            sp: false,
        }
    }
    pub(crate) fn push<'a>(&mut self, b: &'a [u8]) -> (usize, Option<Sse<'a>>) {
        let mut at = 0;
        while at < b.len() {
            if self.cr && b[at] == b'\n' {
                self.cr = false;
                at += 1;
                continue;
            }
            self.cr = false;
            if self.data {
                if self.sp {
                    self.sp = false;
                    if b[at] == b' ' {
                        at += 1;
                        continue;
                    }
                }
                let n = b[at..]
                    .iter()
                    .position(|c| *c == b'\n' || *c == b'\r')
                    .unwrap_or(b.len() - at);
                if n > 0 {
                    self.empty = false;
                    return (at + n, Some(Sse::Data(&b[at..at + n])));
                }
                self.cr = b[at] == b'\r';
                at += 1;
                self.data = false;
                continue;
            }
            let c = b[at];
            at += 1;
            if c == b'\n' || c == b'\r' {
                self.cr = c == b'\r';
                let l = std::mem::take(&mut self.line);
                if l.is_empty() {
                    let was = std::mem::take(&mut self.has);
                    let name = std::mem::replace(&mut self.name, EventName::Message);
                    let e = std::mem::replace(&mut self.empty, true);
                    let id = std::mem::take(&mut self.id);
                    if was {
                        return (
                            at,
                            Some(Sse::Dispatch {
                                name,
                                empty: e,
                                resumable: id,
                            }),
                        );
                    }
                } else if l.starts_with(b"event:") {
                    self.name = match l[6..].trim_ascii() {
                        b"endpoint" => EventName::Endpoint,
                        b"message" => EventName::Message,
                        _ => EventName::Other,
                    };
                } else if l.starts_with(b"id:") {
                    self.id = true;
                }
            } else {
                self.line.push(c);
                if self.line == b"data:" {
                    self.line.clear();
                    self.data = true;
                    self.sp = true;
                    let nl = std::mem::replace(&mut self.has, true);
                    if nl {
                        return (at, Some(Sse::Newline));
                    }
                }
            }
        }
        (at, None)
    }
}
