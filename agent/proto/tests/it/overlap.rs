//! Calls that a server worked on at the same time.

use crate::host::{CLIENT, Host, SERVER, STDOUT, call, result};
use mcp_proto::Side;

#[test]
fn calls_that_are_worked_on_at_once_overlap() {
    let mut host = Host::new();
    host.handshake();
    host.ask(&call(1, "a"));
    host.ask(&call(2, "b"));
    host.answer(&result(2, "x"));
    host.answer(&result(1, "x"));
    host.ask(&call(3, "c"));
    host.answer(&result(3, "x"));
    let overlapped: Vec<_> = host.calls[1..].iter().map(|it| it.overlapped).collect();
    assert_eq!(overlapped, [true, true, false]);
}

#[test]
fn a_write_that_returns_late_makes_no_overlap() {
    let mut host = Host::new();
    host.handshake();
    host.ask(&call(1, "a"));
    let answer = format!("{}\n", result(1, "x"));
    let began = host.now;
    host.now += 20;
    host.read(STDOUT, CLIENT, answer.len() as u64);
    // The next request is there before the write of the answer has returned.
    host.ask(&call(2, "b"));
    let returned = host.now;
    let pieces = [(0, answer.as_bytes())];
    host.syscall_at(
        STDOUT,
        Side::Writer,
        SERVER,
        answer.len() as u64,
        &pieces,
        began,
        returned,
    );
    host.answer(&result(2, "x"));
    let overlapped: Vec<_> = host.calls[1..]
        .iter()
        .map(|it| (it.tool.as_deref(), it.overlapped))
        .collect();
    assert_eq!(overlapped, [(Some("a"), false), (Some("b"), false)]);
}
