//! Servers whose connections are not worth a look: a busy one must not make the kernel ship the
//! beginning of each.

use std::collections::{HashMap, VecDeque};

use agent_abi::{EndpointKey, VerdictCode};
use mcp_proto::Nanos;

use super::limits;

/// What became of the connections of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    ignored: u32,
    is_watched: bool,
    is_ignored: bool,
}

impl Tally {
    /// An endpoint that one connection had is most likely a client's.
    fn is_shared(self) -> bool {
        self.ignored > 1 || self.is_watched || self.is_ignored
    }
}

/// The endpoints that connections were judged at.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    known: HashMap<EndpointKey, Tally>,
    order: VecDeque<EndpointKey>,
    /// Those that are ignored, with when they will be looked at again.
    ignored: VecDeque<(Nanos, EndpointKey)>,
    judgements: Vec<(EndpointKey, Option<VerdictCode>)>,
}

impl Endpoints {
    /// A connection of the endpoint was found to carry no MCP.
    pub(super) fn ignored(&mut self, key: EndpointKey, now: Nanos) {
        let tally = self.tally(key);
        tally.ignored = tally.ignored.saturating_add(1);
        if tally.ignored >= limits::IGNORED_CONNECTIONS && !tally.is_watched && !tally.is_ignored {
            tally.is_ignored = true;
            self.ignored.push_back((now.saturating_add(limits::IGNORE_FOR), key));
            self.judgements.push((key, Some(VerdictCode::Ignore)));
        }
    }

    /// A connection of the endpoint carries MCP.
    pub(super) fn watched(&mut self, key: EndpointKey) {
        let tally = self.tally(key);
        tally.is_watched = true;
        if std::mem::take(&mut tally.is_ignored) {
            self.ignored.retain(|(_, ignored)| *ignored != key);
            self.judgements.push((key, None));
        }
    }

    /// Lets time pass: what was ignored long enough is looked at again.
    pub(super) fn expire(&mut self, now: Nanos) {
        while let Some((_, key)) = self.ignored.pop_front_if(|(due, _)| *due <= now) {
            self.forget(key);
        }
    }

    /// Verdicts since the last time this was asked; `None` takes one back.
    pub(super) fn take_judgements(&mut self) -> Vec<(EndpointKey, Option<VerdictCode>)> {
        std::mem::take(&mut self.judgements)
    }

    fn tally(&mut self, key: EndpointKey) -> &mut Tally {
        if !self.known.contains_key(&key) {
            if self.known.len() >= limits::ENDPOINTS {
                self.make_room();
            }
            self.order.push_back(key);
        }
        self.known.entry(key).or_default()
    }

    /// The oldest gives way, among a few one that is nobody's server.
    fn make_room(&mut self) {
        const TRIES: usize = 8;
        for _ in 0..TRIES {
            let Some(oldest) = self.order.pop_front() else { return };
            match self.known.get(&oldest) {
                Some(tally) if tally.is_shared() => self.order.push_back(oldest),
                _ => {
                    self.known.remove(&oldest);
                    return;
                }
            }
        }
        if let Some(oldest) = self.order.front().copied() {
            self.ignored.retain(|(_, ignored)| *ignored != oldest);
            self.forget(oldest);
        }
    }

    fn forget(&mut self, key: EndpointKey) {
        self.order.retain(|known| *known != key);
        if self.known.remove(&key).is_some_and(|tally| tally.is_ignored) {
            self.judgements.push((key, None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn key(port: u16, host: u8) -> EndpointKey {
        let mut address = [0; 16];
        address[15] = host;
        EndpointKey {
            address,
            netns: 1,
            port,
            reserved: 0,
        }
    }

    fn ignore(endpoints: &mut Endpoints, times: u32) {
        for _ in 0..times {
            endpoints.ignored(key(80, 1), SECOND);
        }
    }

    #[test]
    fn enough_ignored_connections_and_no_other() {
        let mut endpoints = Endpoints::default();
        ignore(&mut endpoints, limits::IGNORED_CONNECTIONS - 1);
        assert!(endpoints.take_judgements().is_empty());
        ignore(&mut endpoints, 3);
        assert_eq!(endpoints.take_judgements(), [(key(80, 1), Some(VerdictCode::Ignore))]);
        endpoints.watched(key(80, 1));
        assert_eq!(endpoints.take_judgements(), [(key(80, 1), None)]);
        ignore(&mut endpoints, 100);
        assert!(endpoints.take_judgements().is_empty(), "it speaks MCP as well");
    }

    #[test]
    fn looked_at_again() {
        let mut endpoints = Endpoints::default();
        ignore(&mut endpoints, limits::IGNORED_CONNECTIONS);
        endpoints.take_judgements();
        endpoints.expire(SECOND + limits::IGNORE_FOR - 1);
        assert!(endpoints.take_judgements().is_empty());
        endpoints.expire(SECOND + limits::IGNORE_FOR);
        assert_eq!(endpoints.take_judgements(), [(key(80, 1), None)]);
        ignore(&mut endpoints, limits::IGNORED_CONNECTIONS - 1);
        assert!(endpoints.take_judgements().is_empty(), "it starts from nothing");
        ignore(&mut endpoints, 1);
        assert_eq!(endpoints.take_judgements().len(), 1);
    }

    #[test]
    fn bounded_and_the_servers_stay() {
        let mut endpoints = Endpoints::default();
        ignore(&mut endpoints, limits::IGNORED_CONNECTIONS);
        for client in 0..60_000 {
            endpoints.ignored(key(client, 2), SECOND);
        }
        assert_eq!(endpoints.known.len(), limits::ENDPOINTS);
        assert_eq!(endpoints.order.len(), limits::ENDPOINTS);
        assert!(endpoints.known.contains_key(&key(80, 1)));
        for server in 0..5000 {
            endpoints.watched(key(server, 3));
        }
        assert_eq!(endpoints.known.len(), limits::ENDPOINTS);
        let lifted = endpoints.take_judgements();
        assert_eq!(lifted.last(), Some(&(key(80, 1), None)), "what is forgotten is taken back");
    }
}
