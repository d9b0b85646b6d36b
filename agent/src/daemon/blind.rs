//! The agent on a kernel that cannot show it calls: it says so, and gives what it still has: the
//! history of before, the host's metrics, and answers on its socket.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::DaemonError;
use super::observer::Daemon;
use crate::calls::Survey;
use crate::host::monotonic;
use crate::observe::Observer as _;
use crate::sensor::SensorError;
use crate::sink::Losses;

/// How often time passes for the sampler, the watchdog and the log.
const TICK: Duration = Duration::from_millis(250);

/// Runs until SIGTERM or SIGINT. `why` is what the kernel lacks.
pub(super) async fn run(daemon: &mut Daemon, why: &SensorError) -> Result<(), DaemonError> {
    let listen = |kind| {
        signal(kind).map_err(|source| DaemonError::Setup {
            what: "a signal's handler",
            source,
        })
    };
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut hangup = listen(SignalKind::hangup())?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    daemon.reduced(why);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = hangup.recv() => {
                daemon.hangup_ends();
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
        let now = monotonic();
        if daemon.wants_survey(now) {
            let nothing = Survey {
                at: now,
                ..Survey::default()
            };
            daemon.survey(&nothing, &Losses::default());
        }
        // Nothing that it does can fail without an output.
        if let Err(error) = daemon.tick(now) {
            tracing::warn!(%error, "a look failed");
        }
    }
}
