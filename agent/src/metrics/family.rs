//! The series of one instrument, in bounded memory.

use std::collections::HashMap;

use super::{
    attributes::Attributes,
    histogram::{Exemplar, Histogram},
    instrument::{Instrument, Kind},
    limits,
    snapshot::{self, Data, Point},
};

/// The series of one instrument.
#[derive(Debug)]
pub(super) struct Series {
    instrument: &'static Instrument,
    exponential: bool,
    known: HashMap<Attributes, State>,
    /// Those of `known` that have `_OTHER` in them because the instrument is full.
    shared: usize,
    swept_unix_ns: u64,
    /// Measurements that went into a shared series.
    pub(super) overflows: u64,
}

#[derive(Debug)]
struct State {
    start_unix_ns: u64,
    touched_unix_ns: u64,
    is_shared: bool,
    data: Data,
}

impl Series {
    pub(super) fn new(instrument: &'static Instrument, exponential: bool) -> Self {
        Self {
            instrument,
            exponential,
            known: HashMap::new(),
            shared: 0,
            swept_unix_ns: 0,
            overflows: 0,
        }
    }

    pub(super) fn instrument(&self) -> &'static Instrument {
        self.instrument
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Counts so many more things, or so much more of one.
    pub(super) fn add(&mut self, attributes: Attributes, more: &Data, now: u64) {
        self.data(attributes, now, more.zero()).add(more);
    }

    /// Adds a measurement to a histogram. What is no duration is left out.
    pub(super) fn record(&mut self, attributes: Attributes, value: f64, exemplar: Option<Exemplar>, now: u64) {
        let Kind::Histogram(bounds) = self.instrument.kind else {
            debug_assert!(false, "{} is no histogram", self.instrument.name);
            return;
        };
        if !value.is_finite() || value < 0.0 {
            return;
        }
        let empty = Data::Histogram(Box::new(Histogram::new(bounds, self.exponential)));
        if let Data::Histogram(histogram) = self.data(attributes, now, empty) {
            histogram.record(value, exemplar);
        }
    }

    /// Replaces all series by what a sample says, each with the instant since when it counts. What
    /// parts of the sample say of one series is summed up.
    pub(super) fn observe(&mut self, sample: impl IntoIterator<Item = (Attributes, u64, Data)>, now: u64) {
        self.known.clear();
        self.shared = 0;
        for (attributes, start, data) in sample {
            let state = self.state(attributes, now, data.zero());
            state.start_unix_ns = start;
            state.data.add(&data);
        }
    }

    fn data(&mut self, attributes: Attributes, now: u64, zero: Data) -> &mut Data {
        &mut self.state(attributes, now, zero).data
    }

    /// The state of a series. When there is no room for it, that of one that it shares.
    fn state(&mut self, attributes: Attributes, now: u64, zero: Data) -> &mut State {
        let (attributes, is_shared) = self.place(attributes, now);
        self.overflows += u64::from(is_shared);
        let shared = &mut self.shared;
        let state = self.known.entry(attributes).or_insert_with(|| {
            *shared += usize::from(is_shared);
            State {
                start_unix_ns: now,
                touched_unix_ns: now,
                is_shared,
                data: zero,
            }
        });
        state.touched_unix_ns = now;
        state
    }

    fn place(&mut self, attributes: Attributes, now: u64) -> (Attributes, bool) {
        if let Some(state) = self.known.get(&attributes) {
            return (attributes, state.is_shared);
        }
        if self.known.len() - self.shared >= self.instrument.series {
            self.sweep(now);
        }
        if self.known.len() - self.shared < self.instrument.series {
            return (attributes, false);
        }
        let blurred = attributes.blurred(self.instrument.attributes);
        if self.known.contains_key(&blurred) || self.shared < limits::OVERFLOW_SERIES {
            return (blurred, true);
        }
        (attributes.erased(), true)
    }

    /// Forgets what has been idle for long.
    fn sweep(&mut self, now: u64) {
        if now < self.swept_unix_ns.saturating_add(limits::SWEEP_NS) {
            return;
        }
        self.swept_unix_ns = now;
        self.known
            .retain(|_, state| state.touched_unix_ns.saturating_add(limits::IDLE_NS) > now);
        self.shared = self.known.values().filter(|state| state.is_shared).count();
    }

    pub(super) fn snapshot(&self) -> snapshot::Family {
        let mut points: Vec<Point> = self
            .known
            .iter()
            .map(|(attributes, state)| Point {
                attributes: attributes.clone(),
                start_unix_ns: state.start_unix_ns,
                data: state.data.clone(),
            })
            .collect();
        points.sort_by(|one, other| one.attributes.cmp(&other.attributes));
        snapshot::Family {
            instrument: self.instrument,
            points,
        }
    }
}
