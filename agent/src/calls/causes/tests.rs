use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

fn times(words: [u64; 7]) -> Times {
    Times::from_words(words.map(|ms| ms * MS))
}

/// A window of 100 ms from 1000 ms on; states in milliseconds, in the order of [`Times`].
fn window(tids: [u32; 2], thread: [u64; 7], process: [u64; 7]) -> Window<'static> {
    let at_start = [7, 6, 5, 4, 3, 2, 1];
    let grown = |by: [u64; 7]| std::array::from_fn(|i| at_start[i] + by[i]);
    let snapshot = |at, tid, thread, process| Snapshot {
        at,
        tid,
        totals: Totals {
            process: times(process),
            thread: times(thread),
            faults: 0,
            bytes: 0,
        },
    };
    Window {
        from: snapshot(1000 * MS, tids[0], at_start, at_start),
        to: snapshot(1100 * MS, tids[1], grown(thread), grown(process)),
        shared: false,
        waits: &[],
    }
}

fn wait(peer: &str, from: u64, to: u64) -> UpstreamWait {
    UpstreamWait {
        peer: peer.into(),
        kind: UpstreamKind::Connection,
        phase: Phase::FirstByte,
        address: None,
        exit_status: None,
        from: from * MS,
        to: to * MS,
        bytes: 10,
    }
}

#[test]
fn one_thread_is_exact() {
    let all = [40, 10, 5, 1, 3, 2, 0];
    let told = account(&window([1, 1], all, all));
    let causes = Causes {
        on_cpu: Some(40_000.0),
        run_queue: Some(10_000.0),
        disk: Some(6000.0),
        upstream: Some(0.0),
        lock_or_timer: Some(39_000.0),
        memory: Some(3000.0),
        throttled: Some(0.0),
        blocked_write: Some(2000.0),
        unknown: Some(0.0),
    };
    assert_eq!(told.causes, causes);
    assert_eq!(told.dominant, None);
}

#[test]
fn more_than_half_dominates() {
    assert_eq!(
        account(&window([1, 1], [51, 0, 0, 0, 0, 0, 0], [51, 0, 0, 0, 0, 0, 0])).dominant,
        Some("on_cpu")
    );
    assert_eq!(
        account(&window([1, 1], [50, 50, 0, 0, 0, 0, 0], [50, 50, 0, 0, 0, 0, 0])).dominant,
        None
    );
    assert_eq!(account(&window([1, 1], [0; 7], [0; 7])).dominant, Some("lock_or_timer"));
}

#[test]
fn another_thread_works_while_the_loop_sleeps() {
    let pool = window([1, 1], [2, 0, 0, 0, 0, 0, 0], [82, 5, 0, 0, 0, 0, 0]);
    let told = account(&pool);
    assert_eq!(told.causes.on_cpu, Some(82_000.0));
    assert_eq!(told.causes.run_queue, Some(5000.0));
    assert_eq!(told.causes.lock_or_timer, Some(13_000.0));
    let shared = account(&Window { shared: true, ..pool });
    assert_eq!(shared.causes.on_cpu, Some(2000.0));
    assert_eq!(shared.causes.lock_or_timer, Some(98_000.0));
}

#[test]
fn what_overlaps_is_scaled() {
    // Three threads burn while the fourth, which handles the call, does for 20 ms.
    let told = account(&window([1, 1], [20, 0, 0, 0, 0, 0, 0], [320, 100, 0, 0, 0, 0, 0]));
    assert_eq!(told.causes.on_cpu, Some(100_000.0));
    assert_eq!(told.causes.run_queue, Some(0.0));
    // One computes, and the one that would read the next request waits for a CPU meanwhile.
    let beside = account(&window([1, 2], [999, 0, 0, 0, 0, 0, 0], [60, 90, 30, 0, 0, 0, 0]));
    assert_eq!(beside.causes.on_cpu, Some(60_000.0));
    assert_eq!(beside.causes.run_queue, Some(30_000.0));
    assert_eq!(beside.causes.disk, Some(10_000.0));
    // Another thread answers than the one that read.
    let handed_on = account(&window([1, 2], [999, 0, 0, 0, 0, 0, 0], [60, 0, 20, 0, 0, 0, 0]));
    assert_eq!(handed_on.causes.on_cpu, Some(60_000.0));
    assert_eq!(handed_on.causes.lock_or_timer, Some(20_000.0));
}

#[test]
fn uninterruptible_sleep_without_io_is_unknown() {
    let told = account(&window([1, 1], [0, 0, 0, 60, 0, 0, 0], [0, 0, 0, 60, 0, 0, 0]));
    assert_eq!((told.causes.disk, told.causes.unknown), (Some(0.0), Some(60_000.0)));
    assert_eq!(told.dominant, Some("unknown"));
}

#[test]
fn a_quota_that_is_used_up_is_no_run_queue() {
    let spent = [10, 20, 0, 0, 0, 0, 60];
    let told = account(&window([1, 1], spent, spent));
    assert_eq!(
        (told.causes.run_queue, told.causes.throttled),
        (Some(20_000.0), Some(60_000.0))
    );
    assert_eq!(told.dominant, Some("throttled"));
}

#[test]
fn sleep_while_a_request_is_outstanding_is_upstream() {
    let asleep = window([1, 1], [10, 0, 0, 0, 0, 0, 0], [10, 0, 0, 0, 0, 0, 0]);
    let waits = [
        wait("b", 1010, 1050),
        wait("a", 900, 1030),
        wait("b", 1040, 1060),
        wait("a", 2000, 3000),
    ];
    let told = account(&Window {
        waits: &waits,
        ..asleep
    });
    assert_eq!(told.causes.upstream, Some(60_000.0));
    assert_eq!(told.causes.lock_or_timer, Some(30_000.0));
    let upstream = |peer: &str, us, bytes, first_byte_us| Upstream {
        peer: peer.into(),
        kind: UpstreamKind::Connection,
        address: None,
        us,
        bytes,
        connect_us: None,
        first_byte_us: Some(first_byte_us),
        exit_status: None,
    };
    assert_eq!(
        told.upstreams,
        [
            upstream("b", 50_000.0, 20, 40_000.0),
            upstream("a", 30_000.0, 10, 130_000.0)
        ]
    );
    // The process worked all the while: it did not wait.
    let busy = window([1, 1], [95, 0, 0, 0, 0, 0, 0], [95, 0, 0, 0, 0, 0, 0]);
    let told = account(&Window { waits: &waits, ..busy });
    assert_eq!(told.causes.upstream, Some(5000.0));
}

proptest! {
    #[test]
    fn parts_fill_the_window(
        thread in prop::array::uniform7(0u64..200),
        others in prop::array::uniform7(0u64..200),
        tid in 1u32..3,
        shared: bool,
        spans in prop::collection::vec((900u64..1200, 0u64..100), 0..5),
    ) {
        let process = std::array::from_fn(|i| thread[i] + others[i]);
        let waits: Vec<_> = spans.iter().map(|(from, length)| wait("x", *from, from + length)).collect();
        let told = account(&Window {
            shared,
            waits: &waits,
            ..window([1, tid], thread, process)
        });
        prop_assert!((told.causes.sum() - 100_000.0).abs() < 1.0, "{:?}", told.causes);
        let Causes { on_cpu, run_queue, upstream, lock_or_timer, .. } = told.causes;
        let parts = [on_cpu, run_queue, upstream, lock_or_timer];
        prop_assert!(parts.iter().flatten().all(|part| *part >= 0.0), "{:?}", told.causes);
    }
}
