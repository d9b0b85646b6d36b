//! The eBPF object inside this binary.

/// The object; empty in a binary that was built without `cargo xtask build`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mcpsonar.bpf.o"));

/// Whether this binary carries the programs.
#[must_use]
pub fn is_embedded() -> bool {
    !OBJECT.is_empty()
}
