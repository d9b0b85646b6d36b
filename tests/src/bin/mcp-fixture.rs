//! The project's own MCP server and client, with a known truth.

use std::process::ExitCode;

use clap::Parser;
use mcpsonar_tests::fixture::{hold, http, load, noise, pair, score, script, server, syscalls};

/// A small MCP server and client with a known truth, and the noise around them
#[derive(Parser)]
#[command(version, max_term_width = 100)]
enum Command {
    /// Serve MCP over stdin and stdout
    Server(server::Args),
    /// Run a script against a server and write the truth
    Client(script::Args),
    /// Have servers and do nothing with them
    Hold(hold::Args),
    /// Serve MCP over HTTP, and other things beside it
    HttpServer(http::Args),
    /// Run a script against a server over HTTP and write the truth
    HttpClient(script::OverHttp),
    /// Start servers that listen, run a client against each, end the servers
    Pair(pair::Args),
    /// Call a server as fast as possible or at a rate
    Load(load::Args),
    /// Hold the agent's calls against the truth
    Score(score::Args),
    /// Measure a system call
    Syscalls(syscalls::Args),
    /// Traffic that is not MCP
    Noise(noise::Args),
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Server(args) => server::run(&args).map_err(Into::into).map(|()| true),
        Command::Client(args) => script::run(&args).map(|()| true),
        Command::Hold(args) => hold::run(&args).map(|()| true),
        Command::HttpServer(args) => http::run(&args).map(|()| true),
        Command::HttpClient(args) => script::run_over_http(&args).map(|()| true),
        Command::Pair(args) => Ok(pair::run(&args)),
        Command::Load(args) => load::run(&args).map(|()| true),
        Command::Score(args) => score::run(&args),
        Command::Syscalls(args) => syscalls::run(&args).map(|()| true),
        Command::Noise(args) => noise::run(&args).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("mcp-fixture: {e:#}");
            ExitCode::FAILURE
        }
    }
}
