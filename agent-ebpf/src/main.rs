//! The eBPF programs.
