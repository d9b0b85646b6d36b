//! *Pressure and lifecycle*: hosts that are short of something, and servers that have no business living.

use anyhow::Result;

use super::catalog::Catalog;
use super::model::{Dashboard, Panel, Section, Server};

pub(super) fn dashboard(catalog: &Catalog) -> Result<Dashboard> {
    Ok(Dashboard {
        uid: "mcp-pressure",
        title: "MCP pressure and lifecycle",
        about: "Which host is short of what, and which servers leak, hang or were forgotten?",
        server: Server::None,
        sections: vec![hosts(catalog)?, memory(), lifecycle(catalog), scaling(catalog)],
    })
}

fn hosts(catalog: &Catalog) -> Result<Section> {
    let cpu = catalog.flag("host_cpu")?;
    let stall = |title: &str, resource: &str, code: &str| -> Result<Panel> {
        let flag = catalog.flag(code)?;
        let expr = |stall: &str| {
            format!(
                r#"mcpsonar_system_pressure_ratio{{@,mcpsonar_pressure_resource="{resource}",mcpsonar_pressure_stall="{stall}",mcpsonar_pressure_window="10s"}}"#
            )
        };
        Ok(Panel::series(title, "percentunit")
            .query(&expr("some"), "{{instance}} some")
            .query(&expr("full"), "{{instance}} all")
            .thresholds(flag.warn, flag.critical)
            .width(8)
            .about(&format!("{} Dashed: where the flag {code} is raised.", flag.advice)))
    };
    Ok(Section {
        title: "Hosts",
        panels: vec![
            Panel::series("Busy share of the processors", "percent")
                .query("avg by (instance) (mcp_cpu_usage_percent{@})", "{{instance}}")
                .query("max by (instance) (mcp_cpu_usage_percent{@})", "{{instance}} busiest core")
                .thresholds(cpu.warn * 100.0, cpu.critical.map(|value| value * 100.0))
                .max(100.0),
            Panel::series("Share of the time that tasks stood still", "percentunit")
                .query(
                    r#"sum by (instance, mcpsonar_pressure_resource) (rate(mcpsonar_system_pressure_time_seconds_total{@,mcpsonar_pressure_stall="some"}[#]))"#,
                    "{{instance}} {{mcpsonar_pressure_resource}}",
                )
                .about("The kernel's pressure information (PSI), exact over each interval. Kernels without it show nothing here."),
            stall("Waiting for a processor", "cpu", "cpu_stall")?,
            stall("Waiting for memory", "memory", "memory_stall")?,
            stall("Waiting for devices", "io", "io_stall")?,
            flag_panel("Pressure flags up", &catalog.codes("pressure")),
            Panel::text("What to do about pressure", catalog.advice("pressure"), 14),
        ],
    })
}

fn memory() -> Section {
    Section {
        title: "Memory and leaks",
        panels: vec![
            Panel::series("Memory of all MCP processes", "bytes")
                .query(r#"sum by (instance, type) (mcp_memory_usage_bytes{@,type!="virtual"})"#, "{{instance}} {{type}}")
                .width(8)
                .about("pss divides shared pages among those that share them: the true sum. rss counts them again and again."),
            Panel::bars("Growth, in bytes a second", "Bps")
                .query(
                    "topk(10, deriv(process_memory_usage_bytes{@}[10m])) > 0",
                    "{{service_name}} {{process_pid}}",
                )
                .width(8)
                .about("Steady growth is a leak. The flag memory_growth says when it will be too late."),
            Panel::series("Leaks and kills", "none")
                .query(
                    r#"sum by (instance, mcpsonar_flag_code) (mcpsonar_flags_active{@,mcpsonar_flag_code=~"memory_growth|memory_limit|oom_killed|descriptors_exhausted|task_limit"}) > 0"#,
                    "{{instance}} {{mcpsonar_flag_code}}",
                )
                .width(8)
                .about("memory_growth is up when the time to out-of-memory is below an hour, critical below 5 minutes."),
        ],
    }
}

fn lifecycle(catalog: &Catalog) -> Section {
    Section {
        title: "Lifecycle",
        panels: vec![
            flag_panel("Lifecycle flags up", &catalog.codes("lifecycle")).width(8),
            Panel::series("Processes by server", "none")
                .query(
                    "count by (instance, service_name) (process_uptime_seconds{@})",
                    "{{instance}} {{service_name}}",
                )
                .width(8)
                .about("A number that only grows: servers are started and never ended."),
            Panel::bars("Oldest processes", "s")
                .query(
                    "topk(10, process_uptime_seconds{@})",
                    "{{instance}} {{service_name}} {{process_pid}}",
                )
                .width(8),
            Panel::series("Deviations from the protocol", "none")
                .query(
                    "sum by (mcpsonar_fault) (increase(mcpsonar_protocol_faults_total{@}[#]))",
                    "{{mcpsonar_fault}}",
                )
                .about("The server's or client's author can use this: prints to stdout, unanswered ids, and the like."),
            flag_panel("Protocol flags up", &catalog.codes("protocol")),
            Panel::text("What to do about lifecycle flags", catalog.advice("lifecycle"), 9),
            Panel::text("What to do about protocol flags", catalog.advice("protocol"), 9),
        ],
    }
}

fn scaling(catalog: &Catalog) -> Section {
    Section {
        title: "Scaling",
        panels: vec![
            flag_panel("Scaling advice", &catalog.codes("scaling")),
            Panel::series("Calls per process of a server", "reqps")
                .query(
                    "sum by (service_name) (rate(mcp_server_operation_duration_seconds_count{@}[#])) / count by (service_name) (process_uptime_seconds{@})",
                    "{{service_name}}",
                )
                .about("Compare with what one process managed before it got slow."),
            Panel::text("What to do", catalog.advice("scaling"), 5),
        ],
    }
}

/// Which of these flags are up, and how many of each.
fn flag_panel(title: &str, codes: &str) -> Panel {
    Panel::series(title, "none")
        .query(
            &format!(r#"sum by (instance, mcpsonar_flag_code) (mcpsonar_flags_active{{@,mcpsonar_flag_code=~"{codes}"}}) > 0"#),
            "{{instance}} {{mcpsonar_flag_code}}",
        )
        .stacked()
}
