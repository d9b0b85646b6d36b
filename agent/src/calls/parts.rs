//! Where the time of a call went, by the instants of its two messages.

use mcp_proto::{Call, Half, Nanos};
use serde::Serialize;

/// The parts of a call's latency, in microseconds. A part is `None` when one of its instants was
/// not seen. Requester and responder are meant, whichever of them is the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Parts {
    /// Written by the requester, not yet read by the responder.
    pub request_queue: Option<f64>,
    /// Read by the responder, nothing written yet.
    pub server: Option<f64>,
    /// Written by the responder, not yet read by the requester.
    pub response_queue: Option<f64>,
    /// From the first to the last read of each message.
    pub transfer: Option<f64>,
}

/// A call's instants in the order in which they must have happened: request first written, first
/// read, last read; response first written, first read, last read.
///
/// A reader on one CPU may return before the writer on another does, and clocks are read at a
/// distance from the event. So each known instant is held between the one before it and the last
/// one: no part is negative, and the parts still sum to the latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instants([Option<Nanos>; 6]);

impl Instants {
    /// The instants of a call.
    #[must_use]
    pub fn of(call: &Call) -> Self {
        let request = call.request;
        let response = call.response.unwrap_or_default();
        Self::ordered(&request, &response)
    }

    fn ordered(request: &Half, response: &Half) -> Self {
        let mut instants = [
            request.first_written,
            request.first_read,
            request.last_read,
            response.first_written,
            response.first_read,
            response.last_read,
        ];
        let first = instants.iter().flatten().next().copied().unwrap_or(0);
        // The requester's own two instants frame all others; without the last one nothing does.
        let end = instants[5].map_or(Nanos::MAX, |end| end.max(first));
        let mut previous = first;
        for instant in instants.iter_mut().flatten() {
            *instant = (*instant).clamp(previous, end);
            previous = *instant;
        }
        Self(instants)
    }

    /// Entry of the write that holds the request's first byte.
    #[must_use]
    pub fn sent(&self) -> Option<Nanos> {
        self.0[0]
    }

    /// When the responder had all of the request.
    #[must_use]
    pub fn received(&self) -> Option<Nanos> {
        self.0[2]
    }

    /// When the responder began to write its answer.
    #[must_use]
    pub fn answered(&self) -> Option<Nanos> {
        self.0[3]
    }

    /// When the requester had all of the answer.
    #[must_use]
    pub fn returned(&self) -> Option<Nanos> {
        self.0[5]
    }

    /// The first instant that is known.
    #[must_use]
    pub fn first(&self) -> Option<Nanos> {
        self.0.iter().flatten().next().copied()
    }

    /// The parts, by differences of instants.
    #[must_use]
    pub fn parts(&self) -> Parts {
        let [w0, r0, r1, v0, s0, s1] = self.0;
        let transfer = match (between(r0, r1), between(s0, s1)) {
            (Some(request), Some(response)) => Some(request + response),
            _ => None,
        };
        Parts {
            request_queue: between(w0, r0).map(micros),
            server: between(r1, v0).map(micros),
            response_queue: between(v0, s0).map(micros),
            transfer: transfer.map(micros),
        }
    }

    /// What the requester waited when both its instants were seen; else what the responder took;
    /// else from the first known instant to `ended`. Nanoseconds.
    #[must_use]
    pub fn latency(&self, ended: Nanos) -> Option<Nanos> {
        between(self.sent(), self.returned())
            .or_else(|| between(self.received(), self.answered()))
            .or_else(|| self.first().map(|first| ended.saturating_sub(first)))
    }
}

fn between(from: Option<Nanos>, to: Option<Nanos>) -> Option<Nanos> {
    Some(to?.saturating_sub(from?))
}

/// Nanoseconds as microseconds.
#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
pub(crate) fn micros(nanos: Nanos) -> f64 {
    nanos as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn instants(at: [Option<Nanos>; 6]) -> Instants {
        let [first_written, first_read, last_read, v0, s0, s1] = at;
        let request = Half {
            first_written,
            first_read,
            last_read,
            ..Half::default()
        };
        let response = Half {
            first_written: v0,
            first_read: s0,
            last_read: s1,
            ..Half::default()
        };
        Instants::ordered(&request, &response)
    }

    #[test]
    fn all_seen() {
        let all = instants([1000, 3000, 4000, 10_000, 12_000, 20_000].map(Some));
        let parts = Parts {
            request_queue: Some(2.0),
            server: Some(6.0),
            response_queue: Some(2.0),
            transfer: Some(9.0),
        };
        assert_eq!(all.parts(), parts);
        assert_eq!(all.latency(0), Some(19_000));
    }

    #[test]
    fn one_end_seen() {
        let server = instants([None, Some(3000), Some(4000), Some(10_000), None, None]);
        assert_eq!(
            server.parts(),
            Parts {
                server: Some(6.0),
                ..Parts::default()
            }
        );
        assert_eq!(server.latency(10_000), Some(6000));
        let client = instants([Some(1000), None, None, None, Some(12_000), Some(20_000)]);
        assert_eq!(client.parts(), Parts::default());
        assert_eq!(client.latency(20_000), Some(19_000));
    }

    #[test]
    fn no_response() {
        let unanswered = instants([Some(1000), Some(3000), Some(4000), None, None, None]);
        assert_eq!(
            unanswered.parts(),
            Parts {
                request_queue: Some(2.0),
                ..Parts::default()
            }
        );
        assert_eq!(unanswered.latency(51_000), Some(50_000));
        assert_eq!(instants([None; 6]).latency(5), None);
        let only_read = instants([None, Some(3000), Some(4000), None, None, None]);
        assert_eq!(only_read.latency(51_000), Some(48_000));
    }

    #[test]
    fn a_reader_that_was_faster_than_the_writer() {
        let odd = instants([1000, 900, 950, 10_000, 9000, 9500].map(Some));
        let parts = odd.parts();
        assert_eq!((parts.request_queue, parts.server), (Some(0.0), Some(8.5)));
        assert_eq!((parts.response_queue, parts.transfer), (Some(0.0), Some(0.0)));
        assert_eq!(odd.latency(0), Some(8500));
    }

    proptest! {
        #[test]
        fn parts_are_never_negative_and_sum_to_the_latency(at in prop::array::uniform6(0u64..1_000_000)) {
            let all = instants(at.map(Some));
            let Parts { request_queue, server, response_queue, transfer } = all.parts();
            let parts = [request_queue, server, response_queue, transfer].map(Option::unwrap);
            prop_assert!(parts.iter().all(|part| *part >= 0.0));
            let latency = micros(all.latency(0).unwrap());
            prop_assert!((parts.iter().sum::<f64>() - latency).abs() < 1e-6);
            prop_assert_eq!(latency, micros(at[5].saturating_sub(at[0])));
        }

        #[test]
        fn any_instants_may_be_missing(at in prop::array::uniform6(prop::option::of(0u64..1_000_000)), ended: u64) {
            let some = instants(at);
            let Parts { request_queue, server, response_queue, transfer } = some.parts();
            prop_assert!([request_queue, server, response_queue, transfer].iter().flatten().all(|part| *part >= 0.0));
            prop_assert_eq!(some.latency(ended).is_some(), at.iter().any(Option::is_some));
        }
    }
}
