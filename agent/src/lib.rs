//! mcpsonar.
