//! What addresses are called: by the answers of name servers, and by what clients of TLS ask for.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustls::server::Acceptor;
use simple_dns::Packet;
use simple_dns::rdata::RData;

/// Names that are kept of each kind; the oldest give way.
const MAX_NAMES: usize = 4096;
/// Addresses that are taken from one answer.
const MAX_ADDRESSES: usize = 16;

/// Names by address.
#[derive(Debug, Default)]
pub(super) struct Names {
    looked_up: Table<IpAddr>,
    greeted: Table<SocketAddr>,
}

impl Names {
    /// Takes a name server's answer (RFC 1035, section 4), and gives what was asked.
    pub(super) fn answered(&mut self, answer: &[u8]) -> Option<Box<str>> {
        let packet = Packet::parse(answer).ok()?;
        let name = packet.questions.first()?.qname.to_string();
        for record in packet.answers.iter().take(MAX_ADDRESSES) {
            let address = match &record.rdata {
                RData::A(a) => Ipv4Addr::from(a.address).into(),
                RData::AAAA(aaaa) => Ipv6Addr::from(aaaa.address).into(),
                _ => continue,
            };
            self.looked_up.insert(address, &name);
        }
        Some(name.into())
    }

    /// Takes the first bytes of a TLS session with `peer` (RFC 6066, section 3).
    pub(super) fn greeted(&mut self, peer: SocketAddr, hello: &[u8]) {
        // A handshake record that begins with a ClientHello (RFC 8446, sections 4 and 5.1).
        if !matches!(hello, [0x16, 3, _, _, _, 1, ..]) {
            return;
        }
        let mut acceptor = Acceptor::default();
        let mut rest = hello;
        while !rest.is_empty() {
            // It says how much it takes, and refuses what is no TLS.
            match acceptor.read_tls(&mut rest) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    if let Some(name) = accepted.client_hello().server_name() {
                        self.greeted.insert(peer, name);
                    }
                    return;
                }
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }

    /// Name of `peer`, else its address.
    pub(super) fn of(&self, peer: SocketAddr) -> Box<str> {
        let name = self
            .greeted
            .names
            .get(&peer)
            .or_else(|| self.looked_up.names.get(&peer.ip()));
        name.cloned().unwrap_or_else(|| peer.to_string().into())
    }
}

#[derive(Debug)]
struct Table<K> {
    names: HashMap<K, Box<str>>,
    ages: VecDeque<K>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self {
            names: HashMap::new(),
            ages: VecDeque::new(),
        }
    }
}

impl<K: Copy + Eq + Hash> Table<K> {
    fn insert(&mut self, key: K, name: &str) {
        if self.names.insert(key, name.into()).is_none() {
            self.ages.push_back(key);
        }
        if self.ages.len() > MAX_NAMES
            && let Some(oldest) = self.ages.pop_front()
        {
            self.names.remove(&oldest);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// `api.example.com` is an alias of `a.example.com`, which is 192.0.2.7.
    pub(in super::super) const ANSWER: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x02\0\0\0\0\
        \x03api\x07example\x03com\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01a\xc0\x10\
        \xc0\x2d\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x07";

    #[test]
    fn an_alias_is_called_what_was_asked_for() {
        let mut names = Names::default();
        assert_eq!(names.answered(ANSWER).as_deref(), Some("api.example.com"));
        assert_eq!(&*names.of("192.0.2.7:443".parse().unwrap()), "api.example.com");
        assert_eq!(&*names.of("192.0.2.8:443".parse().unwrap()), "192.0.2.8:443");
    }

    #[test]
    fn what_is_cut_off_or_garbage_names_nobody() {
        for len in 0..ANSWER.len() - 1 {
            let mut names = Names::default();
            names.answered(&ANSWER[..len]);
            assert_eq!(&*names.of("192.0.2.7:1".parse().unwrap()), "192.0.2.7:1", "{len}");
        }
        let mut names = Names::default();
        names.greeted("192.0.2.7:1".parse().unwrap(), &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3]);
        assert_eq!(&*names.of("192.0.2.7:1".parse().unwrap()), "192.0.2.7:1");
    }

    #[test]
    fn a_client_of_tls_says_whom_it_wants() {
        let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = "api.example.com".try_into().unwrap();
        let mut client = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        let peer = "192.0.2.9:443".parse().unwrap();
        let mut names = Names::default();
        names.greeted(peer, &hello[..hello.len() - 1]);
        assert_eq!(&*names.of(peer), "192.0.2.9:443");
        names.greeted(peer, &hello);
        assert_eq!(&*names.of(peer), "api.example.com");
    }
}
