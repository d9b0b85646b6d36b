//! *MCP overview*: the fleet on one page.

use anyhow::Result;

use super::catalog::Catalog;
use super::model::{Dashboard, Kind, Panel, Section, Server};

const READING: &str = "\
Start at the top: a red figure says what, the sections below say where. A slow or failing server opens in \
**MCP server**; a shortage of the host in **MCP pressure and lifecycle**; a figure that you do not trust in \
**mcpsonar agent health**. On the host, `mcpsonar explain slowest` puts one call on a page, and the points on \
the percentiles lead to its trace.";

pub(super) fn dashboard(catalog: &Catalog) -> Result<Dashboard> {
    Ok(Dashboard {
        uid: "mcp-overview",
        title: "MCP overview",
        about: "Are the MCP servers of the fleet well, and if not, which one is not?",
        server: Server::Many,
        sections: vec![
            now(catalog)?,
            traffic(),
            latency(catalog)?,
            top(),
            flags(catalog)?,
            sessions(),
        ],
    })
}

/// Calls of `method` a second that took at most `bound` seconds in the server.
fn within(method: &str, bound: &str) -> String {
    format!(
        r#"(sum(rate(mcp_server_operation_duration_seconds_bucket{{@,service_name=~"$server",mcp_method_name="{method}",le="{bound}"}}[#])) or vector(0))"#
    )
}

/// Calls of `method` a second.
fn counted(method: &str) -> String {
    format!(
        r#"(sum(rate(mcp_server_operation_duration_seconds_count{{@,service_name=~"$server",mcp_method_name="{method}"}}[#])) or vector(0))"#
    )
}

/// The targets of tool calls and of resource reads, as buckets.
fn targets(catalog: &Catalog) -> Result<(String, String)> {
    let histogram = "mcp_server_operation_duration_seconds";
    Ok((
        catalog.bucket(histogram, "slow_tool_calls")?,
        catalog.bucket(histogram, "slow_resource_reads")?,
    ))
}

fn now(catalog: &Catalog) -> Result<Section> {
    let (tools, resources) = targets(catalog)?;
    let errors = catalog.flag("error_budget")?;
    let slow = catalog.flag("slow_tool_calls")?;
    Ok(Section {
        title: "Now",
        panels: vec![
            Panel::text("How to read this", READING, 3),
            Panel::stat("Calls per second", "reqps").query(r#"sum(rate(mcp_requests_total{@,server=~"$server"}[#]))"#, "calls"),
            Panel::stat("Calls that failed", "percentunit")
                .query(
                    r#"sum(rate(mcp_requests_total{@,server=~"$server",status!~"ok|pending"}[#])) / sum(rate(mcp_requests_total{@,server=~"$server"}[#]))"#,
                    "failed",
                )
                .thresholds(errors.warn, errors.critical)
                .about("Share of calls with any outcome but ok. See **Outcomes** for which, and **Failing tools** for whose."),
            Panel::stat("Calls, p95", "s")
                .query(
                    r#"histogram_quantile(0.95, sum by (le) (rate(mcp_request_duration_seconds_bucket{@,server=~"$server"}[#])))"#,
                    "p95",
                )
                .thresholds(slow.warn / 1e3, slow.critical.map(|value| value / 1e3))
                .about("What clients waited. Coloured by the target of tool calls."),
            Panel::stat("Open connections", "none")
                .query(r#"sum(mcp_active_connections{@,server=~"$server"})"#, "connections")
                .about("Pipes, sockets and HTTP connections to MCP servers."),
            Panel::stat("Flags up", "none")
                .query(r#"sum(mcpsonar_flags_active{@,mcpsonar_flag_severity="critical"}) or vector(0)"#, "critical")
                .query(r#"sum(mcpsonar_flags_active{@,mcpsonar_flag_severity="warning"}) or vector(0)"#, "warning")
                .thresholds(1.0, None),
            Panel::stat("Targets met", "percentunit")
                .query(
                    &format!(
                        "({} + {}) / ({} + {})",
                        within("tools/call", &tools),
                        within("resources/read", &resources),
                        counted("tools/call"),
                        counted("resources/read"),
                    ),
                    "met",
                )
                .max(1.0)
                .about(&format!(
                    "Share of calls within their target of latency: tool calls {tools} s, resource reads {resources} s, in the server."
                )),
            Panel::stat("Servers", "none").query(
                r#"count(sum by (server) (mcp_active_connections{@,server=~"$server"}))"#,
                "servers",
            ),
            Panel::stat("Agents", "none").query("count(mcpsonar_agent_series{@})", "agents"),
        ]
        .into_iter()
        .map(|panel| if panel.kind == Kind::Text { panel } else { panel.width(3) })
        .collect(),
    })
}

fn traffic() -> Section {
    Section {
        title: "Traffic",
        panels: vec![
            Panel::series("Calls by server", "reqps")
                .query(r#"sum by (server) (rate(mcp_requests_total{@,server=~"$server"}[#]))"#, "{{server}}").opens_server("server")
                .stacked()
                .width(8),
            Panel::series("Outcomes", "reqps")
                .query(r#"sum by (status) (rate(mcp_requests_total{@,server=~"$server"}[#]))"#, "{{status}}")
                .stacked()
                .width(8)
                .about("tool_error: the tool says that it failed. rpc_error and http_error: the server refused. cancelled, abandoned, client_exit: the client gave up. server_exit: the server died with the call."),
            Panel::series("Share that failed, by server", "percentunit")
                .query(
                    r#"sum by (server) (rate(mcp_requests_total{@,server=~"$server",status!~"ok|pending"}[#])) / sum by (server) (rate(mcp_requests_total{@,server=~"$server"}[#]))"#,
                    "{{server}}",
                ).opens_server("server")
                .max(1.0)
                .width(8),
        ],
    }
}

fn latency(catalog: &Catalog) -> Result<Section> {
    let slow = catalog.flag("slow_tool_calls")?;
    Ok(Section {
        title: "Latency",
        panels: vec![
            Panel::series("What clients waited", "s")
                .percentiles("mcp_request_duration_seconds", r#"@,server=~"$server""#)
                .width(8)
                .about("Of whoever was seen asking, else what the server took. The points are calls: they lead to the trace."),
            Panel::series("p95 by server", "s")
                .query(
                    r#"histogram_quantile(0.95, sum by (le, server) (rate(mcp_request_duration_seconds_bucket{@,server=~"$server"}[#])))"#,
                    "{{server}}",
                ).opens_server("server")
                .width(8),
            Panel::series("Tool calls, p95 by tool", "s")
                .query(
                    r#"histogram_quantile(0.95, sum by (le, service_name, gen_ai_tool_name) (rate(mcp_server_operation_duration_seconds_bucket{@,service_name=~"$server",gen_ai_tool_name!=""}[#])))"#,
                    "{{service_name}} {{gen_ai_tool_name}}",
                ).opens_server("service_name")
                .thresholds(slow.warn / 1e3, slow.critical.map(|value| value / 1e3))
                .width(8)
                .about("In the server: without waiting to be read by it."),
        ],
    })
}

fn top() -> Section {
    Section {
        title: "Which tools",
        panels: vec![
            Panel::bars("Slowest tools, p95", "s").query(
                r#"topk(10, histogram_quantile(0.95, sum by (le, service_name, gen_ai_tool_name) (rate(mcp_server_operation_duration_seconds_bucket{@,service_name=~"$server",gen_ai_tool_name!=""}[$__range]))))"#,
                "{{service_name}} {{gen_ai_tool_name}}",
            ).opens_server("service_name"),
            Panel::bars("Failing tools, calls that failed", "none").query(
                r#"topk(10, sum by (service_name, gen_ai_tool_name, error_type) (increase(mcp_server_operation_duration_seconds_count{@,service_name=~"$server",gen_ai_tool_name!="",error_type!=""}[$__range])))"#,
                "{{service_name}} {{gen_ai_tool_name}} {{error_type}}",
            ).opens_server("service_name"),
        ],
    }
}

fn flags(catalog: &Catalog) -> Result<Section> {
    let (tools, resources) = targets(catalog)?;
    let met = |method: &str, bound: &str| format!("{} / {}", within(method, bound), counted(method));
    Ok(Section {
        title: "Targets and flags",
        panels: vec![
            Panel::series("Within the target", "percentunit")
                .query(&met("tools/call", &tools), "tool calls")
                .query(&met("resources/read", &resources), "resource reads")
                .max(1.0)
                .width(8)
                .about(&format!(
                    "Share of tool calls that took at most {tools} s in the server, and of resource reads at most {resources} s."
                )),
            Panel::series("Flags up", "none")
                .query("sum by (mcpsonar_flag_code) (mcpsonar_flags_active{@}) > 0", "{{mcpsonar_flag_code}}")
                .stacked()
                .width(8)
                .about("`mcpsonar flags` says whom each is about, with its evidence; the other dashboards say what to do."),
            Panel::bars("Flags raised", "none")
                .query(
                    "topk(15, sum by (mcpsonar_flag_code, mcpsonar_flag_severity) (increase(mcpsonar_flags_raised_total{@}[$__range])) > 0)",
                    "{{mcpsonar_flag_code}} ({{mcpsonar_flag_severity}})",
                )
                .width(8),
            Panel::text("Missed targets", catalog.advice("target"), 8),
        ],
    })
}

fn sessions() -> Section {
    Section {
        title: "Sessions and connections",
        panels: vec![
            Panel::series("Open connections by server", "none")
                .query(r#"sum by (server) (mcp_active_connections{@,server=~"$server"})"#, "{{server}}").opens_server("server")
                .stacked()
                .width(8),
            Panel::series("Sessions that ended", "none")
                .query(
                    r#"sum by (service_name) (increase(mcp_server_session_duration_seconds_count{@,service_name=~"$server"}[#]))"#,
                    "{{service_name}}",
                ).opens_server("service_name")
                .width(8)
                .about("Many short sessions are a client that reconnects for each call. Protocol 2026-07-28 and later have no sessions."),
            Panel::series("Repeated requests", "reqps")
                .query("sum by (result) (rate(mcp_cache_operations_total{@}[#]))", "{{result}}")
                .width(8)
                .about("Same method and parameters to the same server within 5 minutes. miss: the server worked again, though a cache could have answered."),
        ],
    }
}
