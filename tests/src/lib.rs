//! End-to-end tests of mcpsonar.
