//! End-to-end tests of mcpsonar: a small MCP server and client with a known truth, and the harness that holds the
//! agent's calls against it.

pub mod fixture;
pub mod harness;
