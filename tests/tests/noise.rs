//! What looks like MCP to a careless eye is no call.

use anyhow::{Result, ensure};
use mcpsonar_tests::harness::{Trace, fixture};

fn silent(kind: &str) -> Result<()> {
    for carrier in [&[][..], &["--socketpair"]] {
        let trace = Trace::new(&format!("noise_{kind}_{}", carrier.len()))?;
        let fixture = fixture();
        let line: Vec<&str> = [&*fixture, "noise", kind].iter().chain(carrier).copied().collect();
        let run = trace.run(&line)?;
        ensure!(
            run.status.success(),
            "the noise ended with {}: {}",
            run.status,
            run.stderr
        );
        ensure!(
            run.calls.is_empty(),
            "{} calls, the first of them {}",
            run.calls.len(),
            run.calls[0]
        );
    }
    Ok(())
}

#[test]
fn language_servers() -> Result<()> {
    silent("lsp")
}

#[test]
fn pipelines() -> Result<()> {
    silent("pipeline")
}

#[test]
fn binary() -> Result<()> {
    silent("binary")
}

#[test]
fn lines_of_json() -> Result<()> {
    silent("jsonlines")
}

#[test]
fn json_rpc_of_another_protocol() -> Result<()> {
    silent("jsonrpc")
}
