//! *MCP server*: one server, from what its clients waited to what its processes used.

use anyhow::Result;

use super::catalog::Catalog;
use super::model::{Dashboard, Panel, Section, Server};

const READING: &str = "\
**Parts** says where a call's time went. A long *request queue*: the server reads too late, so it is busy or \
blocked; look at its CPU and run queue. A long *server*: `mcpsonar explain slowest --server NAME` on the host says \
on what: CPU, disk, locks, upstreams. A long *response queue*: the client reads too late. Memory that only grows: \
see **Expected in an hour** before the kernel does.";

pub(super) fn dashboard(catalog: &Catalog) -> Result<Dashboard> {
    Ok(Dashboard {
        uid: "mcp-server",
        title: "MCP server",
        about: "Why is this server slow, failing or large?",
        server: Server::One,
        sections: vec![
            calls(catalog)?,
            parts(),
            upstreams(),
            processor(catalog)?,
            memory(catalog)?,
            io(catalog)?,
            clients(),
        ],
    })
}

fn calls(catalog: &Catalog) -> Result<Section> {
    let slow = catalog.flag("slow_tool_calls")?;
    Ok(Section {
        title: "Calls",
        panels: vec![
            Panel::text("How to read this", READING, 4),
            Panel::series("What clients waited", "s")
                .percentiles("mcp_request_duration_seconds", r#"@,server=~"$server""#)
                .thresholds(slow.warn / 1e3, slow.critical.map(|value| value / 1e3))
                .width(8),
            Panel::series("Calls by method", "reqps")
                .query(r#"sum by (method) (rate(mcp_requests_total{@,server=~"$server"}[#]))"#, "{{method}}")
                .stacked()
                .width(8),
            Panel::series("Calls that did not succeed", "reqps")
                .query(
                    r#"sum by (status) (rate(mcp_requests_total{@,server=~"$server",status!="ok"}[#]))"#,
                    "{{status}}",
                )
                .stacked()
                .width(8),
            Panel::bars("Tools by time spent in them", "s")
                .query(
                    r#"topk(15, sum by (gen_ai_tool_name) (increase(mcp_server_operation_duration_seconds_sum{@,service_name=~"$server",gen_ai_tool_name!=""}[$__range])))"#,
                    "{{gen_ai_tool_name}}",
                )
                .about("The tool that is worth making faster: calls times their duration."),
            Panel::bars("Errors by type", "none").query(
                r#"topk(15, sum by (mcp_method_name, error_type) (increase(mcp_server_operation_duration_seconds_count{@,service_name=~"$server",error_type!=""}[$__range])))"#,
                "{{mcp_method_name}} {{error_type}}",
            ),
        ],
    })
}

fn parts() -> Section {
    Section {
        title: "Parts of a call, and causes",
        panels: vec![
            Panel::series("What the server's time goes into, mean of a call", "s")
                .query(
                    r#"sum by (mcpsonar_cause) (rate(mcpsonar_call_cause_time_seconds_total{@,service_name=~"$server"}[#])) / scalar(sum(rate(mcpsonar_calls_total{@,service_name=~"$server"}[#])))"#,
                    "{{mcpsonar_cause}}",
                )
                .stacked()
                .about("on_cpu: make the tool cheaper. run_queue and throttled: give it processor. disk and memory: the host is short of them. upstream: see **Upstreams**. lock_or_timer: it sleeps or waits for itself. blocked_write: its client reads too late."),
            Panel::series("Calls that wait for their answer", "none")
                .query(
                    r#"sum by (mcpsonar_call_state) (mcpsonar_calls_in_flight{@,service_name=~"$server"})"#,
                    "{{mcpsonar_call_state}}",
                )
                .stacked()
                .about("unread: the request queue. It grows when the server does one thing at a time and that takes too long."),
            Panel::series("Mean time by part", "s")
                .query(
                    r#"sum by (mcpsonar_part) (rate(mcpsonar_call_part_duration_seconds_sum{@,service_name=~"$server"}[#])) / sum by (mcpsonar_part) (rate(mcpsonar_call_part_duration_seconds_count{@,service_name=~"$server"}[#]))"#,
                    "{{mcpsonar_part}}",
                )
                .stacked()
                .width(8),
            Panel::series("p95 by part", "s")
                .query(
                    r#"histogram_quantile(0.95, sum by (le, mcpsonar_part) (rate(mcpsonar_call_part_duration_seconds_bucket{@,service_name=~"$server"}[#])))"#,
                    "{{mcpsonar_part}}",
                )
                .width(8),
            Panel::series("Unread, mean", "s")
                .query(
                    r#"sum by (mcpsonar_part) (rate(mcpsonar_call_part_duration_seconds_sum{@,service_name=~"$server",mcpsonar_part=~"request_queue|response_queue"}[#])) / sum by (mcpsonar_part) (rate(mcpsonar_call_part_duration_seconds_count{@,service_name=~"$server",mcpsonar_part=~"request_queue|response_queue"}[#]))"#,
                    "{{mcpsonar_part}}",
                )
                .width(8)
                .about("How long requests lie in the pipe or socket before the server reads them, and answers before the client does."),
        ],
    }
}

fn upstreams() -> Section {
    Section {
        title: "Upstreams",
        panels: vec![
            Panel::series("Time waited for, by whom", "s")
                .query(
                    r#"topk(10, sum by (mcpsonar_upstream_peer, mcpsonar_upstream_kind) (rate(mcpsonar_upstream_time_seconds_total{@,service_name=~"$server"}[#])))"#,
                    "{{mcpsonar_upstream_kind}} {{mcpsonar_upstream_peer}}",
                )
                .stacked()
                .width(12)
                .about("In each second, of all calls together."),
            Panel::series("Mean wait of a call", "s")
                .query(
                    r#"topk(10, sum by (mcpsonar_upstream_peer) (rate(mcpsonar_upstream_time_seconds_total{@,service_name=~"$server"}[#])) / sum by (mcpsonar_upstream_peer) (rate(mcpsonar_upstream_calls_total{@,service_name=~"$server"}[#])))"#,
                    "{{mcpsonar_upstream_peer}}",
                )
                .width(12)
                .about("Grows while the calls stay as many: the upstream has become slower. Many short waits in one call: ask it for several things at once."),
        ],
    }
}

fn processor(catalog: &Catalog) -> Result<Section> {
    let waits = catalog.flag("run_queue_delay")?;
    let throttled = catalog.flag("cpu_throttled")?;
    Ok(Section {
        title: "Processor",
        panels: vec![
            Panel::series("Cores used, by process", "none")
                .query(
                    r#"sum by (process_executable_name, process_pid) (rate(process_cpu_time_seconds_total{@,service_name=~"$server"}[#]))"#,
                    "{{process_executable_name}} {{process_pid}}",
                )
                .query(
                    r#"mcpsonar_process_group_cpu_limit{@,service_name=~"$server"}"#,
                    "limit of {{process_pid}}",
                )
                .width(8)
                .about("A Node or Python server does all the work in one thread: at 1 it is full, whatever the host has."),
            Panel::series("Ready and not running", "percentunit")
                .query(
                    r#"sum by (process_pid) (rate(mcpsonar_process_run_queue_time_seconds_total{@,service_name=~"$server"}[#]))"#,
                    "{{process_pid}}",
                )
                .thresholds(waits.warn, waits.critical)
                .width(8)
                .about(&format!("{} Coloured by the flag run_queue_delay.", waits.advice)),
            Panel::series("Held back by its CPU limit", "percentunit")
                .query(
                    r#"sum by (process_pid) (rate(mcpsonar_process_group_throttled_time_seconds_total{@,service_name=~"$server"}[#]))"#,
                    "{{process_pid}}",
                )
                .width(8)
                .about(&format!("Share of the time, of its whole control group. {}", throttled.advice)),
            Panel::series("Pressure of its host", "percentunit")
                .query(
                    r#"max by (instance, mcpsonar_pressure_resource) (mcpsonar_system_pressure_ratio{@,mcpsonar_pressure_stall="some",mcpsonar_pressure_window="10s"})"#,
                    "{{instance}} {{mcpsonar_pressure_resource}}",
                )
                .max(1.0)
                .about("Share of the last 10 s in which something on the host stood still for want of it: of a server that is slow through no fault of its own."),
            Panel::series("Context switches", "ops")
                .query(
                    r#"sum by (process_context_switch_type) (rate(process_context_switches_total{@,service_name=~"$server"}[#]))"#,
                    "{{process_context_switch_type}}",
                )
                .about("Involuntary ones: others compete for the processor, or a quota ran out."),
        ],
    })
}

fn memory(catalog: &Catalog) -> Result<Section> {
    let limit = catalog.flag("memory_limit")?;
    Ok(Section {
        title: "Memory",
        panels: vec![
            Panel::series("Memory by process", "bytes")
                .query(r#"process_memory_usage_bytes{@,service_name=~"$server"}"#, "{{process_pid}} resident")
                .query(r#"mcpsonar_process_memory_proportional_bytes{@,service_name=~"$server"}"#, "{{process_pid}} proportional")
                .query(r#"mcpsonar_process_memory_swap_bytes{@,service_name=~"$server"} > 0"#, "{{process_pid}} swapped")
                .width(8),
            Panel::series("Memory of its control group", "bytes")
                .query(r#"mcpsonar_process_group_memory_usage_bytes{@,service_name=~"$server"}"#, "{{process_pid}}")
                .query(r#"mcpsonar_process_group_memory_limit_bytes{@,service_name=~"$server"}"#, "{{process_pid}} limit")
                .width(8)
                .about("At the limit the kernel kills. Without a limit the whole host is what it can use up."),
            Panel::series("Share of its memory limit", "percentunit")
                .query(
                    r#"mcpsonar_process_group_memory_usage_bytes{@,service_name=~"$server"} / mcpsonar_process_group_memory_limit_bytes{@,service_name=~"$server"}"#,
                    "{{process_pid}}",
                )
                .thresholds(limit.warn, limit.critical)
                .width(8)
                .about(&format!("{} Coloured by the flag memory_limit.", limit.advice)),
            Panel::series("Expected in an hour", "bytes")
                .query(r#"predict_linear(process_memory_usage_bytes{@,service_name=~"$server"}[30m], 3600)"#, "{{process_pid}}")
                .about("The last half hour's line, prolonged. Restart or fix the server before this meets its limit."),
            Panel::series("Page faults", "ops")
                .query(
                    r#"sum by (system_paging_fault_type) (rate(process_paging_faults_total{@,service_name=~"$server"}[#]))"#,
                    "{{system_paging_fault_type}}",
                )
                .about("Major ones wait for a disk: memory is short, or the program was just started."),
        ],
    })
}

fn io(catalog: &Catalog) -> Result<Section> {
    let exhausted = catalog.flag("descriptors_exhausted")?;
    Ok(Section {
        title: "Files, threads and connections",
        panels: vec![
            Panel::series("Open descriptors", "none")
                .query(
                    r#"process_unix_file_descriptor_count{@,service_name=~"$server"}"#,
                    "{{process_pid}}",
                )
                .width(6)
                .about("Steps up that never come down are connections or files that nobody closes."),
            Panel::series("Share of the descriptors that it may have", "percentunit")
                .query(
                    r#"process_unix_file_descriptor_count{@,service_name=~"$server"} / mcpsonar_process_file_descriptor_limit{@,service_name=~"$server"}"#,
                    "{{process_pid}}",
                )
                .thresholds(exhausted.warn, exhausted.critical)
                .width(6)
                .about(&format!("{} Coloured by the flag descriptors_exhausted.", exhausted.advice)),
            Panel::series("Threads", "none")
                .query(r#"process_thread_count{@,service_name=~"$server"}"#, "{{process_pid}}")
                .width(6),
            Panel::series("Disk", "Bps")
                .query(
                    r#"sum by (disk_io_direction) (rate(process_disk_io_bytes_total{@,service_name=~"$server"}[#]))"#,
                    "{{disk_io_direction}}",
                )
                .width(6),
        ],
    })
}

fn clients() -> Section {
    Section {
        title: "Clients and protocol",
        panels: vec![
            Panel::series("Calls by client", "reqps")
                .query(
                    r#"topk(10, sum by (mcpsonar_requester) (rate(mcpsonar_calls_total{@,service_name=~"$server"}[#])))"#,
                    "{{mcpsonar_requester}}",
                )
                .stacked()
                .width(6),
            Panel::series("Open connections", "none")
                .query(r#"sum by (mcpsonar_transport) (mcpsonar_connections{@,service_name=~"$server"})"#, "{{mcpsonar_transport}}")
                .width(6),
            Panel::series("Calls by protocol version", "reqps")
                .query(
                    r#"sum by (mcp_protocol_version) (rate(mcp_server_operation_duration_seconds_count{@,service_name=~"$server",mcp_protocol_version!=""}[#]))"#,
                    "{{mcp_protocol_version}}",
                )
                .stacked()
                .width(6),
            Panel::series("Up for", "s")
                .query(r#"process_uptime_seconds{@,service_name=~"$server"}"#, "{{process_pid}}")
                .width(6)
                .about("A line that falls to zero is a restart."),
        ],
    }
}
