//! The real SDKs over HTTP, plain and encrypted, in both eras and over the transport before them.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mcpsonar_tests::harness::sdk::{EVERYTHING, client, folder, ready};
use mcpsonar_tests::harness::{Run, Trace, check_perfect, output_within, text};
use serde_json::Value;

/// A port that nobody listens on.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A certificate for localhost with its key, made for this run.
fn certificate() -> Result<(String, String)> {
    let place = folder();
    let (certificate, key) = (text(&place.join("cert.pem")), text(&place.join("key.pem")));
    let subject = [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ];
    let mut command = Command::new("openssl");
    command
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(subject)
        .args(["-keyout", &key, "-out", &certificate]);
    let made = output_within(&mut command, Duration::from_secs(30))?;
    ensure!(
        made.status.success(),
        "openssl: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok((certificate, key))
}

/// What a server is started with.
#[derive(Clone, Copy, Default)]
struct With {
    options: &'static str,
    sse: bool,
    tls: bool,
}

/// The shell command of a server of this kind on `port`.
fn server(kind: &str, port: u16, with: With) -> Result<String> {
    let place = folder();
    let node = place.join("node");
    let python = place.join("python");
    Ok(match kind {
        "node" => format!(
            "PORT={port} node --import {} {} {} >/dev/null",
            node.join("loopback.mjs").display(),
            node.join(EVERYTHING).display(),
            if with.sse { "sse" } else { "streamableHttp" }
        ),
        _ => {
            let tls = if with.tls {
                let (certificate, key) = certificate()?;
                format!("--tls {certificate} {key}")
            } else {
                String::new()
            };
            format!(
                "{} {} {} {port} {} {tls}",
                python.join("venv/bin/python").display(),
                python.join("server.py").display(),
                if with.sse { "sse" } else { "http" },
                with.options
            )
        }
    })
}

/// Runs a client against a server under the agent.
fn traced(name: &str, asks: &str, answers: &str, with: With) -> Result<Option<Run>> {
    if !ready()? {
        return Ok(None);
    }
    let trace = Trace::new(&format!("http_{name}"))?;
    let port = free_port()?;
    let scheme = if with.tls { "https" } else { "http" };
    let path = if with.sse { "sse" } else { "mcp" };
    let client = client(asks, &trace.truth(), &[])?.join(" ");
    let server = server(answers, port, with)?;
    let trust = folder().join("cert.pem");
    let script = format!(
        "{server} & s=$!\n\
         for i in $(seq 300); do (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && break; sleep 0.1; done\n\
         export SSL_CERT_FILE={trust} NODE_EXTRA_CA_CERTS={trust}\n\
         {client} {scheme}://localhost:{port}/{path}; r=$?\n\
         kill $s; wait $s 2>/dev/null; exit $r",
        trust = trust.display(),
    );
    let run = trace.run(&["bash".to_owned(), "-c".to_owned(), script])?;
    ensure!(
        run.status.success(),
        "the client ended with {}: {}",
        run.status,
        run.stderr
    );
    check_perfect(&run).context("against what the SDK says happened")?;
    Ok(Some(run))
}

/// What holds of every call that both ends were seen of.
fn check(call: &Value, transport: &str, tls: bool) -> Result<()> {
    let expected = serde_json::json!([transport, "tcp", tls, ["client", "server"]]);
    let is = serde_json::json!([
        call["transport"],
        call["network_transport"],
        call["tls"],
        call["seen_by"]
    ]);
    ensure!(is == expected, "{is} and not {expected} in {call}");
    for address in ["client_address", "server_address"] {
        ensure!(
            call[address].as_str().is_some_and(|it| it.contains(':')),
            "{address} in {call}"
        );
    }
    if call["outcome"] == "ok" && call["direction"] == "client_to_server" && transport == "http" {
        ensure!(call["http_status"] == 200, "status in {call}");
        ensure!(call["parts_us"]["server"].is_number(), "no server time in {call}");
    }
    Ok(())
}

fn pair(name: &str, asks: &str, answers: &str, with: With) -> Result<()> {
    let Some(run) = traced(name, asks, answers, with)? else {
        return Ok(());
    };
    ensure!(run.calls.len() > 30, "only {} calls", run.calls.len());
    let transport = if with.sse { "sse" } else { "http" };
    run.calls.iter().try_for_each(|call| check(call, transport, with.tls))
}

macro_rules! pairs {
    ($($name:ident: $client:literal $server:literal $with:expr;)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            pair(stringify!($name), $client, $server, $with)
        }
    )*};
}

const PLAIN: With = With {
    options: "",
    sse: false,
    tls: false,
};
const JSON: With = With {
    options: "--json",
    ..PLAIN
};
const STATELESS: With = With {
    options: "--stateless",
    ..PLAIN
};
const SSE: With = With { sse: true, ..PLAIN };
const TLS: With = With { tls: true, ..PLAIN };

pairs! {
    node_with_node: "node" "node" PLAIN;
    node_with_node_before_streamable: "node" "node" SSE;
    node_with_python: "node" "py" PLAIN;
    node_with_python_json: "node" "py" JSON;
    node_with_python_tls: "node" "py" TLS;
    node_modern_with_python: "node-modern" "py" PLAIN;
    python_with_node: "py" "node" PLAIN;
    python_with_python: "py" "py" PLAIN;
    python_with_python_stateless: "py" "py" STATELESS;
    python_handshake_with_python: "py-legacy" "py" PLAIN;
    python_handshake_with_python_tls: "py-legacy" "py" TLS;
}
