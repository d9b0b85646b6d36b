//! What has happened to a flag, as the log and the history have it.

use crate::flags::{Change, FlagEvent, Severity};
use crate::history::FlagRow;

/// A flag in the log.
pub(super) fn tell(event: &FlagEvent) {
    let flag = &event.flag;
    let (code, change, target) = (flag.flag.code(), event.code(), flag.target());
    let severity = flag.severity.code();
    let (value, threshold) = (flag.value, flag.threshold);
    let advice = crate::flags::definition(flag.flag).advice;
    match (event.change, flag.severity) {
        (Change::Raised | Change::Updated, Severity::Warning | Severity::Critical) => {
            tracing::warn!(flag = code, change, severity, ?target, value, threshold, advice, "flag");
        }
        _ => tracing::info!(flag = code, change, severity, ?target, value, threshold, "flag"),
    }
}

/// A flag in the history.
pub(super) fn row(event: &FlagEvent) -> FlagRow {
    let flag = &event.flag;
    let millis = |at| event.clock.unix(at) / 1_000_000;
    let mut evidence = serde_json::to_value(&flag.evidence).unwrap_or_default();
    evidence["value"] = flag.value.into();
    evidence["threshold"] = flag.threshold.into();
    // What an explanation of a call needs to know whether the flag concerns it.
    evidence["subject"] = serde_json::to_value(&flag.subject).unwrap_or_default();
    evidence["name"] = flag.name.as_deref().into();
    FlagRow {
        code: flag.flag.code().to_owned(),
        target: flag.target(),
        severity: flag.severity.code().to_owned(),
        since_unix_ms: millis(flag.since),
        cleared_unix_ms: matches!(event.change, Change::Cleared(_)).then(|| millis(event.at)),
        evidence,
    }
}
