//! Runs one of the targets of `mcp_proto::fuzzing` under libFuzzer: `cargo xtask fuzz` starts it.
#![no_main]

mod memory;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mcp_proto::fuzzing::TARGETS;

#[global_allocator]
static MEMORY: memory::Counting = memory::Counting;

/// More than this at a time, beside a multiple of the input, is memory without bounds: parsers
/// keep kilobytes under the limits that fuzzing sets, and a window of compression is 48 of them.
const MOST_BYTES: usize = 4 << 20;
const MOST_PER_BYTE: usize = 4096;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    target.expect("FUZZ_TARGET names one of mcp_proto::fuzzing::TARGETS").1
});

fuzz_target!(|data: &[u8]| {
    let target = *TARGET;
    let before = memory::begin();
    target(data);
    let most = memory::peak() - before;
    assert!(
        most <= MOST_BYTES + MOST_PER_BYTE * data.len(),
        "{} bytes of input took {most} bytes of memory",
        data.len()
    );
});
