//! What the agent itself costs.

use serde::Serialize;

/// CPU time and memory of this process since it began.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Usage {
    /// Milliseconds of CPU, user and system.
    pub cpu_ms: f64,
    /// Resident set now, KiB.
    pub rss_kib: u64,
    /// Largest resident set, KiB.
    pub peak_rss_kib: u64,
}

impl Usage {
    /// As of now. What cannot be read is 0.
    #[must_use]
    pub fn now() -> Self {
        let Ok(own) = procfs::process::Process::myself() else {
            return Self::default();
        };
        let per_second = procfs::ticks_per_second();
        let ticks = own.stat().map_or(0, |stat| stat.utime + stat.stime);
        let status = own.status().ok();
        let kib = |field: fn(&procfs::process::Status) -> Option<u64>| status.as_ref().and_then(field).unwrap_or(0);
        Self {
            // Precise enough: ticks are 10 ms, and runs last seconds.
            #[expect(clippy::cast_precision_loss, reason = "ticks of CPU stay far below 2^52")]
            cpu_ms: ticks as f64 * 1000.0 / per_second as f64,
            rss_kib: kib(|status| status.vmrss),
            peak_rss_kib: kib(|status| status.vmhwm),
        }
    }
}
