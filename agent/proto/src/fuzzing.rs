//! Arbitrary bytes for the parsers, and what has to hold whatever they are.
//!
//! The first byte of the data chooses how the rest is read; how it is cut into pieces follows from
//! all of it. Limits are small, so that short inputs reach them.
//!
//! # Panics
//! Every entry panics when something does not hold: that is what it is for.

mod content;
mod host;
mod http;
mod pieces;
mod sockets;

use crate::Limits;

/// Takes data, and panics when something does not hold.
pub type Target = fn(&[u8]);

/// The entries by name.
pub const TARGETS: [(&str, Target); 7] = [
    ("h1", http::h1),
    ("chunked", http::chunked),
    ("h2", http::h2),
    ("sse", sockets::sse),
    ("body", content::body),
    ("websocket", sockets::websocket),
    ("tracker", host::tracker),
];

fn limits() -> Limits {
    Limits {
        name_bytes: 32,
        uri_bytes: 64,
        id_bytes: 32,
        captured_bytes: 512,
        tail_bytes: 256,
        head_bytes: 512,
        chunk_line_bytes: 64,
        h2_block_bytes: 256,
        h2_streams: 4,
        hpack_table_bytes: 256,
        ws_inflated_bytes: 16 * 1024,
        // Bombs are to be found to be such quickly.
        decoded_bytes: 1 << 20,
        decoded_free: 256 << 10,
        decode_window_bytes: 256 << 10,
        exchanges: 4,
        sessions: 4,
        streams: 8,
        calls_in_flight: 16,
        held_messages: 4,
        timeline_spans: 16,
        timeline_waits: 16,
        parked_bytes: 1024,
        ..Limits::default()
    }
}

/// The byte that chooses, and the rest.
fn choice(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(&first, rest)| (first, rest))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// What once failed is among the seeds: so it is tried wherever the tests run.
    #[test]
    fn all_seeds_hold() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/seeds");
        for (name, target) in TARGETS {
            let mut count = 0;
            for file in fs::read_dir(seeds.join(name)).unwrap() {
                target(&fs::read(file.unwrap().path()).unwrap());
                count += 1;
            }
            assert!(count > 0, "{name} has no seeds");
        }
    }
}
