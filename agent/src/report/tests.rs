use super::*;
use crate::history::{Limits, testing};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
/// 2026-01-02.
const NOW: UnixMillis = 1_767_312_000_000;

/// A history of two hours: the second one is slower, and one of its tools fails at times.
fn reader(folder: &tempfile::TempDir) -> Reader {
    let path = folder.path().join("history.db");
    let limits = Limits {
        sample_ratio: 0.0,
        ..Limits::default()
    };
    let mut writer = testing::Writer::new(&path, limits);
    for minute in 0..120 {
        let now = NOW - 2 * HOUR + minute * MINUTE;
        let slow = if minute < 60 { 1.0 } else { 2.0 };
        for n in 0..10_u32 {
            writer.call(
                now + u64::from(n),
                "files",
                "read",
                1000.0 * slow + f64::from(n),
                false,
                None,
            );
            writer.call(
                now + u64::from(n),
                "<web>",
                "get",
                2e6,
                n == 0 && minute >= 60,
                Some("upstream"),
            );
        }
        writer.uses(now, "files", if minute % 2 == 0 { 0.25 } else { 0.75 }, 64 << 20);
        writer.uses(now, "files", 0.5, 96 << 20);
        writer.tick(now + 30_000);
    }
    writer.close(NOW);
    Reader::open(&path).unwrap()
}

fn report() -> Report {
    let folder = tempfile::tempdir().unwrap();
    Report::of(&reader(&folder), "box", NOW - HOUR, NOW).unwrap()
}

#[test]
fn figures_of_the_period_and_no_other() {
    let report = report();
    assert_eq!((report.total.calls, report.total.errors), (1200, 60));
    assert_eq!(report.servers.len(), 2);
    let files = report.servers.iter().find(|server| server.server == "files").unwrap();
    let p50 = files.figures.p50_us.unwrap();
    assert!((p50 / 2004.0 - 1.0).abs() < 0.02, "{p50}");
    assert_eq!(files.figures.max_us, Some(2009.0));
    assert!(
        (report.total.per_second - 1200.0 / 3600.0).abs() < 0.01,
        "{}",
        report.total.per_second
    );
    assert_eq!(report.timeline.iter().map(|slot| slot.calls).sum::<u64>(), 1200);
    assert_eq!(report.timeline.len(), 60);
}

#[test]
fn trends_against_the_period_before() {
    let report = report();
    let of = |name: &str| {
        report
            .servers
            .iter()
            .find(|server| server.server == name)
            .unwrap()
            .trends
    };
    assert_eq!(of("files").p95.unwrap().direction, Direction::Up);
    assert!((of("files").p95.unwrap().change - 1.0).abs() < 0.03);
    assert_eq!(of("<web>").p95.unwrap().direction, Direction::Stable);
    assert_eq!(report.trends.throughput.unwrap().direction, Direction::Stable);
}

#[test]
fn the_slowest_with_what_dominates_them() {
    let report = report();
    let slowest = &report.slowest_operations[0];
    assert_eq!(
        (slowest.server.as_str(), slowest.tool.as_deref()),
        ("<web>", Some("get"))
    );
    assert_eq!(slowest.dominant_causes[0].cause.as_deref(), Some("upstream"));
    assert_eq!(report.slowest_calls.len(), 10);
}

#[test]
fn what_servers_use() {
    let report = report();
    let [files] = &report.resources[..] else {
        panic!("{:?}", report.resources)
    };
    assert_eq!((files.server.as_str(), files.processes), ("files", 1));
    assert!((files.cpu_mean_cores.unwrap() - 0.5).abs() < 1e-9 && files.cpu_peak_cores == Some(0.75));
    assert_eq!(files.memory_mean_bytes, Some(f64::from(80 << 20)));
    assert_eq!(files.memory_peak_bytes, Some(f64::from(96 << 20)));
    assert!(text(&report).contains("RESOURCES OF SERVERS"));
}

#[test]
fn advice_with_evidence() {
    let report = report();
    let about = |words: &str| {
        let found = report.recommendations.iter().find(|found| found.advice.contains(words));
        found.unwrap_or_else(|| panic!("nothing about {words}: {:?}", report.recommendations))
    };
    assert!(about("why it fails").evidence.contains("60 of 600"));
    assert!(about("over the network").evidence.contains("600 of 600"));
    assert!(about("has become slower").subject.contains("read"));
    assert!(report.recommendations.is_sorted_by_key(|found| found.urgency));
}

#[test]
fn what_is_fast_needs_no_advice_on_its_time() {
    let mut report = report();
    let operations = report.servers.iter_mut().flat_map(|server| &mut server.operations);
    operations.for_each(|operation| operation.figures.p99_us = Some(400.0));
    let advice = recommend::recommendations(&report);
    assert!(
        !advice.iter().any(|found| found.advice.contains("over the network")),
        "{advice:?}"
    );
    assert!(advice.iter().any(|found| found.advice.contains("why it fails")));
}

#[test]
fn an_empty_history_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let report = Report::of(&reader(&folder), "box", NOW - 24 * HOUR, NOW - 23 * HOUR).unwrap();
    assert_eq!(report.total.calls, 0);
    assert!(text(&report).contains("no MCP calls"));
    assert!(html(&report).ends_with("</html>\n"));
}

#[test]
fn html_stands_alone_and_trusts_no_name() {
    let page = html(&report());
    assert!(page.contains("&lt;web&gt;") && !page.contains("<web>"));
    for reference in ["http://", "https://", "src=", "href=", "<script", "url("] {
        assert!(!page.contains(reference), "{reference}");
    }
    assert_eq!(page.matches("<svg").count(), 2);
    assert_eq!(page.matches("<table").count(), page.matches("</table").count());
}

#[test]
fn text_for_people() {
    let text = text(&report());
    for line in [
        "1200 calls",
        "<web>",
        "tools/call get",
        "waiting for others 600",
        "recommendations:",
    ] {
        assert!(text.contains(line), "{line} is missing from\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() < 160));
}
