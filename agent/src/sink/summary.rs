//! What a run amounted to: calls by outcome, latencies by server and operation, the slowest, the losses.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use mcp_proto::Outcome;

use super::{
    Losses,
    text::{column, duration, fit, time_of_day, written},
};
use crate::calls::{CallRecord, FaultRecord, ShortId};

/// Rows kept apart at most: names come from the wire. Further ones share a row.
const MAX_ROWS: usize = 200;
/// Outcomes kept apart at most: error codes come from the wire.
const MAX_OUTCOMES: usize = 40;
const SLOWEST: usize = 5;
/// Values kept for a percentile lie within 1/32 of the true ones.
const STEPS_PER_DOUBLING: f64 = 32.0;
const OTHER: &str = "_OTHER";

/// Totals of a run, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Summary {
    outcomes: BTreeMap<String, u64>,
    faults: BTreeMap<&'static str, u64>,
    rows: BTreeMap<(String, String), Row>,
    slowest: Vec<Slow>,
    calls: u64,
    lossy: u64,
}

#[derive(Debug, Default)]
struct Row {
    calls: u64,
    errors: u64,
    max: f64,
    /// Latencies by step of a logarithmic scale.
    steps: BTreeMap<u16, u64>,
    measured: u64,
}

#[derive(Debug)]
struct Slow {
    latency: f64,
    start: u64,
    call: ShortId,
    what: String,
    outcome: String,
}

impl Summary {
    pub(super) fn call(&mut self, call: &CallRecord) {
        self.calls += 1;
        self.lossy += u64::from(!call.loss.is_empty());
        let outcome = outcome_label(call);
        let full = self.outcomes.len() >= MAX_OUTCOMES && !self.outcomes.contains_key(&outcome);
        *self
            .outcomes
            .entry(if full { OTHER.to_owned() } else { outcome })
            .or_default() += 1;

        let server = call.server.as_ref().and_then(|party| party.label()).unwrap_or("?");
        let key = (fit(server, 24), fit(&operation(call), 40));
        let full = self.rows.len() >= MAX_ROWS && !self.rows.contains_key(&key);
        let key = if full {
            (OTHER.to_owned(), OTHER.to_owned())
        } else {
            key
        };
        self.rows.entry(key).or_default().add(call);
        self.keep_if_slow(call, server);
    }

    pub(super) fn fault(&mut self, fault: &FaultRecord) {
        *self.faults.entry(fault.fault).or_default() += 1;
    }

    fn keep_if_slow(&mut self, call: &CallRecord, server: &str) {
        let Some(latency) = call.latency_us else { return };
        let at = self.slowest.partition_point(|slow| slow.latency >= latency);
        if at >= SLOWEST {
            return;
        }
        self.slowest.insert(
            at,
            Slow {
                latency,
                start: call.start_unix_ns.unwrap_or(0),
                call: call.call,
                what: format!("{} {}", column(server, 16), column(&operation(call), 32)),
                outcome: outcome_label(call),
            },
        );
        self.slowest.truncate(SLOWEST);
    }

    pub(super) fn render(&self, losses: &Losses) -> String {
        written(|out| self.render_to(out, losses))
    }

    fn render_to(&self, out: &mut String, losses: &Losses) -> fmt::Result {
        let plural = if self.calls == 1 { "" } else { "s" };
        writeln!(out, "\n{} call{plural}{}", self.calls, counts(&self.outcomes))?;
        if self.calls > 0 {
            writeln!(
                out,
                "\n{} {} {:>7} {:>7} {:>8} {:>8} {:>8}",
                column("SERVER", 24),
                column("OPERATION", 40),
                "CALLS",
                "ERRORS",
                "P50",
                "P95",
                "MAX"
            )?;
        }
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.calls));
        for ((server, operation), row) in rows {
            writeln!(
                out,
                "{} {} {:>7} {:>7} {:>8} {:>8} {:>8}",
                column(server, 24),
                column(operation, 40),
                row.calls,
                row.errors,
                row.percentile(0.5),
                row.percentile(0.95),
                row.percentile(1.0)
            )?;
        }
        if !self.slowest.is_empty() {
            writeln!(out, "\nslowest:")?;
        }
        for Slow {
            latency,
            start,
            call,
            what,
            outcome,
        } in &self.slowest
        {
            writeln!(
                out,
                "  {} {:>8} {what} {outcome} (call {call})",
                time_of_day(*start),
                duration(*latency)
            )?;
        }
        let faults: u64 = self.faults.values().sum();
        if faults > 0 {
            writeln!(out, "\nbroken protocol: {faults}{}", counts(&self.faults))?;
        }
        match (self.lossy, losses.is_empty()) {
            (0, true) => writeln!(out, "\nnothing lost"),
            (lossy, _) => writeln!(out, "\nlost: {lossy} calls incomplete; {losses}"),
        }
    }
}

impl Row {
    fn add(&mut self, call: &CallRecord) {
        self.calls += 1;
        self.errors += u64::from(call.outcome != Outcome::Ok);
        let Some(latency) = call.latency_us else { return };
        self.measured += 1;
        self.max = self.max.max(latency);
        *self.steps.entry(step(latency)).or_default() += 1;
    }

    fn percentile(&self, share: f64) -> String {
        if self.measured == 0 {
            return "-".to_owned();
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank among fewer calls than 2^52"
        )]
        let rank = ((self.measured as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        for (&step, &count) in &self.steps {
            below += count;
            if below >= rank {
                let value = if below == self.measured {
                    self.max
                } else {
                    value_of(step).min(self.max)
                };
                return duration(value);
            }
        }
        duration(self.max)
    }
}

/// Step of the scale from 1 ns.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 to 64 doublings of 32 steps"
)]
fn step(micros: f64) -> u16 {
    ((micros * 1e3).max(1.0).log2() * STEPS_PER_DOUBLING).round() as u16
}

fn value_of(step: u16) -> f64 {
    (f64::from(step) / STEPS_PER_DOUBLING).exp2() / 1e3
}

fn counts<K: fmt::Display>(by_name: &BTreeMap<K, u64>) -> String {
    let each: Vec<_> = by_name.iter().map(|(name, count)| format!("{count} {name}")).collect();
    if each.is_empty() {
        String::new()
    } else {
        format!(": {}", each.join(", "))
    }
}

/// Method and target, from the wire as they are.
pub(super) fn operation(call: &CallRecord) -> String {
    match call.target() {
        Some(target) => format!("{} {target}", call.method),
        None => call.method.to_string(),
    }
}

/// The outcome, and the code when it is an error of the protocol or of HTTP.
pub(super) fn outcome_label(call: &CallRecord) -> String {
    let outcome = call.outcome.code();
    match (call.error_code, call.http_status) {
        (Some(code), _) => format!("{outcome} {code}"),
        (None, Some(status)) if call.outcome == Outcome::HttpError => format!("{outcome} {status}"),
        (None, _) => outcome.to_owned(),
    }
}
