//! Calls by server, method and tool, from counters and histograms.

use std::collections::BTreeMap;

use super::FleetError;
use super::answer::Series;
use super::buckets::Buckets;
use super::gather::{Ask, Period, whole};
use crate::report::Figures;
use crate::report::figures::{Counts, Latency};
use crate::semconv::UNKNOWN_SERVICE;

/// Outcomes for which the responder is to blame, as in [`crate::history::is_error`].
pub(super) const FAILED: &[&str] = &["tool_error", "rpc_error", "http_error", "server_exit"];
/// Outcomes for want of time, as in [`crate::history::is_timeout`].
pub(super) const GIVEN_UP: &[&str] = &["cancelled", "abandoned"];
/// Answers that say that time was up: of TypeScript's SDK, and of HTTP.
const TIMEOUT_CODES: &[&str] = &["-32001", "408", "504"];
const TOOL_CALL: &str = "tools/call";

/// Server, method and tool (empty where there is none).
pub(super) type Key = (String, String, String);

/// Calls added up. Counts are estimates until they are told.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    calls: f64,
    errors: f64,
    timeouts: f64,
    seconds: f64,
    buckets: Buckets,
}

impl Tally {
    /// Adds the counts of others, and not their latencies.
    fn count(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.timeouts += other.timeouts;
    }

    pub(super) fn figures(&self, seconds: f64) -> Figures {
        let micros = |q| self.buckets.quantile(q).map(|seconds| seconds * 1e6);
        let measured = self.buckets.count();
        Figures::new(
            Counts {
                calls: whole(self.calls),
                errors: whole(self.errors),
                timeouts: whole(self.timeouts),
                bytes: None,
            },
            Latency {
                mean_us: (measured > 0.0).then(|| self.seconds / measured * 1e6),
                p50_us: micros(0.5),
                p95_us: micros(0.95),
                p99_us: micros(0.99),
                max_us: None,
            },
            seconds,
        )
    }
}

/// All calls of a period.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) operations: BTreeMap<Key, Tally>,
    /// What whoever asked has waited, by server: operations are seen from there only where there is
    /// no tool, and histograms of different bounds have no sum.
    waited: BTreeMap<String, Tally>,
}

impl Calls {
    pub(super) fn of<A: Ask>(period: &Period<'_, A>) -> Result<Self, FleetError> {
        let mut operations = methods(period)?;
        let mut waited: BTreeMap<String, Tally> = BTreeMap::new();
        for ((server, ..), tally) in &operations {
            let sum = waited.entry(server.clone()).or_default();
            sum.seconds += tally.seconds;
            sum.buckets.merge(&tally.buckets);
        }
        let tools = tools(period)?;
        for ((server, method, _), tally) in &tools {
            // What a tool's calls were is not told a second time.
            if let Some(rest) = operations.get_mut(&(server.clone(), method.clone(), String::new())) {
                rest.calls -= tally.calls;
                rest.errors = (rest.errors - tally.errors).max(0.0);
                rest.timeouts = (rest.timeouts - tally.timeouts).max(0.0);
                rest.seconds = 0.0;
                rest.buckets = Buckets::default();
            }
        }
        operations.extend(tools);
        operations.retain(|_, tally| whole(tally.calls) > 0);
        Ok(Self { operations, waited })
    }

    /// All calls to a server.
    pub(super) fn server(&self, server: &str) -> Tally {
        let mut sum = self.waited.get(server).cloned().unwrap_or_default();
        for tally in self
            .operations
            .iter()
            .filter(|((name, ..), _)| name == server)
            .map(|(_, tally)| tally)
        {
            sum.count(tally);
        }
        sum
    }

    pub(super) fn total(&self) -> Tally {
        let mut sum = Tally::default();
        for tally in self.waited.values() {
            sum.seconds += tally.seconds;
            sum.buckets.merge(&tally.buckets);
        }
        for tally in self.operations.values() {
            sum.count(tally);
        }
        sum
    }
}

/// By server and method: what whoever asked has seen, or who was asked.
fn methods<A: Ask>(period: &Period<'_, A>) -> Result<BTreeMap<Key, Tally>, FleetError> {
    let mut tallies: BTreeMap<Key, Tally> = BTreeMap::new();
    let key = |series: &Series| {
        (
            series.label("server").to_owned(),
            series.label("method").to_owned(),
            String::new(),
        )
    };
    for series in period.growth("mcp_requests_total", "server, method, status")? {
        let tally = tallies.entry(key(&series)).or_default();
        tally.calls += series.value();
        let status = series.label("status");
        if FAILED.contains(&status) {
            tally.errors += series.value();
        } else if GIVEN_UP.contains(&status) {
            tally.timeouts += series.value();
        }
    }
    for series in period.growth("mcp_request_duration_seconds_bucket", "server, method, le")? {
        let tally = tallies.entry(key(&series)).or_default();
        tally.buckets.add(series.label("le"), series.value());
    }
    for series in period.growth("mcp_request_duration_seconds_sum", "server, method")? {
        tallies.entry(key(&series)).or_default().seconds += series.value();
    }
    Ok(tallies)
}

/// Calls of tools, by server and tool: only who was asked is told together with the tool.
fn tools<A: Ask>(period: &Period<'_, A>) -> Result<BTreeMap<Key, Tally>, FleetError> {
    let mut tallies: BTreeMap<Key, Tally> = BTreeMap::new();
    let selector = |suffix| format!("mcp_server_operation_duration_seconds_{suffix}{{gen_ai_tool_name!=\"\"}}");
    let key = |series: &Series| {
        let server = Some(series.label("service_name")).filter(|name| !name.is_empty());
        (
            server.unwrap_or(UNKNOWN_SERVICE).to_owned(),
            TOOL_CALL.to_owned(),
            series.label("gen_ai_tool_name").to_owned(),
        )
    };
    let by = "service_name, gen_ai_tool_name, error_type, rpc_response_status_code, le";
    for series in period.growth(&selector("bucket"), by)? {
        let tally = tallies.entry(key(&series)).or_default();
        tally.buckets.add(series.label("le"), series.value());
        if series.label("le") != "+Inf" {
            continue;
        }
        let (error, code) = (series.label("error_type"), series.label("rpc_response_status_code"));
        tally.calls += series.value();
        if GIVEN_UP.contains(&error) || TIMEOUT_CODES.contains(&error) || TIMEOUT_CODES.contains(&code) {
            tally.timeouts += series.value();
        }
        // A mistake of the caller has a code and is no failure of the server's; the call failed.
        let failed = !error.is_empty() || !code.is_empty();
        if failed && !GIVEN_UP.contains(&error) && error != "client_exit" {
            tally.errors += series.value();
        }
    }
    for series in period.growth(&selector("sum"), "service_name, gen_ai_tool_name")? {
        tallies.entry(key(&series)).or_default().seconds += series.value();
    }
    Ok(tallies)
}
