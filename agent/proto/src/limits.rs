//! Every bound of the crate. Peers are not trusted: whatever they can make grow ends here.

use crate::Nanos;

/// How much state the tracker may keep and how long it waits.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest name, version, method, task id or token that is kept, in bytes.
    pub name_bytes: usize,
    /// Longest resource URI that is kept, in bytes.
    pub uri_bytes: usize,
    /// Longest JSON-RPC id that is kept whole; of a longer one, the rest is hashed.
    pub id_bytes: usize,
    /// Bytes that all captured scalars of one message may take.
    pub captured_bytes: usize,
    /// Deepest nesting of JSON; deeper is malformed.
    pub json_depth: u32,
    /// Parameters of a request that are hashed, to tell that it was made before, in bytes.
    pub digest_bytes: usize,
    /// Bytes kept after a hole, from which the end of a message is understood.
    pub tail_bytes: usize,

    /// Longest head of an HTTP/1 message, and longest trailers, in bytes; longer is not HTTP.
    pub head_bytes: usize,
    /// Longest line with the size of a chunk, extensions included, in bytes.
    pub chunk_line_bytes: usize,
    /// Most bytes that one message, or a body that is not of events, may decode to.
    pub decoded_bytes: u64,
    /// Most bytes that a body may decode to for each byte of it, beyond `decoded_free`.
    pub decoded_ratio: u64,
    /// Bytes that a body may decode to whatever their proportion.
    pub decoded_free: u64,
    /// Largest window of a content coding, in bytes: RFC 9659 has 8 MiB for Zstandard.
    pub decode_window_bytes: u64,

    /// Most bytes that a stream can have moved: larger counts are taken for this one.
    pub stream_bytes: u64,
    /// Streams known at a time.
    pub streams: usize,
    /// Calls in flight at a time, over all connections.
    pub calls_in_flight: usize,
    /// Events that wait to be polled; a driver that does not poll loses faults first.
    pub queued_events: usize,
    /// Processes remembered as users of one side of a stream.
    pub users_per_side: usize,
    /// Syscalls remembered for each side of a stream.
    pub timeline_spans: usize,
    /// Messages that wait for the instants of one side of a stream.
    pub timeline_waits: usize,
    /// Content kept while pieces of two syscalls on one side arrive interleaved, in bytes.
    pub parked_bytes: usize,
    /// After this, missing pieces of a syscall are taken to be lost, not late.
    pub piece_patience: Nanos,

    /// Responses of a stream that wait for requests that have not come.
    pub early_responses: usize,
    /// How long they wait, in nanoseconds.
    pub early_wait: Nanos,
    /// Messages held for a stream that is not yet recognised.
    pub held_messages: usize,
    /// Lines of text before an unknown stream is ignored: a server may greet at length.
    pub text_lines: u32,
    /// Lines of JSON that is not JSON-RPC before an unknown stream is ignored.
    pub strange_lines: u32,
    /// Bytes that are not JSON-RPC before an unknown stream is ignored.
    pub strange_bytes: u64,
    /// JSON-RPC messages of unknown methods before an unknown stream is ignored.
    pub unknown_messages: u32,
    /// Bytes of an unknown stream, whatever they are, before it is ignored.
    pub unjudged_bytes: u64,
    /// What `strange_*`, `unknown_messages` and `unjudged_bytes` are multiplied with where the
    /// peers are those of a known connection that lacks this direction.
    pub expected_factor: u32,
    /// Allowances that an unknown stream is granted before it is ignored.
    pub grants: u32,
    /// Captured bytes after which an unjudged stream is granted another allowance.
    pub allowance_bytes: u64,

    /// Bytes of a stream by which HTTP must have shown itself.
    pub opening_bytes: usize,
    /// Complete exchanges of HTTP without MCP before their connection is ignored.
    pub strange_exchanges: u32,
    /// Exchanges of one connection under way at a time.
    pub exchanges: usize,
    /// Longest compressed WebSocket message that is read, in bytes without compression.
    pub ws_inflated_bytes: u64,
    /// Sessions over HTTP known at a time.
    pub sessions: usize,
    /// How long a call whose response stream has ended waits to be resumed on another.
    pub resume_wait: Nanos,

    /// Notifications of one call whose instants are kept; further ones are only counted.
    pub notices: usize,
    /// Cancelled ids remembered per direction of a connection.
    pub cancelled_ids: usize,
    /// Calls of a connection that wait to be continued after `input_required`.
    pub continuations: usize,
    /// Tasks of a connection whose creation is remembered.
    pub tasks: usize,
    /// Faults reported per stream; further ones are only counted.
    pub faults_per_stream: u32,

    /// How long an answered call waits for a side of the stream that was never seen.
    pub unseen_side_wait: Nanos,
    /// How long an answered call waits for a side of the stream that is watched.
    pub seen_side_wait: Nanos,
    /// How long the end of a stream waits for the exit of a process that would explain it.
    pub exit_grace: Nanos,
    /// How long a stream whose writers have all ended waits for its reader, who may have closed it unread.
    pub deserted_wait: Nanos,

    /// Longest header block of HTTP/2 that is read, in bytes.
    pub h2_block_bytes: usize,
    /// Messages of one direction of an HTTP/2 connection that are not complete at a time.
    pub h2_streams: usize,
    /// Size of the dynamic table of one direction of an HTTP/2 connection, as HPACK counts it.
    pub hpack_table_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const MS: Nanos = 1_000_000;
        Self {
            name_bytes: 256,
            uri_bytes: 1024,
            id_bytes: 256,
            captured_bytes: 16 * 1024,
            json_depth: 10_000,
            digest_bytes: 64 * 1024,
            tail_bytes: 16 * 1024,
            head_bytes: 64 * 1024,
            chunk_line_bytes: 4 * 1024,
            decoded_bytes: 64 << 20,
            decoded_ratio: 256,
            decoded_free: 16 << 20,
            decode_window_bytes: 8 << 20,
            stream_bytes: 1 << 46,
            streams: 32 * 1024,
            calls_in_flight: 64 * 1024,
            queued_events: 256 * 1024,
            users_per_side: 8,
            timeline_spans: 4096,
            timeline_waits: 4096,
            parked_bytes: 512 * 1024,
            piece_patience: MS,
            early_responses: 256,
            early_wait: 1_000 * MS,
            held_messages: 64,
            text_lines: 64,
            strange_lines: 8,
            strange_bytes: 8 * 1024,
            unknown_messages: 32,
            unjudged_bytes: 512 * 1024,
            expected_factor: 64,
            grants: 64,
            allowance_bytes: 32 * 1024,
            opening_bytes: 64,
            strange_exchanges: 16,
            exchanges: 1024,
            ws_inflated_bytes: 64 * 1024 * 1024,
            sessions: 8192,
            resume_wait: 60_000 * MS,
            notices: 16,
            cancelled_ids: 256,
            continuations: 64,
            tasks: 256,
            faults_per_stream: 64,
            unseen_side_wait: 1_000 * MS,
            seen_side_wait: 30_000 * MS,
            exit_grace: 200 * MS,
            deserted_wait: 120_000 * MS,
            h2_block_bytes: 64 * 1024,
            h2_streams: 2048,
            hpack_table_bytes: 64 * 1024,
        }
    }
}
