//! mcpsonar: every MCP call on a Linux host, seen from the kernel.
fn main() {}
