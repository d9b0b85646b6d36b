//! Counters: nothing is lost in silence.

/// What has passed through a tracker since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of all streams that are accounted for: always the sum of the four below.
    pub bytes: u64,
    /// Bytes of lines that are JSON documents, framing included, and all of HTTP.
    pub bytes_parsed: u64,
    /// Bytes that were captured or moved and not understood: pollution, rests of messages that
    /// were cut, streams that are ignored.
    pub bytes_skipped: u64,
    /// Bytes that were not captured.
    pub bytes_missing: u64,
    /// Bytes of lines that are not complete.
    pub bytes_pending: u64,
    /// Captured bytes that had been captured on the other side already.
    pub bytes_duplicate: u64,

    /// Requests on recognised connections.
    pub requests: u64,
    /// Results and errors on recognised connections.
    pub responses: u64,
    /// Notifications on recognised connections.
    pub notifications: u64,
    /// Calls emitted.
    pub calls: u64,
    /// Responses that belong to no request that is known.
    pub responses_unpaired: u64,
    /// Messages understood from head and tail.
    pub messages_truncated: u64,
    /// Messages lost to missing bytes.
    pub messages_cut: u64,
    /// Lines on recognised connections that are not JSON.
    pub lines_polluted: u64,
    /// Lines on recognised connections that are broken JSON or no JSON-RPC.
    pub lines_malformed: u64,
    /// Messages of streams not yet recognised that were dropped to stay within bounds.
    pub held_dropped: u64,
    /// Calls evicted to stay within bounds.
    pub calls_evicted: u64,
    /// Sessions over HTTP evicted to stay within bounds.
    pub sessions_evicted: u64,
    /// Bytes of bodies whose content coding is unknown or broken, or that would have grown beyond bounds.
    pub bytes_undecoded: u64,
    /// Streams evicted to stay within bounds.
    pub streams_evicted: u64,
    /// Faults that were counted but not reported.
    pub faults_suppressed: u64,
    /// Events dropped because nobody polled.
    pub events_dropped: u64,
}
