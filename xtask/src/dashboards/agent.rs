//! *Agent health*: whether the other dashboards can be believed, and what they cost.

use super::model::{Dashboard, Panel, Section, Server};

const READING: &str = "\
Losses are never silent: what was not seen is here, by name. **ring_dropped**: the kernel's buffer was full, so give the \
agent more CPU. **output_dropped** and **history_dropped**: a collector or the disk did not take what was sent. \
**over_budget_bytes**: bytes in the middle of large messages, left out on purpose; the calls are complete. On the host \
`mcpsonar doctor` says which hooks this kernel allows, what is off, and why.";

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "mcpsonar-agent",
        title: "mcpsonar agent health",
        about: "Does the agent see everything, and what does it cost?",
        server: Server::None,
        sections: vec![cost(), losses(), exporters(), hooks(), state()],
    }
}

fn cost() -> Section {
    Section {
        title: "Cost",
        panels: vec![
            Panel::text("How to read this", READING, 4),
            Panel::stat("Agents that answer", "none")
                .query(r"sum(up{@})", "up")
                .query(r"count(up{@} == 0) or vector(0)", "down")
                .width(8),
            Panel::stat("Losses in this time", "none")
                .query(
                    r#"sum(increase(mcpsonar_losses_total{@,mcpsonar_loss!~".*_bytes"}[$__range])) or vector(0)"#,
                    "losses",
                )
                .thresholds(1.0, None)
                .width(8),
            Panel::stat("Calls put together", "none")
                .query("sum(increase(mcpsonar_agent_calls_total{@}[$__range]))", "calls")
                .width(8),
            Panel::series("Processor", "percentunit")
                .query(
                    "sum by (instance) (rate(mcpsonar_agent_cpu_time_seconds_total{@}[#]))",
                    "{{instance}}",
                )
                .about("Share of one core. The design's bar is 1 % at 1000 messages a second."),
            Panel::series("Memory", "bytes")
                .query(
                    "sum by (instance) (mcpsonar_agent_memory_usage_bytes{@})",
                    "{{instance}}",
                )
                .query(
                    "max by (instance) (mcpsonar_agent_memory_peak_bytes{@})",
                    "{{instance}} peak",
                ),
        ],
    }
}

fn losses() -> Section {
    Section {
        title: "What was not seen",
        panels: vec![
            Panel::series("Losses", "none")
                .query("sum by (instance, mcpsonar_loss) (increase(mcpsonar_losses_total{@}[#])) > 0", "{{instance}} {{mcpsonar_loss}}")
                .stacked()
                .width(8),
            Panel::series("Calls that are incomplete", "none")
                .query(
                    "sum by (instance, mcpsonar_loss) (increase(mcpsonar_calls_incomplete_total{@}[#]))",
                    "{{instance}} {{mcpsonar_loss}}",
                )
                .stacked()
                .width(8)
                .about("Many at the start are calls that began before the agent did."),
            Panel::series("Series that overflowed", "none")
                .query(
                    "sum by (instance, mcpsonar_instrument) (increase(mcpsonar_agent_series_overflows_total{@}[#])) > 0",
                    "{{instance}} {{mcpsonar_instrument}}",
                )
                .width(8)
                .about("Measurements that share a series with _OTHER: names that differ for each call, such as a tool per user."),
        ],
    }
}

fn exporters() -> Section {
    Section {
        title: "Exporters",
        panels: vec![
            Panel::series("Sent", "ops")
                .query(
                    r#"sum by (instance, mcpsonar_exporter) (rate(mcpsonar_exporter_items_total{@,mcpsonar_exporter_fate="sent"}[#]))"#,
                    "{{instance}} {{mcpsonar_exporter}}",
                )
                .width(6)
                .about("Spans, points of metrics, and calls that the history has counted."),
            Panel::series("Failed and dropped", "ops")
                .query(
                    r#"sum by (instance, mcpsonar_exporter, mcpsonar_exporter_fate) (rate(mcpsonar_exporter_items_total{@,mcpsonar_exporter_fate=~"failed|dropped"}[#]))"#,
                    "{{instance}} {{mcpsonar_exporter}} {{mcpsonar_exporter_fate}}",
                )
                .stacked()
                .width(6)
                .about("failed: the collector refused it, or the disk. dropped: the queue was full; the collector is too slow or away."),
            Panel::series("Requests that failed", "ops")
                .query(
                    "sum by (instance, mcpsonar_exporter) (rate(mcpsonar_exporter_errors_total{@}[#]))",
                    "{{instance}} {{mcpsonar_exporter}}",
                )
                .width(6)
                .about("Most are sent again. The agent's log has the collector's answer."),
            Panel::series("Queue in use", "percentunit")
                .query(
                    "mcpsonar_exporter_queue_size{@} / mcpsonar_exporter_queue_limit{@}",
                    "{{instance}} {{mcpsonar_exporter}}",
                )
                .max(1.0)
                .width(6)
                .about("At 1 everything more is dropped. `otlp.queue` makes it longer, which helps against pauses only."),
        ],
    }
}

fn hooks() -> Section {
    Section {
        title: "Hooks in the kernel",
        panels: vec![
            Panel::stat("Hooks", "none")
                .query(r#"sum(mcpsonar_agent_hooks{@,mcpsonar_hook_state="on"})"#, "on")
                .query(r#"sum(mcpsonar_agent_hooks{@,mcpsonar_hook_state="off"}) or vector(0)"#, "off")
                .width(8)
                .about("Of all agents together."),
            Panel::bars("Hooks that are off", "none")
                .query(
                    r#"topk(15, sum by (mcpsonar_hook_name) (mcpsonar_agent_hooks{@,mcpsonar_hook_state="off"}))"#,
                    "{{mcpsonar_hook_name}}",
                )
                .width(16)
                .about("On how many hosts each is off. `mcpsonar doctor` there says why, and what is not seen without it. tier 1: the second tier is in use, which sees the same and costs more."),
        ],
    }
}

fn state() -> Section {
    Section {
        title: "State",
        panels: vec![
            Panel::series("Calls put together", "reqps")
                .query("sum by (instance) (rate(mcpsonar_agent_calls_total{@}[#]))", "{{instance}}")
                .width(6),
            Panel::series("Streams", "none")
                .query("sum by (mcpsonar_stream_state) (mcpsonar_streams{@})", "{{mcpsonar_stream_state}}")
                .stacked()
                .width(6)
                .about("unjudged ones are sampled until it is clear whether they carry MCP; ignored ones cost next to nothing."),
            Panel::series("Series", "none")
                .query("sum by (instance) (mcpsonar_agent_series{@})", "{{instance}}")
                .width(6),
            Panel::series("Time to scrape", "s")
                .query("max by (instance) (scrape_duration_seconds{@})", "{{instance}}")
                .width(6),
        ],
    }
}
