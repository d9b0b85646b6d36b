//! A collector's HTTP side, in the clear and over TLS.

use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, bail};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Collector, LATER, Manner};
use crate::harness::Posted;

/// What a slow one takes.
const SLOW: Duration = Duration::from_millis(700);

/// Where a collector is reached. Nobody listens there once it is dropped, and who was inside is out.
#[derive(Debug)]
pub struct Door {
    port: u16,
    shut: Arc<AtomicBool>,
    inside: Inside,
    thread: Option<JoinHandle<()>>,
}

/// Connections, to be cut.
#[derive(Clone, Debug, Default)]
struct Inside(Arc<Mutex<HashMap<u64, TcpStream>>>);

impl Inside {
    fn all(&self) -> MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Door {
    /// Lets requests in on a port of this host (0: any that is free).
    pub fn open(port: u16, collector: &Collector, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let port = listener.local_addr()?.port();
        let (shut, inside) = (Arc::new(AtomicBool::new(false)), Inside::default());
        let (is_shut, admitted, collector) = (Arc::clone(&shut), inside.clone(), collector.clone());
        let thread = std::thread::spawn(move || {
            for (number, connection) in (0..).zip(listener.incoming()) {
                if is_shut.load(Ordering::Acquire) {
                    return;
                }
                let Ok(connection) = connection else { continue };
                let Ok(handle) = connection.try_clone() else { continue };
                admitted.all().insert(number, handle);
                let (admitted, collector, tls) = (admitted.clone(), collector.clone(), tls.clone());
                std::thread::spawn(move || {
                    // A connection that the agent gives up is no failure.
                    drop(collector.welcome(connection, tls));
                    admitted.all().remove(&number);
                });
            }
        });
        Ok(Self {
            port,
            shut,
            inside,
            thread: Some(thread),
        })
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shut.store(true, Ordering::Release);
        // Wakes the one who waits for the next guest.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        for connection in self.inside.all().values() {
            drop(connection.shutdown(Shutdown::Both));
        }
    }
}

impl Collector {
    fn welcome(&self, connection: TcpStream, tls: Option<Arc<ServerConfig>>) -> Result<()> {
        let socket = connection.try_clone()?;
        match tls {
            Some(tls) => self.converse(StreamOwned::new(ServerConnection::new(tls)?, connection), &socket),
            None => self.converse(connection, &socket),
        }
    }

    fn converse(&self, stream: impl Read + Write, socket: &TcpStream) -> Result<()> {
        let mut reader = BufReader::new(stream);
        let mut turns = 0;
        while let Some(posted) = Posted::read(&mut reader)? {
            let manner = match &*posted.path {
                "/v1/traces" => self.take(ExportTraceServiceRequest::decode(&*posted.body)?),
                "/v1/metrics" => self.take_metrics(ExportMetricsServiceRequest::decode(&*posted.body)?),
                other => bail!("another path: {other}"),
            };
            turns += 1;
            match manner {
                Manner::Silent => drop(reader.read(&mut [0])?),
                Manner::Busy => {
                    let later = format!("429 Too Many Requests\r\nretry-after: {}", LATER.as_secs());
                    answer(reader.get_mut(), &later, &[])?;
                }
                Manner::Refusing => answer(reader.get_mut(), "400 Bad Request", &[])?,
                Manner::HalfClosing => {
                    socket.shutdown(Shutdown::Write)?;
                    std::io::copy(&mut reader, &mut std::io::sink())?;
                }
                Manner::Babbling if turns % 2 == 0 => reader.get_mut().write_all(&[0xfe; 64])?,
                Manner::Babbling => answer(reader.get_mut(), "200 OK", &[0xff; 16])?,
                Manner::Well | Manner::Slow | Manner::Partial => {
                    if manner == Manner::Slow {
                        std::thread::sleep(SLOW);
                    }
                    answer(reader.get_mut(), "200 OK", &Self::answer(manner).encode_to_vec())?;
                }
            }
            reader.get_mut().flush()?;
        }
        Ok(())
    }
}

/// In one piece: the rest of one in several would wait for the acknowledgement of the first, up to 40 ms.
fn answer(to: &mut impl Write, head: &str, body: &[u8]) -> Result<()> {
    let mut whole = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    whole.extend_from_slice(body);
    Ok(to.write_all(&whole)?)
}
