//! The other ends of unix sockets, which only the kernel's sock_diag knows.
//!
//! Node makes a server's standard input and output socket pairs, not pipes.

use std::collections::HashMap;
use std::io;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::unix::{ShowFlags, StateFlags, UnixRequest};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

/// Sockets that one dump takes at most.
const MAX_SOCKETS: usize = 65_536;
/// Bytes of one datagram of a dump; the kernel fills at most 32 KiB.
const DATAGRAM: usize = 64 << 10;

/// A connected unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UnixSocket {
    /// Inode of the other end; `None` when it is gone.
    pub(super) peer: Option<u64>,
    /// Nothing will come in any more.
    pub(super) no_input: bool,
    /// Nothing can go out any more.
    pub(super) no_output: bool,
}

/// All connected unix sockets of this network namespace, by inode.
pub(super) fn unix_sockets() -> io::Result<HashMap<u64, UnixSocket>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request(), 0)?;
    let mut found = HashMap::new();
    let mut datagram = Vec::with_capacity(DATAGRAM);
    loop {
        datagram.clear();
        let length = socket.recv(&mut datagram, 0)?;
        if length == 0 || take(&datagram, &mut found)? {
            return Ok(found);
        }
    }
}

fn request() -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = UnixRequest {
        state_flags: StateFlags::ESTABLISHED,
        inode: 0,
        show_flags: ShowFlags::PEER,
        // Any socket.
        cookie: [0xff; 8],
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::UnixRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Takes the sockets of one datagram. Whether it was the last.
fn take(mut bytes: &[u8], found: &mut HashMap<u64, UnixSocket>) -> io::Result<bool> {
    while !bytes.is_empty() && found.len() < MAX_SOCKETS {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::UnixResponse(response)) => {
                let shutdown = response.shutdown_state().unwrap_or(0);
                let socket = UnixSocket {
                    peer: response.peer().filter(|&peer| peer != 0).map(u64::from),
                    no_input: shutdown & 1 != 0,
                    no_output: shutdown & 2 != 0,
                };
                found.insert(response.header.inode.into(), socket);
            }
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            NetlinkPayload::Done(_) => return Ok(true),
            _ => {}
        }
        // Messages are aligned to four bytes.
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
        let next = length.saturating_add(3) & !3;
        bytes = bytes.get(next.max(16)..).unwrap_or_default();
    }
    Ok(found.len() >= MAX_SOCKETS)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn inode(socket: &UnixStream) -> u64 {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let link = link.to_string_lossy().into_owned();
        link.trim_start_matches("socket:[")
            .trim_end_matches(']')
            .parse()
            .unwrap()
    }

    #[test]
    fn both_ends_then_one() {
        let (here, there) = UnixStream::pair().unwrap();
        let of = |socket| unix_sockets().unwrap()[&inode(socket)];
        assert_eq!(of(&here).peer, Some(inode(&there)));
        there.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(of(&here).no_input && !of(&here).no_output);
        drop(there);
        let left = of(&here);
        assert!(left.peer.is_none() && left.no_output, "{left:?}");
    }

    #[test]
    fn garbage_is_an_error() {
        let mut found = HashMap::new();
        assert!(take(&[0; 7], &mut found).is_err() && take(&[0xff; 64], &mut found).is_err());
        assert!(!take(&[], &mut found).unwrap());
    }
}
