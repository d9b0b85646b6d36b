//! Which calls become spans.

use std::time::Duration;

use opentelemetry::trace::TraceState;

use crate::calls::{CallRecord, rejection_threshold};

/// Who decides, by the words of `OTEL_TRACES_SAMPLER`. Calls that failed or were slow are kept by all
/// but [`Sampler::AlwaysOff`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sampler {
    /// Everything is kept.
    AlwaysOn,
    /// Nothing is sent at all.
    AlwaysOff,
    /// A share of all traces.
    Ratio,
    /// Where the wire has a trace context its flag decides, elsewhere everything is kept.
    ParentAlwaysOn,
    /// Likewise, elsewhere nothing.
    ParentAlwaysOff,
    /// Likewise, elsewhere a share.
    #[default]
    ParentRatio,
}

impl Sampler {
    /// Every sampler with the specification's word for it.
    const WORDS: [(Self, &str); 6] = [
        (Self::AlwaysOn, "always_on"),
        (Self::AlwaysOff, "always_off"),
        (Self::Ratio, "traceidratio"),
        (Self::ParentAlwaysOn, "parentbased_always_on"),
        (Self::ParentAlwaysOff, "parentbased_always_off"),
        (Self::ParentRatio, "parentbased_traceidratio"),
    ];

    /// The sampler of that word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::WORDS
            .iter()
            .find(|(_, it)| *it == word)
            .map(|(sampler, _)| *sampler)
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(sampler, _)| *sampler == self)
            .map_or("", |(_, word)| word)
    }
}

/// How a decision is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampling {
    pub(super) sampler: Sampler,
    pub(super) ratio: f64,
    pub(super) slow: Duration,
}

/// How likely it was that a call was kept, as OpenTelemetry's trace state tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Kept {
    /// Empty where someone else has decided.
    pub(super) trace_state: TraceState,
}

impl Sampling {
    /// `None` for a call that is not to be sent. Decided by the trace id, so that agents at both ends
    /// agree.
    pub(super) fn keep(&self, call: &CallRecord) -> Option<Kept> {
        use Sampler::{AlwaysOff, AlwaysOn, ParentAlwaysOff, ParentAlwaysOn, ParentRatio, Ratio};
        let of_parent = call.trace_context.as_ref().map(|context| context.flags & 1 == 1);
        let always = self.sampler != AlwaysOff && (has_failed(call) || self.is_slow(call));
        let ratio = match self.sampler {
            AlwaysOn | ParentAlwaysOn => 1.0,
            AlwaysOff | ParentAlwaysOff => 0.0,
            Ratio | ParentRatio => self.ratio,
        };
        let follows = matches!(self.sampler, ParentAlwaysOn | ParentAlwaysOff | ParentRatio);
        match of_parent.filter(|_| follows) {
            Some(is_sampled) => (is_sampled || always).then(Kept::default),
            None if always => Some(Kept::with(1.0, call)),
            None => call.trace_id.is_sampled(ratio).then(|| Kept::with(ratio, call)),
        }
    }

    fn is_slow(&self, call: &CallRecord) -> bool {
        call.latency_us
            .is_some_and(|latency| latency > self.slow.as_secs_f64() * 1e6)
    }
}

impl Kept {
    /// The trace state of a context that the wire has is its sender's.
    fn with(ratio: f64, call: &CallRecord) -> Self {
        if call.trace_context.is_some() || ratio >= 1.0 {
            return Self::default();
        }
        let digits = format!("{:014x}", rejection_threshold(ratio));
        let threshold = format!("th:{}", digits.trim_end_matches('0'));
        Self {
            trace_state: TraceState::from_key_value([("ot", threshold)]).unwrap_or_default(),
        }
    }
}

fn has_failed(call: &CallRecord) -> bool {
    call.operations().iter().flatten().any(|end| end.error_type.is_some()) || call.error_code.is_some()
}

#[cfg(test)]
mod tests {
    use mcp_proto::{Call, Outcome, TraceContext};

    use super::*;
    use crate::calls::record::tests::{call, record};

    fn sampling(sampler: &str, ratio: f64) -> Sampling {
        Sampling {
            sampler: Sampler::of(sampler).unwrap(),
            ratio,
            slow: Duration::from_millis(1),
        }
    }

    fn with(change: impl FnOnce(&mut Call)) -> CallRecord {
        let mut call = call();
        change(&mut call);
        record(call)
    }

    fn in_context(flags: u8) -> CallRecord {
        with(|call| {
            call.trace_context = Some(TraceContext {
                trace_id: [7; 16],
                parent_id: [8; 8],
                flags,
            });
        })
    }

    #[test]
    fn failed_and_slow_calls_are_always_kept() {
        let plain = record(call());
        let failed = with(|call| call.outcome = Outcome::ToolError);
        let slow = with(|call| call.response.as_mut().unwrap().last_read = Some(9_000_000));
        // An error that the responder is not to blame for is one all the same.
        let rejected = with(|call| (call.outcome, call.error_code) = (Outcome::RpcError, Some(-32602)));
        for sampler in ["traceidratio", "parentbased_traceidratio", "parentbased_always_off"] {
            let none = sampling(sampler, 0.0);
            assert_eq!(none.keep(&plain), None);
            for call in [&failed, &slow, &rejected] {
                assert_eq!(none.keep(call), Some(Kept::default()), "{sampler}");
            }
        }
        assert_eq!(sampling("always_off", 1.0).keep(&failed), None);
        assert!(sampling("always_on", 0.0).keep(&plain).is_some());
    }

    #[test]
    fn agents_at_both_ends_agree() {
        let sampling = sampling("parentbased_traceidratio", 0.3);
        let mut kept = 0;
        for sequence in 0..200 {
            let [at_client, at_server] = [true, false].map(|is_client| {
                let seen = with(|call| {
                    call.sequence = sequence;
                    let other = if is_client { &mut call.server } else { &mut call.client };
                    *other = mcp_proto::Endpoint::default();
                });
                assert_eq!(seen.seen_by.len(), 1);
                sampling.keep(&seen)
            });
            assert_eq!(at_client, at_server);
            kept += u32::from(at_client.is_some());
        }
        assert!((30..100).contains(&kept), "{kept} of 200 at 0.3");
    }

    #[test]
    fn a_parent_decides_where_it_is_asked() {
        let (yes, no) = (in_context(1), in_context(0));
        for sampler in [
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
        ] {
            let sampling = sampling(sampler, 1.0);
            assert!(
                sampling.keep(&yes).is_some() && sampling.keep(&no).is_none(),
                "{sampler}"
            );
        }
        assert!(sampling("traceidratio", 1.0).keep(&no).is_some());
    }

    #[test]
    fn how_likely_it_was_is_told() {
        let half = sampling("traceidratio", 0.5);
        let kept: Vec<_> = (0..64)
            .filter_map(|sequence| half.keep(&with(|call| call.sequence = sequence)))
            .collect();
        assert!((10..54).contains(&kept.len()), "{}", kept.len());
        assert!(kept.iter().all(|kept| kept.trace_state.header() == "ot=th:8"));
        for (sampler, word) in Sampler::WORDS {
            assert_eq!((Sampler::of(word), sampler.word()), (Some(sampler), word));
        }
    }
}
