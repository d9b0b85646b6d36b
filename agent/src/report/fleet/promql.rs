//! The text of the questions.

/// How the database counts what a counter has grown by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `increase_pure` of `MetricsQL` is exact, and takes a counter that appears as one that began at 0.
    MetricsQl,
    /// `increase` of Prometheus is an estimate that leaves out a counter's first value.
    PromQl,
}

impl Dialect {
    /// A question that only `MetricsQL` understands.
    pub(super) const PROBE: &str = "increase_pure(mcpsonar_agent_calls_total[5m])";

    /// By how much the counters `selector` have grown within `seconds`, each.
    fn each(self, selector: &str, seconds: u64) -> String {
        match self {
            Self::MetricsQl => format!("increase_pure({selector}[{seconds}s])"),
            // Exact where the agent was not restarted: the last value, less that of before the period.
            Self::PromQl => format!(
                "((last_over_time({selector}[{seconds}s]) - ({selector} offset {seconds}s or last_over_time({selector}[{seconds}s]) * 0)) \
                 and resets({selector}[{seconds}s]) == 0) or increase({selector}[{seconds}s])"
            ),
        }
    }

    /// The same, added up by labels.
    pub(super) fn growth(self, selector: &str, by: &str, seconds: u64) -> String {
        format!("sum by ({by}) ({})", self.each(selector, seconds))
    }
}

/// Seconds within the period in which an agent was scraped, looked at every `step` seconds.
pub(super) fn observed(seconds: u64, step: u64) -> String {
    format!("count_over_time(count(mcpsonar_agent_series)[{seconds}s:{step}s]) * {step}")
}

/// Agents that were scraped.
pub(super) fn agents(seconds: u64) -> String {
    format!("count(count by (instance) (last_over_time(mcpsonar_agent_series[{seconds}s])))")
}

/// Which flags were up within the last `step` seconds.
pub(super) fn flags(step: u64) -> String {
    format!(
        "max by (instance, mcpsonar_flag_code, mcpsonar_flag_severity) (max_over_time(mcpsonar_flags_active[{step}s])) > 0"
    )
}

/// What of a server's processes is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resource {
    Processes,
    Cores,
    Memory,
}

impl Resource {
    /// Its value over the period by service, folded by `max` or `avg`.
    pub(super) fn over_time(self, fold: &str, seconds: u64, step: u64) -> String {
        // The rate needs some samples.
        let window = step.max(60);
        let now = match self {
            Self::Processes => "count by (service_name) (process_memory_usage_bytes)".to_owned(),
            Self::Cores => format!("sum by (service_name) (rate(process_cpu_time_seconds_total[{window}s]))"),
            Self::Memory => format!("sum by (service_name) ({fold}_over_time(process_memory_usage_bytes[{step}s]))"),
        };
        format!("{fold}_over_time({now}[{seconds}s:{step}s])")
    }
}
