use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;

const HOUR: u64 = 3_600_000;
const NOW: UnixMillis = 1_767_312_000_000;

/// Part of a query, the labels of a series that answers it, and its value.
type Row = (&'static str, &'static [(&'static str, &'static str)], f64);

/// Answers by the beginning of what is summed, and notes what it was asked.
#[derive(Default)]
struct Script {
    rows: Vec<Row>,
    promql: bool,
    asked: RefCell<Vec<String>>,
}

impl Script {
    fn answer(&self, query: &str, at: UnixMillis, points: impl Fn(f64) -> Vec<(f64, f64)>) -> Vec<Series> {
        self.asked.borrow_mut().push(query.to_owned());
        // The period before was empty.
        let rows = self.rows.iter().filter(|_| at == NOW);
        let rows = rows.filter(|(part, ..)| query.contains(part));
        rows.map(|(_, labels, value)| Series {
            labels: labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            points: points(*value),
        })
        .collect()
    }
}

impl Ask for Script {
    fn instant(&self, query: &str, at: UnixMillis) -> Result<Vec<Series>, FleetError> {
        if self.promql && query.contains("increase_pure") {
            return Err(FleetError::Query {
                url: String::new(),
                query: query.to_owned(),
                reason: "unknown function".to_owned(),
            });
        }
        Ok(self.answer(query, at, |value| vec![(0.0, value)]))
    }

    fn range(&self, query: &str, _: UnixMillis, to: UnixMillis, step: u64) -> Result<Vec<Series>, FleetError> {
        // In the last two slots.
        let end = to as f64 / 1e3;
        Ok(self.answer(query, to, |value| vec![(end - step as f64, value), (end, value)]))
    }
}

fn script() -> Script {
    let rows: Vec<Row> = vec![
        ("count_over_time(count(mcpsonar_agent_series)", &[], 3600.0),
        ("count(count by (instance)", &[], 2.0),
        (
            "(server, method, status)",
            &[("server", "files"), ("method", "tools/call"), ("status", "ok")],
            95.0,
        ),
        (
            "(server, method, status)",
            &[("server", "files"), ("method", "tools/call"), ("status", "tool_error")],
            5.0,
        ),
        (
            "(server, method, status)",
            &[("server", "files"), ("method", "ping"), ("status", "abandoned")],
            1.0,
        ),
        (
            "(server, method, le)",
            &[("server", "files"), ("method", "tools/call"), ("le", "0.1")],
            50.0,
        ),
        (
            "(server, method, le)",
            &[("server", "files"), ("method", "tools/call"), ("le", "0.5")],
            100.0,
        ),
        (
            "(server, method, le)",
            &[("server", "files"), ("method", "tools/call"), ("le", "+Inf")],
            100.0,
        ),
        (
            "(service_name, gen_ai_tool_name, error_type",
            &[("service_name", "files"), ("gen_ai_tool_name", "read"), ("le", "0.1")],
            60.0,
        ),
        (
            "(service_name, gen_ai_tool_name, error_type",
            &[("service_name", "files"), ("gen_ai_tool_name", "read"), ("le", "+Inf")],
            60.0,
        ),
        (
            "(service_name, gen_ai_tool_name, error_type",
            &[
                ("service_name", "files"),
                ("gen_ai_tool_name", "read"),
                ("error_type", "tool_error"),
                ("le", "+Inf"),
            ],
            5.0,
        ),
        (
            "avg_over_time(sum by (service_name) (avg_over_time(process_memory",
            &[("service_name", "files")],
            1e6,
        ),
        (
            "avg_over_time(sum by (service_name) (avg_over_time(process_memory",
            &[("service_name", "a client")],
            1e6,
        ),
        (
            "mcpsonar_flags_active",
            &[
                ("instance", "h:9464"),
                ("mcpsonar_flag_code", "hung"),
                ("mcpsonar_flag_severity", "critical"),
            ],
            1.0,
        ),
        ("sum by () (increase_pure(mcp_requests_total[", &[], 50.0),
    ];
    Script {
        rows,
        ..Script::default()
    }
}

fn of(script: &Script) -> Report {
    report(script, "http://h", NOW - HOUR, NOW).unwrap()
}

#[test]
fn counts_are_told_once() {
    let report = of(&script());
    assert_eq!(report.host, "2 agents at http://h");
    assert_eq!(
        (report.total.calls, report.total.errors, report.total.timeouts),
        (101, 5, 1)
    );
    let [files] = &report.servers[..] else { panic!() };
    let calls: BTreeMap<_, _> = files
        .operations
        .iter()
        .map(|it| {
            (
                (it.method.as_str(), it.tool.as_deref()),
                (it.figures.calls, it.figures.errors),
            )
        })
        .collect();
    // 35 calls of tools were seen at their clients only.
    let expected = [
        (("ping", None), (1, 0)),
        (("tools/call", None), (35, 0)),
        (("tools/call", Some("read")), (65, 5)),
    ];
    assert_eq!(calls, expected.into_iter().collect());
    // Of all 100 that were waited for: half of them up to 0.1 s.
    assert!((files.figures.p50_us.unwrap() - 100_000.0).abs() < 1.0);
    assert!(report.total.bytes.is_none() && report.before.is_none());
}

#[test]
fn servers_alone_use_resources() {
    let report = of(&script());
    let [files] = &report.resources[..] else {
        panic!("{:?}", report.resources)
    };
    assert_eq!((files.server.as_str(), files.memory_mean_bytes), ("files", Some(1e6)));
}

#[test]
fn a_flag_that_is_up_at_the_end_is_still_up() {
    let report = of(&script());
    let [flag] = &report.flags[..] else {
        panic!("{:?}", report.flags)
    };
    assert_eq!(
        (flag.code.as_str(), flag.target.as_str(), flag.cleared_unix_ms),
        ("hung", "h:9464", None)
    );
    assert_eq!(flag.since_unix_ms, NOW - 2 * 60_000);
    let runs: Vec<_> = stretches(&[(0.0, 1.0), (60.0, 3.0), (180.0, 1.0)], 90.0).collect();
    assert_eq!(runs, [(0.0, 60.0, 3.0), (180.0, 180.0, 1.0)]);
}

#[test]
fn the_timeline_has_every_slot() {
    let report = of(&script());
    assert_eq!((report.timeline.len(), report.slot_seconds), (60, 60));
    assert_eq!(
        report.timeline.iter().map(|slot| slot.calls).collect::<Vec<_>>()[57..],
        [0, 50, 50]
    );
}

#[test]
fn who_does_not_know_metricsql_is_asked_in_promql() {
    let script = Script {
        promql: true,
        ..script()
    };
    assert_eq!(of(&script).total.calls, 101);
    let asked = script.asked.borrow();
    assert!(asked.iter().all(|query| !query.contains("increase_pure")));
    assert!(
        asked
            .iter()
            .any(|query| query.contains("resets(mcp_requests_total[3600s])"))
    );
}

#[test]
fn without_agents_there_is_no_report() {
    let error = report(&Script::default(), "http://h", NOW - HOUR, NOW).unwrap_err();
    assert!(matches!(error, FleetError::NoData { .. }) && error.to_string().contains("9464"));
}
