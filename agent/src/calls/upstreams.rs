//! Other hosts that servers wait for, and what those are called.

mod names;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use agent_abi::{WaitKind, WaitRecord};
use mcp_proto::Nanos;

use super::causes::{Phase, UpstreamKind, UpstreamWait};
use super::sockets::address;
use names::Names;

/// Processes whose waits are kept; those with the lowest pid give way.
const MAX_PROCESSES: usize = 1024;
/// Waits that are kept of one process.
const MAX_WAITS: usize = 512;

/// A wait, whose peer's name may become known later.
#[derive(Clone, Debug)]
struct Wait {
    /// What was looked up.
    question: Option<Box<str>>,
    peer: SocketAddr,
    phase: Phase,
    from: Nanos,
    to: Nanos,
    bytes: u64,
}

/// Who waited for whom.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    waits: BTreeMap<u32, VecDeque<Wait>>,
    names: Names,
}

impl Upstreams {
    /// Takes a wait; of a lookup with the answer.
    pub(super) fn record(&mut self, record: &WaitRecord, answer: &[u8]) {
        let is = |kind: WaitKind| record.what == kind as u16;
        let phase = if is(WaitKind::Connect) {
            Phase::Connect
        } else if is(WaitKind::Answer) || is(WaitKind::Lookup) {
            Phase::FirstByte
        } else {
            Phase::Rest
        };
        let question = is(WaitKind::Lookup).then(|| self.names.answered(answer).unwrap_or_default());
        let waits = self.waits.entry(record.header.tgid).or_default();
        waits.push_back(Wait {
            question,
            peer: address(record.remote, record.remote_port),
            phase,
            from: record.from,
            to: record.to,
            bytes: record.sent + record.received,
        });
        if waits.len() > MAX_WAITS {
            waits.pop_front();
        }
        if self.waits.len() > MAX_PROCESSES {
            self.waits.pop_first();
        }
    }

    /// A TLS session with `peer` begins with these bytes, which name it as the client knows it.
    pub(super) fn greeted(&mut self, peer: SocketAddr, hello: &[u8]) {
        self.names.greeted(peer, hello);
    }

    /// The process has ended: its pid may be another's soon.
    pub(super) fn exited(&mut self, pid: u32) {
        self.waits.remove(&pid);
    }

    /// What the process waited for at any instant between the two.
    pub(super) fn between(&self, pid: u32, from: Nanos, to: Nanos) -> impl Iterator<Item = UpstreamWait> {
        let waits = self.waits.get(&pid).into_iter().flatten();
        waits
            .filter(move |wait| wait.to >= from && wait.from <= to)
            .map(|wait| UpstreamWait {
                peer: match &wait.question {
                    Some(question) => question.clone(),
                    None => self.names.of(wait.peer),
                },
                kind: if wait.question.is_some() {
                    UpstreamKind::Lookup
                } else {
                    UpstreamKind::Connection
                },
                phase: wait.phase,
                address: Some(wait.peer),
                from: wait.from,
                to: wait.to,
                bytes: wait.bytes,
                exit_status: None,
            })
    }
}

#[cfg(test)]
mod tests {
    use agent_abi::{Header, Kind};

    use super::*;

    fn wait(pid: u32, what: WaitKind, from: Nanos, to: Nanos, port: u16) -> WaitRecord {
        WaitRecord {
            header: Header {
                kind: Kind::Wait as u32,
                captured: 0,
                tgid: pid,
                tid: pid,
            },
            from,
            to,
            sent: 10,
            received: 20,
            remote: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7],
            remote_port: port,
            what: what as u16,
            netns: 0,
        }
    }

    #[test]
    fn waits_of_the_window_by_the_name_of_the_peer() {
        let mut upstreams = Upstreams::default();
        upstreams.record(&wait(1, WaitKind::Lookup, 5, 10, 53), names::tests::ANSWER);
        upstreams.record(&wait(1, WaitKind::Connect, 10, 20, 443), &[]);
        upstreams.record(&wait(1, WaitKind::Answer, 30, 90, 443), &[]);
        upstreams.record(&wait(2, WaitKind::Answer, 30, 90, 443), &[]);
        let waits: Vec<_> = upstreams.between(1, 15, 40).collect();
        assert_eq!(waits.len(), 2, "the lookup was before");
        assert!(
            waits
                .iter()
                .all(|wait| &*wait.peer == "api.example.com" && wait.bytes == 30)
        );
        assert_eq!((waits[0].phase, waits[1].phase), (Phase::Connect, Phase::FirstByte));
        let lookup = upstreams.between(1, 0, 8).next().unwrap();
        assert_eq!((lookup.kind, &*lookup.peer), (UpstreamKind::Lookup, "api.example.com"));
        upstreams.exited(1);
        assert_eq!(upstreams.between(1, 0, 100).count(), 0);
    }
}
