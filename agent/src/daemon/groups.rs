//! The control groups of MCP endpoints, as metrics have them: a sample tells what was throttled since the one
//! before, a counter all of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use mcp_proto::Nanos;

use crate::host::{CgroupSample, ClockOffset};
use crate::metrics::samples::GroupSample;

/// Groups that are remembered; beyond that those go that were not looked at for longest.
const MAX_GROUPS: usize = 512;

/// The groups that were looked at.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<Arc<str>, Group>);

#[derive(Debug)]
struct Group {
    latest: CgroupSample,
    throttled_ns: u64,
    since: Nanos,
}

impl Groups {
    pub(super) fn sampled(&mut self, samples: &[CgroupSample]) {
        for sample in samples {
            if !self.0.contains_key(&sample.path) && self.0.len() >= MAX_GROUPS {
                let oldest = self.0.iter().min_by_key(|(_, group)| group.latest.at);
                if let Some(oldest) = oldest.map(|(path, _)| Arc::clone(path)) {
                    self.0.remove(&oldest);
                }
            }
            let group = self.0.entry(Arc::clone(&sample.path)).or_insert_with(|| Group {
                latest: sample.clone(),
                throttled_ns: 0,
                since: sample.at.saturating_sub(sample.interval),
            });
            group.throttled_ns += sample.throttled_ns;
            group.latest = sample.clone();
        }
    }

    /// The group at `path`; nothing is known of one that was not looked at.
    pub(super) fn of(&self, path: Option<&str>, clock: ClockOffset) -> GroupSample {
        let Some(group) = path.and_then(|path| self.0.get(path)) else {
            return GroupSample::default();
        };
        let latest = &group.latest;
        GroupSample {
            memory_bytes: latest.memory.working_set.or(latest.memory.usage),
            memory_limit_bytes: latest.memory.limit,
            cpu_limit: latest.cpu_limit,
            throttled_seconds: latest
                .cpu_limit
                .map(|_| std::time::Duration::from_nanos(group.throttled_ns).as_secs_f64()),
            since_unix_ns: clock.unix(group.since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(path: &str, at: Nanos, throttled_ns: u64) -> CgroupSample {
        let mut sample = CgroupSample {
            path: path.into(),
            at,
            interval: 5,
            cpu_limit: Some(0.5),
            throttled_ns,
            ..CgroupSample::default()
        };
        sample.memory.usage = Some(9);
        sample.memory.limit = Some(10);
        sample
    }

    #[test]
    fn what_was_throttled_adds_up() {
        let mut groups = Groups::default();
        groups.sampled(&[sample("/a", 10, 1_000_000_000), sample("/b", 10, 7)]);
        groups.sampled(&[sample("/a", 15, 500_000_000)]);
        let group = groups.of(Some("/a"), ClockOffset(100));
        assert_eq!((group.throttled_seconds, group.since_unix_ns), (Some(1.5), 105));
        assert_eq!((group.memory_bytes, group.memory_limit_bytes), (Some(9), Some(10)));
        assert!(groups.of(Some("/c"), ClockOffset(0)).memory_bytes.is_none());
        assert!(groups.of(None, ClockOffset(0)).cpu_limit.is_none());
    }

    #[test]
    fn bounded_and_the_oldest_goes() {
        let mut groups = Groups::default();
        for n in 0..=MAX_GROUPS {
            groups.sampled(&[sample(&format!("/{n}"), 10 + n as u64, 0)]);
        }
        assert_eq!(groups.0.len(), MAX_GROUPS);
        assert!(!groups.0.contains_key("/0") && groups.0.contains_key("/1"));
    }
}
