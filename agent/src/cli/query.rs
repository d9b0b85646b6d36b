//! Questions to the running agent.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::{CallsArgs, ConfigArgs, Failure, ReportArgs, agent, pages::print};
use crate::sink::text::{column, duration, time_of_day};

/// Bytes of a line of an answer at most.
const MAX_LINE: usize = 1 << 20;

/// Prints calls.
///
/// # Errors
/// When no agent answers.
pub(super) fn calls(args: &CallsArgs) -> Result<u8, Failure> {
    let mut query = format!("/v1/calls?since={}&limit={}", escape(&args.since), args.limit);
    for (name, on) in [("slow", args.slow), ("errors", args.errors), ("watch", args.watch)] {
        if on {
            write!(query, "&{name}=true").unwrap_or_default();
        }
    }
    for (name, value) in [("tool", &args.tool), ("server", &args.server)] {
        if let Some(value) = value {
            write!(query, "&{name}={}", escape(value)).unwrap_or_default();
        }
    }
    let mut rest = Vec::new();
    if !args.json {
        print(header().as_bytes())?;
    }
    ask(&args.config, &query, |bytes| {
        if args.json {
            return print(bytes);
        }
        rest.extend_from_slice(bytes);
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            print(human(&line).as_bytes())?;
        }
        if rest.len() > MAX_LINE {
            rest.clear();
        }
        Ok(())
    })?;
    Ok(0)
}

/// Prints a report, or writes it as HTML.
///
/// # Errors
/// When no agent answers, or the file cannot be written.
pub(super) fn report(args: &ReportArgs) -> Result<u8, Failure> {
    let format = match (args.json, &args.html) {
        (true, _) => "json",
        (false, Some(_)) => "html",
        (false, None) => "text",
    };
    let mut answer = Vec::new();
    let query = format!("/v1/report?since={}&format={format}", escape(&args.since));
    ask(&args.config, &query, |bytes| {
        answer.extend_from_slice(bytes);
        Ok(())
    })?;
    if args.json {
        answer.push(b'\n');
    }
    match &args.html {
        None => print(&answer)?,
        Some(path) => {
            fs::write(path, answer).map_err(|source| Failure::File {
                action: "write the report",
                path: path.clone(),
                source,
            })?;
            writeln!(io::stderr(), "mcpsonar: the report is in {}", path.display()).unwrap_or_default();
        }
    }
    Ok(0)
}

/// Asks the agent, and hands the answer over as it comes.
fn ask(config: &ConfigArgs, query: &str, mut take: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
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

/// What a query may hold as it is (RFC 3986, unreserved), the rest as %XX.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
    }
    out
}

fn header() -> String {
    format!(
        "{} {} {} {} {:>8} {} {}\n",
        column("TIME (UTC)", 12),
        column("CLIENT", 14),
        column("SERVER", 14),
        column("OPERATION", 32),
        "LATENCY",
        column("OUTCOME", 12),
        "CAUSE AND CALL"
    )
}

/// A line for people from a line of JSON.
fn human(line: &[u8]) -> String {
    let call: Value = serde_json::from_slice(line).unwrap_or_default();
    if let Some(missed) = call["missed"].as_u64() {
        return format!("({missed} calls missed: this terminal is too slow)\n");
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let party = |value: &Value| {
        text(if value["name"].is_string() {
            &value["name"]
        } else {
            &value["comm"]
        })
    };
    let target = ["tool", "prompt", "resource"]
        .iter()
        .find_map(|name| call[name].as_str());
    let operation = format!("{} {}", text(&call["method"]), target.unwrap_or_default());
    format!(
        "{} {} {} {} {:>8} {} {} {}\n",
        call["start_unix_ns"]
            .as_u64()
            .map_or_else(|| column("-", 12), time_of_day),
        column(&party(&call["client"]), 14),
        column(&party(&call["server"]), 14),
        column(&operation, 32),
        call["latency_us"].as_f64().map_or_else(|| "-".to_owned(), duration),
        column(&text(&call["outcome"]), 12),
        column(&text(&call["dominant_cause"]), 13),
        text(&call["call"])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tools_are_no_syntax() {
        assert_eq!(escape("a b&c=ü"), "a%20b%26c%3D%C3%BC");
    }

    #[test]
    fn any_line_is_shown() {
        let line = human(br#"{"method":"tools/call","tool":"e\u001b[2Jcho","latency_us":1500.0,"outcome":"ok","server":{"name":null,"comm":"python"}}"#);
        assert!(
            line.contains("python") && line.contains("1.50ms") && !line.contains('\x1b'),
            "{line}"
        );
        assert!(human(b"nonsense").contains('-'));
    }
}
