//! The conditions that are watched: gates, what is raised, and what there is to tell.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use mcp_proto::Nanos;

use super::gate::Gate;
use super::limits::{MAX_EVENTS, MAX_WATCHES, UPDATE_CHANGE, UPDATE_PAUSE};
use super::{
    ActiveFlag, Change, ClearReason, Evidence, Flag, FlagEvent, Level, Severity, Subject, Threshold, definition,
    definitions,
};
use crate::host::ClockOffset;

/// One condition of one subject.
#[derive(Debug, Default)]
struct Watch {
    gate: Gate,
    fed: Nanos,
    quiet: Nanos,
    /// Occurrences since it was last quiet.
    count: u64,
    raised: Option<ActiveFlag>,
    told: Nanos,
    told_value: f64,
}

/// All conditions.
#[derive(Debug)]
pub(super) struct Board {
    watches: BTreeMap<(Flag, Subject), Watch>,
    events: VecDeque<FlagEvent>,
    pub(super) clock: ClockOffset,
    /// Conditions that found no room.
    pub(super) refused: u64,
    /// Events that nobody took in time.
    pub(super) dropped: u64,
}

/// One value for one condition.
#[derive(Debug)]
pub(super) struct Weighing<'a> {
    pub(super) level: &'a Level,
    pub(super) subject: Subject,
    pub(super) name: Option<&'a Arc<str>>,
    pub(super) value: f64,
}

impl Board {
    pub(super) fn new(clock: ClockOffset) -> Self {
        Self {
            watches: BTreeMap::new(),
            events: VecDeque::new(),
            clock,
            refused: 0,
            dropped: 0,
        }
    }

    /// Compares a value with its threshold, and tells when the flag changes.
    pub(super) fn weigh(&mut self, weighing: Weighing<'_>, now: Nanos, evidence: impl FnOnce() -> Evidence) {
        let Weighing {
            level,
            subject,
            name,
            value,
        } = weighing;
        if !level.enabled || value.is_nan() {
            return;
        }
        let key = (level.flag, subject);
        if !self.watches.contains_key(&key) {
            // What is well and was not bad before needs no remembering.
            if !Threshold::is_passed(level.sense, level.warn, value) || !self.has_room() {
                return;
            }
            self.watches.insert(key.clone(), Watch::default());
        }
        let Some(watch) = self.watches.get_mut(&key) else {
            return;
        };
        (watch.fed, watch.quiet) = (now, level.quiet);
        let up = watch.gate.feed(value, level);
        let change = match (&mut watch.raised, up) {
            (None, true) => {
                let raised = ActiveFlag {
                    flag: level.flag,
                    subject: key.1.clone(),
                    name: name.cloned(),
                    severity: severity(level, value, None),
                    since: now,
                    value,
                    threshold: level.warn,
                    evidence: evidence(),
                };
                watch.raised = Some(raised);
                Some(Change::Raised)
            }
            (Some(raised), true) => {
                let severity = severity(level, value, Some(raised.severity));
                let moved = (value - watch.told_value).abs() > UPDATE_CHANGE * watch.told_value.abs();
                let due = moved && now.saturating_sub(watch.told) >= UPDATE_PAUSE;
                let worth_telling = due || severity != raised.severity;
                raised.value = value;
                raised.severity = severity;
                raised.evidence = evidence();
                worth_telling.then_some(Change::Updated)
            }
            (Some(raised), false) => {
                raised.value = value;
                Some(Change::Cleared(ClearReason::Recovered))
            }
            (None, false) => None,
        };
        if let Some(change) = change {
            (watch.told, watch.told_value) = (now, value);
            let raised = watch.raised.clone();
            self.tell(raised, change, now);
        }
        if let Some(watch) = self.watches.get_mut(&key)
            && !up
        {
            watch.raised = None;
            // What is counted is remembered until it is quiet.
            if watch.count == 0 && watch.gate.is_idle() {
                self.watches.remove(&key);
            }
        }
    }

    /// Something has happened `times` times that is counted until it is quiet. The evidence is told
    /// the count.
    pub(super) fn strike(
        &mut self,
        mut weighing: Weighing<'_>,
        times: u64,
        now: Nanos,
        evidence: impl FnOnce(u64) -> Evidence,
    ) {
        if !weighing.level.enabled {
            return;
        }
        let key = (weighing.level.flag, weighing.subject.clone());
        if !self.watches.contains_key(&key) && !self.has_room() {
            return;
        }
        let watch = self.watches.entry(key).or_default();
        watch.count += times;
        (watch.fed, watch.quiet) = (now, weighing.level.quiet);
        let count = watch.count;
        weighing.value = as_f64(count);
        self.weigh(weighing, now, || evidence(count));
    }

    /// The process has ended: nothing that was said of it holds any more, but that it died.
    pub(super) fn ended(&mut self, pid: u32, now: Nanos) {
        for definition in definitions().filter(|definition| definition.flag != Flag::OomKilled) {
            self.clear(definition.flag, &Subject::Process { pid }, ClearReason::Ended, now);
        }
    }

    /// Clears one flag, if it is raised, and forgets its values.
    pub(super) fn clear(&mut self, flag: Flag, subject: &Subject, reason: ClearReason, now: Nanos) {
        if let Some(watch) = self.watches.remove(&(flag, subject.clone())) {
            self.tell(watch.raised, Change::Cleared(reason), now);
        }
    }

    /// Clears a flag of subjects that are no longer.
    pub(super) fn keep(&mut self, flag: Flag, is_there: impl Fn(&Subject) -> bool, now: Nanos) {
        let of_flag = self.watches.keys().filter(|(watched, _)| *watched == flag);
        let gone = of_flag.filter(|(_, subject)| !is_there(subject));
        for (_, subject) in gone.cloned().collect::<Vec<_>>() {
            self.clear(flag, &subject, ClearReason::Ended, now);
        }
    }

    /// Clears what nothing has been heard of for long.
    pub(super) fn sweep(&mut self, now: Nanos) {
        let silent: Vec<_> = self
            .watches
            .iter()
            .filter(|(_, watch)| now.saturating_sub(watch.fed) >= watch.quiet)
            .map(|(key, _)| key.clone())
            .collect();
        for (flag, subject) in silent {
            self.clear(flag, &subject, ClearReason::Quiet, now);
        }
    }

    pub(super) fn is_raised(&self, flag: Flag, subject: &Subject) -> bool {
        self.watches
            .get(&(flag, subject.clone()))
            .is_some_and(|watch| watch.raised.is_some())
    }

    pub(super) fn raised(&self) -> impl Iterator<Item = &ActiveFlag> {
        self.watches.values().filter_map(|watch| watch.raised.as_ref())
    }

    pub(super) fn poll_event(&mut self) -> Option<FlagEvent> {
        self.events.pop_front()
    }

    pub(super) fn watching(&self) -> usize {
        self.watches.len()
    }

    fn has_room(&mut self) -> bool {
        let room = self.watches.len() < MAX_WATCHES;
        self.refused += u64::from(!room);
        room
    }

    fn tell(&mut self, flag: Option<ActiveFlag>, change: Change, at: Nanos) {
        let Some(flag) = flag else { return };
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
            self.dropped += 1;
        }
        self.events.push_back(FlagEvent {
            change,
            at,
            flag,
            clock: self.clock,
        });
    }
}

/// Critical from that threshold on, and until the value is no longer bad at all.
fn severity(level: &Level, value: f64, before: Option<Severity>) -> Severity {
    let usual = definition(level.flag).severity;
    let past = |threshold| Threshold::is_passed(level.sense, threshold, value);
    match level.critical {
        Some(critical) if past(critical) => Severity::Critical,
        Some(_) if before == Some(Severity::Critical) && past(level.warn) => Severity::Critical,
        _ => usual,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}
