//! mcpsonar: every MCP call on a Linux host, seen from the kernel.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use mcpsonar::cli::{Cli, run};

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            // Where stderr is gone too there is only the status left.
            writeln!(io::stderr(), "mcpsonar: {failure}").unwrap_or_default();
            ExitCode::from(failure.exit_code())
        }
    }
}
