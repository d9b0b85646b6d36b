//! Questions to the running agent, over its socket.

use std::io;
use std::path::Path;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::UnixStream;

use super::pages::print;
use super::{ConfigArgs, Failure, agent};

/// Bytes of a line of an answer at most.
const MAX_LINE: usize = 8 << 20;

/// Asks the agent, and hands the answer over as it comes.
pub(super) fn ask(
    config: &ConfigArgs,
    query: &str,
    mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let socket = agent::load(config)?.config.socket_path;
    let failed = |source| Failure::Io {
        what: format!("cannot ask the agent at {}", socket.display()),
        source,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(async {
        let mut answer = send(&socket, query).await?;
        if answer.status() == StatusCode::FORBIDDEN {
            return Err(Failure::NotAllowed { socket: socket.clone() });
        }
        if answer.status() != StatusCode::OK {
            let body = answer
                .into_body()
                .collect()
                .await
                .map_err(|error| failed(io::Error::other(error)))?;
            let said: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
            let why = said["error"].as_str().unwrap_or("it does not say why").to_owned();
            return Err(Failure::Io {
                what: "the agent refuses".to_owned(),
                source: io::Error::other(why),
            });
        }
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(|error| failed(io::Error::other(error)))?;
            if let Some(data) = frame.data_ref() {
                take(data)?;
            }
        }
        Ok(())
    })
}

async fn send(socket: &Path, query: &str) -> Result<Response<Incoming>, Failure> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure::NoAgent {
            socket: socket.to_owned(),
        },
        io::ErrorKind::PermissionDenied => Failure::NotAllowed {
            socket: socket.to_owned(),
        },
        _ => Failure::Io {
            what: format!("cannot ask the agent at {}", socket.display()),
            source,
        },
    };
    let stream = UnixStream::connect(socket).await.map_err(failed)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(io::Error::other(error)))?;
    tokio::spawn(connection);
    let request = Request::get(query)
        .header("host", "agent")
        .body(String::new())
        .map_err(|error| Failure::Usage(error.to_string()))?;
    sender
        .send_request(request)
        .await
        .map_err(|error| failed(io::Error::other(error)))
}

/// The whole answer.
pub(crate) fn ask_all(config: &ConfigArgs, query: &str) -> Result<Vec<u8>, Failure> {
    let mut answer = Vec::new();
    ask(config, query, |bytes| {
        answer.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(answer)
}

/// Prints the lines of an answer as they come: as JSON, or as `human` makes each.
pub(super) fn print_lines(
    config: &ConfigArgs,
    query: &str,
    json: bool,
    mut human: impl FnMut(&Value) -> String,
) -> Result<(), Failure> {
    let mut rest = Vec::new();
    ask(config, query, |bytes| {
        if json {
            return print(bytes);
        }
        rest.extend_from_slice(bytes);
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let value = serde_json::from_slice(&line).unwrap_or_default();
            print(human(&value).as_bytes())?;
        }
        if rest.len() > MAX_LINE {
            rest.clear();
        }
        Ok(())
    })
}

/// What a query may hold as it is (RFC 3986, unreserved), the rest as %XX.
pub(crate) fn escape(text: &str) -> String {
    const REST: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, REST).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tools_are_no_syntax() {
        assert_eq!(escape("a b&c=ü"), "a%20b%26c%3D%C3%BC");
    }
}
