//! mcpsonar: every MCP call on a Linux host, seen from the kernel.
//!
//! Data flows one way: [`sensor`] -> `mcp_proto` -> [`calls`] -> [`metrics`] -> [`sink`].

pub mod calls;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod flags;
pub mod health;
mod heap;
pub mod history;
pub mod hooks;
pub mod host;
pub mod metrics;
pub mod observe;
pub mod report;
mod semconv;
pub mod sensor;
pub mod sink;
mod tui;
