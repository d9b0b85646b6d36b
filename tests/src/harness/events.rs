//! Changes of flags, as the agent writes them.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::Trace;

impl Trace {
    /// What was written so far; a line that is not complete yet is left out.
    pub fn events(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(self.file("events"))?;
        Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }

    /// Waits for such a change of a flag, at most `limit`.
    pub fn wait_event(
        &self,
        event: &str,
        flag: &str,
        limit: Duration,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let since = Instant::now();
        while since.elapsed() < limit {
            let found = |line: &Value| line["event"] == event && line["flag"] == flag && is_it(line);
            if let Some(event) = self.events()?.into_iter().find(found) {
                return Ok(event);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        bail!("{flag} was not {event} within {limit:?}");
    }
}
