//! TCP connections as the kernel programs ship them: both ends agree on where every byte is, from
//! whenever they are watched.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use agent_abi::{Record, SocketEvent, SocketRecord, flags};
use anyhow::{Context as _, Result, ensure};
use mcpsonar::calls::recording::{Frame, RecordingReader};
use mcpsonar_tests::harness::Trace;

/// What one end of a connection was seen to do.
#[derive(Default)]
struct End {
    /// Positions of the bytes that moved, in order: written, read.
    moved: [Vec<(u64, u64)>; 2],
    /// Those that were captured, by position: written, read.
    captured: [BTreeMap<u64, u8>; 2],
    /// What became of its socket.
    events: Vec<SocketRecord>,
}

impl End {
    /// First position and the one after the last, of which nothing is missing between.
    fn span(&self, direction: usize) -> Result<(u64, u64)> {
        let first = self.moved[direction].first().context("nothing moved")?.0;
        let mut next = first;
        for &(at, len) in &self.moved[direction] {
            ensure!(at == next, "bytes at {at} came after those before {next}");
            next = at + len;
        }
        Ok((first, next))
    }

    fn event(&self, wanted: SocketEvent) -> Result<&SocketRecord> {
        let found = self.events.iter().find(|record| record.event == wanted as u32);
        found.with_context(|| format!("{wanted:?} was not told"))
    }
}

/// Ends of connections, by their ports: own, other.
fn ends(trace: &Trace) -> Result<BTreeMap<(u16, u16), End>> {
    let mut reader = RecordingReader::new(BufReader::new(File::open(trace.file("recording"))?))?;
    let mut ends: BTreeMap<(u16, u16), End> = BTreeMap::new();
    let mut ports = BTreeMap::new();
    while let Some(frame) = reader.next_frame()? {
        let Frame::Record(bytes) = frame else { continue };
        match Record::decode(&bytes)? {
            Record::Socket(socket) => {
                let key = (socket.local_port, socket.remote_port);
                ports.entry(socket.socket).or_insert(key);
                ends.entry(ports[&socket.socket]).or_default().events.push(socket);
            }
            Record::Data(data, payload) if data.flags & flags::TCP != 0 => {
                let key = ports.get(&data.pair).context("data came before its socket")?;
                let end = ends.entry(*key).or_default();
                let direction = usize::from(data.flags & flags::READ != 0);
                if data.flags & flags::FIRST != 0 {
                    end.moved[direction].push((data.offset, data.len));
                }
                let at = data.offset + u64::from(data.at);
                end.captured[direction].extend((at..).zip(payload.iter().copied()));
            }
            _ => {}
        }
    }
    Ok(ends)
}

/// The bytes that one end has written are those that the other has read, as far as that was captured:
/// once the agent knows both ends, the writer's will do.
fn check_agreement(writer: &End, reader: &End, least: usize) -> Result<()> {
    let (written, read) = (&writer.captured[0], &reader.captured[1]);
    for (at, byte) in read {
        if let Some(same) = written.get(at) {
            ensure!(same == byte, "byte {at} was written as {same} and read as {byte}");
        }
    }
    ensure!(written.len() >= least, "only {} bytes were captured", written.len());
    Ok(())
}

/// Writes at one end what is read at the other.
fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    std::thread::scope(|scope| {
        let written = scope.spawn(move || from.write_all(bytes));
        let mut read = vec![0; bytes.len()];
        to.read_exact(&mut read)?;
        ensure!(read == bytes, "other bytes came");
        written
            .join()
            .map_err(|panic| anyhow::anyhow!("the writer panicked: {panic:?}"))??;
        Ok(())
    })
}

fn connect(address: &str) -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((address, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    Ok((client, listener.accept()?.0))
}

fn ports(stream: &TcpStream) -> Result<(u16, u16)> {
    Ok((stream.local_addr()?.port(), stream.peer_addr()?.port()))
}

/// A message of so many bytes, at least 80, that are not the same at any two near positions: of
/// what is not MCP little would be captured.
fn message(len: usize) -> Vec<u8> {
    let mut bytes = br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":""#.to_vec();
    let noise = (0_u32..).map(|i| b'a' + (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 26);
    bytes.extend(noise.take(len - bytes.len() - 4));
    bytes.extend(b"\"}}\n");
    bytes
}

fn own() -> [String; 2] {
    ["-p".to_owned(), std::process::id().to_string()]
}

#[test]
fn both_ends_agree_on_a_connection_that_was_open_before() -> Result<()> {
    let trace = Trace::new("tcp_before")?;
    for address in ["127.0.0.1", "::1"] {
        let (mut client, mut server) = connect(address)?;
        let (client_ports, server_ports) = (ports(&client)?, ports(&server)?);
        pass(&mut client, &mut server, &message(300_000))?;
        pass(&mut server, &mut client, &message(150_001))?;
        // On their way while the agent comes.
        client.write_all(&message(100))?;
        server.write_all(&message(87))?;
        let own = own();
        let agent = trace.record(&[&own[0], &own[1]])?;
        client.write_all(&message(500))?;
        let mut read = [0; 600];
        server.read_exact(&mut read)?;
        server.write_all(&message(263))?;
        // The last bytes come with the end of the stream.
        server.shutdown(Shutdown::Write)?;
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut rest = Vec::new();
        client.read_to_end(&mut rest)?;
        ensure!(rest.len() == 350, "{} bytes were left", rest.len());
        client.write_all(&message(80))?;
        drop(client);
        server.read_to_end(&mut rest)?;
        drop(server);
        agent.stop()?;

        let ends = ends(&trace)?;
        let (client, server) = (&ends[&client_ports], &ends[&server_ports]);
        ensure!(
            client.span(0)? == (300_100, 300_680),
            "{address}: {:?}",
            client.span(0)?
        );
        ensure!(
            server.span(1)? == (300_000, 300_680),
            "{address}: {:?}",
            server.span(1)?
        );
        ensure!(
            server.span(0)? == (150_088, 150_351),
            "{address}: {:?}",
            server.span(0)?
        );
        ensure!(
            client.span(1)? == (150_001, 150_351),
            "{address}: {:?}",
            client.span(1)?
        );
        check_agreement(client, server, 500)?;
        check_agreement(server, client, 263)?;
        let (closed, seen) = (client.event(SocketEvent::Closed)?, client.event(SocketEvent::Seen)?);
        ensure!((closed.sent, closed.received) == (300_680, 150_351), "{closed:?}");
        ensure!(seen.header.tgid == std::process::id(), "{seen:?}");
        ensure!(seen.netns != 0 && seen.connect_us == 0, "{seen:?}");
        client.event(SocketEvent::PeerClosed)?;
        let other: SocketAddr = format!("[::ffff:{address}]:0")
            .parse()
            .unwrap_or_else(|_| ([0, 0, 0, 0, 0, 0, 0, 1], 0).into());
        ensure!(
            std::net::IpAddr::from(seen.remote) == other.ip(),
            "{address} was told as {:?}",
            seen.remote
        );
    }
    Ok(())
}

#[test]
fn a_connection_is_seen_from_its_first_byte() -> Result<()> {
    let trace = Trace::new("tcp_fresh")?;
    let own = own();
    let agent = trace.record(&[&own[0], &own[1]])?;
    let (mut client, mut server) = connect("127.0.0.1")?;
    let (client_ports, server_ports) = (ports(&client)?, ports(&server)?);
    for i in 1..40 {
        pass(&mut client, &mut server, &message(200 + i * 37))?;
        pass(&mut server, &mut client, &message(150 + i))?;
    }
    drop((client, server));
    agent.stop()?;
    let ends = ends(&trace)?;
    let (client, server) = (&ends[&client_ports], &ends[&server_ports]);
    for (writer, reader) in [(client, server), (server, client)] {
        ensure!(writer.span(0)?.0 == 0 && reader.span(1)?.0 == 0);
        check_agreement(writer, reader, 100)?;
    }
    let connected = client.event(SocketEvent::Connected)?;
    ensure!(
        (1..1_000_000).contains(&connected.connect_us),
        "connecting took {} us",
        connected.connect_us
    );
    ensure!(
        server.event(SocketEvent::Connected).is_err(),
        "the server's end connected"
    );
    ensure!(client.event(SocketEvent::Seen)?.tcp.srtt_us > 0, "no round-trip time");
    Ok(())
}
