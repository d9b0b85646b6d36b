//! Candidates for MCP endpoints: processes that serve TCP or have a TLS library. Who of them speaks
//! MCP only traffic tells.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::net::SocketAddr;

use serde::Serialize;

use super::{Failure, PsArgs, endpoints, pages::print};
use crate::hooks::TlsStatus;
use crate::host::{FactsSource, ProcFs, TcpUse, all_pids, tcp_use};
use crate::sensor;
use crate::sink::text::written;

/// A process that may be an MCP endpoint.
#[derive(Clone, Debug, Serialize)]
struct Candidate {
    pid: u32,
    comm: Option<String>,
    exe: Option<String>,
    cmdline: Vec<String>,
    container: Option<String>,
    /// Addresses where it listens.
    listens: BTreeSet<SocketAddr>,
    /// Established TCP connections.
    connections: usize,
    tls: Vec<TlsStatus>,
    /// Whether it is known to speak MCP: not without an agent that has seen its traffic.
    state: &'static str,
}

/// Prints the endpoints that the agent knows, or else the candidates.
///
/// # Errors
/// When the standard output cannot be written.
pub(super) fn run(args: &PsArgs) -> Result<u8, Failure> {
    if !args.candidates {
        match endpoints::print(args) {
            Err(Failure::NoAgent { socket }) => {
                let none = Failure::NoAgent { socket };
                writeln!(io::stderr(), "mcpsonar: {none}; these are candidates").unwrap_or_default();
            }
            asked => return asked,
        }
    }
    let candidates = join(sensor::tls_of_processes(&all_pids()), tcp_use());
    let output = if args.json {
        let mut lines = Vec::new();
        for candidate in &candidates {
            serde_json::to_writer(&mut lines, candidate).map_err(|error| Failure::stdout(error.into()))?;
            lines.push(b'\n');
        }
        lines
    } else {
        table(&candidates).into_bytes()
    };
    print(&output)?;
    Ok(0)
}

fn join(libraries: Vec<TlsStatus>, mut tcp: HashMap<u32, TcpUse>) -> Vec<Candidate> {
    let mut tls: BTreeMap<u32, Vec<TlsStatus>> = BTreeMap::new();
    for status in libraries {
        tls.entry(status.pid).or_default().push(status);
    }
    let own = std::process::id();
    let listeners = tcp.iter().filter(|(_, it)| !it.listens.is_empty()).map(|(&pid, _)| pid);
    let pids: BTreeSet<u32> = tls.keys().copied().chain(listeners).filter(|&pid| pid != own).collect();
    // A process that has ended meanwhile has no facts.
    let candidates = pids.into_iter().filter_map(|pid| {
        let facts = ProcFs.read(pid)?;
        let TcpUse { listens, connections } = tcp.remove(&pid).unwrap_or_default();
        Some(Candidate {
            pid,
            comm: facts.comm,
            exe: facts.exe,
            cmdline: facts.cmdline,
            container: facts.container,
            listens,
            connections,
            tls: tls.remove(&pid).unwrap_or_default(),
            state: "candidate",
        })
    });
    candidates.collect()
}

fn table(candidates: &[Candidate]) -> String {
    written(|out| table_to(candidates, out))
}

fn table_to(candidates: &[Candidate], out: &mut String) -> fmt::Result {
    writeln!(
        out,
        "{:>7}  {:<15}  {:>5}  {:<24}  TLS",
        "PID", "COMMAND", "CONNS", "LISTENS"
    )?;
    for candidate in candidates {
        let comm = candidate.comm.as_deref().unwrap_or("?").escape_default().to_string();
        let listens = match (candidate.listens.first(), candidate.listens.len()) {
            (None, _) => "-".to_owned(),
            (Some(first), 1) => first.to_string(),
            (Some(first), number) => format!("{first} +{}", number - 1),
        };
        let tls: BTreeSet<String> = candidate.tls.iter().map(in_words).collect();
        let tls = tls.into_iter().collect::<Vec<_>>().join("; ");
        writeln!(
            out,
            "{:>7}  {comm:<15}  {:>5}  {listens:<24}  {}",
            candidate.pid,
            candidate.connections,
            if tls.is_empty() { "-" } else { &tls }
        )?;
    }
    writeln!(
        out,
        "candidates only: who of them speaks MCP their traffic tells, to `mcpsonar agent` or `mcpsonar trace`"
    )
}

fn in_words(status: &TlsStatus) -> String {
    let name = status.library.name();
    match (status.visible, status.reason.as_str()) {
        (true, "") => format!("{name} visible"),
        (true, reason) => format!("{name} visible in part: {reason}"),
        (false, reason) => format!("{name} opaque: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::TlsLibrary;

    fn opaque(pid: u32) -> TlsStatus {
        TlsStatus {
            pid,
            binary: "/x".to_owned(),
            library: TlsLibrary::BoringSsl,
            visible: false,
            reason: "Bun is shipped without symbols".to_owned(),
        }
    }

    #[test]
    fn who_listens_or_has_a_library_is_a_candidate() {
        // Two processes that live: the test's parent, and a child.
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        let (parent, own) = (std::os::unix::process::parent_id(), std::process::id());
        let listening = TcpUse {
            listens: ["127.0.0.1:7900".parse().unwrap(), "127.0.0.1:7901".parse().unwrap()].into(),
            connections: 3,
        };
        let connected = TcpUse {
            connections: 1,
            ..TcpUse::default()
        };
        let tcp = [(parent, listening), (own, connected.clone()), (child.id(), connected)];
        let candidates = join(vec![opaque(child.id()), opaque(child.id())], tcp.into());
        child.kill().unwrap();
        child.wait().unwrap();
        let pids: BTreeSet<u32> = candidates.iter().map(|it| it.pid).collect();
        assert_eq!(pids, BTreeSet::from([parent, child.id()]));
        let text = table(&candidates);
        assert!(text.contains("    3  127.0.0.1:7900 +1 "), "{text}");
        assert_eq!(text.matches("BoringSSL opaque: Bun is").count(), 1, "{text}");
        let json = serde_json::to_value(&candidates).unwrap();
        let of_child = json
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["pid"] == child.id())
            .unwrap();
        assert_eq!(
            (&of_child["tls"][0]["visible"], &of_child["state"]),
            (&false.into(), &"candidate".into())
        );
    }
}
