//! What an OTLP exporter posts, as a collector of HTTP/1.1 reads it.

use std::io::BufRead;

use anyhow::{Context as _, Result, ensure};

/// A request: its path and its body.
#[derive(Debug)]
pub struct Posted {
    /// Without the host.
    pub path: String,
    /// As it came.
    pub body: Vec<u8>,
}

impl Posted {
    /// The next request of a connection, with `Content-Length`; `None` at its end.
    pub fn read(reader: &mut impl BufRead) -> Result<Option<Self>> {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            if line.trim_end().is_empty() {
                break;
            }
            head.push(line.trim_end().to_ascii_lowercase());
        }
        let of = |name: &str| head.iter().find_map(|line| line.strip_prefix(name));
        ensure!(
            of("content-type: ") == Some("application/x-protobuf"),
            "another type: {head:?}"
        );
        let path = of("post ").and_then(|line| line.split(' ').next());
        let path = path.with_context(|| format!("another request: {head:?}"))?.to_owned();
        let mut body = vec![0; of("content-length: ").context("no length")?.parse()?];
        reader.read_exact(&mut body)?;
        Ok(Some(Self { path, body }))
    }
}
