//! Queries that have no answer in a run of minutes, and why that is as it should be.

/// A part of the query, and why nothing answers it.
const EXPECTED: &[(&str, &str)] = &[
    (
        "memory_growth|memory_limit|",
        "the leak is told from growth after minutes, and critical just before the kernel ends its server",
    ),
    (
        "mcpsonar_process_group_",
        "a control group with limits can only be made where /sys/fs/cgroup can be written",
    ),
    ("host_cpu|", "a host may be short of nothing"),
    ("scale_out|scale_in", "advice on scaling is of hours"),
    (
        "mcpsonar_agent_series_overflows_total",
        "an instrument overflows with a thousand series, and the workload has dozens",
    ),
    (
        "mcpsonar_calls_incomplete_total",
        "the agent is there before the workload, and loses nothing of a call",
    ),
    ("mcpsonar_hook_state=\"off\"", "a kernel may take all hooks"),
    (
        "mcpsonar_losses_total{mcpsonar_loss!~",
        "what exporters lose is counted elsewhere, and nothing else was lost",
    ),
];

/// Why `query` may have no answer.
pub(super) fn reason(query: &str) -> Option<&'static str> {
    EXPECTED
        .iter()
        .find(|(part, _)| query.contains(part))
        .map(|(_, why)| *why)
}

/// What a condition compares: the query without ` > 0.5`, ` == 0` and the like. Whatever it is
/// compared with, that has to be there.
pub(super) fn without_comparisons(query: &str) -> String {
    let mut words = query.split(' ').peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        let number = words.peek().map(|next| next.trim_end_matches(')'));
        let is_comparison = matches!(word, ">" | "<" | "==" | ">=" | "<=");
        match number.and_then(|number| number.parse::<f64>().ok()) {
            Some(_) if is_comparison => {
                let with = words.next().unwrap_or_default();
                // Parentheses that close after the number stay.
                let closing = with.len() - with.trim_end_matches(')').len();
                if let Some(last) = kept.last_mut() {
                    *last = format!("{last}{}", ")".repeat(closing));
                }
            }
            _ => kept.push(word.to_owned()),
        }
    }
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_lose_their_bounds_only() {
        for (query, expected) in [
            ("a > 0.5 or b > 268435456", "a or b"),
            ("up{job=~\".*\"} == 0", "up{job=~\".*\"}"),
            ("sum(a > 0) / b", "sum(a) / b"),
            ("a > b", "a > b"),
            ("a / 5", "a / 5"),
        ] {
            assert_eq!(without_comparisons(query), expected);
        }
    }
}
