//! How far the wall clock is ahead of the monotonic one.

use std::time::{SystemTime, UNIX_EPOCH};

use mcp_proto::Nanos;
use serde::{Deserialize, Serialize};

/// Nanoseconds to add to CLOCK_MONOTONIC to get the time since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClockOffset(pub i64);

impl ClockOffset {
    /// The offset at this instant.
    #[must_use]
    pub fn now() -> Self {
        let offset = i128::from(unix_nanos()) - i128::from(monotonic());
        Self(i64::try_from(offset).unwrap_or(0))
    }

    /// Nanoseconds since the Unix epoch at the monotonic instant `at`.
    #[must_use]
    pub fn unix(self, at: Nanos) -> u64 {
        at.saturating_add_signed(self.0)
    }
}

/// Nanoseconds since the Unix epoch.
#[must_use]
pub fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// CLOCK_MONOTONIC in nanoseconds, the clock of the kernel's records.
#[must_use]
pub fn monotonic() -> Nanos {
    read(libc::CLOCK_MONOTONIC)
}

/// CPU time of the calling thread in nanoseconds.
#[must_use]
pub fn thread_cpu() -> Nanos {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Clock ticks, in which /proc tells when processes began and what CPU time they took, as nanoseconds.
#[must_use]
pub fn nanos_of_ticks(ticks: u64) -> Nanos {
    ticks.saturating_mul(1_000_000_000 / procfs::ticks_per_second().max(1))
}

fn read(clock: libc::clockid_t) -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec for the length of the call.
    let status = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if status != 0 {
        return 0;
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_plus_offset_is_the_wall_clock() {
        let offset = ClockOffset::now();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let ours = u128::from(offset.unix(monotonic()));
        assert!(ours.abs_diff(wall) < 1_000_000_000, "{ours} {wall}");
    }

    #[test]
    fn an_offset_below_zero_stops_at_the_epoch() {
        assert_eq!(ClockOffset(-10).unix(4), 0);
        assert_eq!(ClockOffset(-10).unix(14), 4);
    }
}
