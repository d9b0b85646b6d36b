//! What is forgotten, and when.

use mcp_proto::Limits;

use super::host::{Host, SERVER};

#[test]
fn a_stream_that_its_reader_closed_unread_is_forgotten() {
    let mut host = Host::new();
    host.handshake();
    host.exit(SERVER);
    let open = |host: &Host| host.tracker.stream_counts().watched;
    let wait = Limits::default().deserted_wait;
    host.sleep(wait / 2);
    assert_eq!(open(&host), 1, "its reader may come yet");
    host.sleep(wait);
    assert_eq!(open(&host), 0);
    let stats = host.finish();
    assert_eq!(stats.streams_evicted, 0);
}
