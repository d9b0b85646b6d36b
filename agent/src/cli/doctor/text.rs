//! The findings for people.

use std::fmt::{self, Write as _};

use super::{
    Findings,
    host::{CAPABILITIES, HostFindings},
};
use crate::hooks::HookStatus;
use crate::sink::text::written;

pub(super) fn render(findings: &Findings) -> String {
    written(|out| render_to(findings, out))
}

fn render_to(findings: &Findings, out: &mut String) -> fmt::Result {
    let host = &findings.host;
    writeln!(
        out,
        "mcpsonar {} on Linux {} {}",
        findings.mcpsonar,
        known(host.kernel.as_deref()),
        host.arch
    )?;
    kernel(findings, host, out)?;
    privileges(host, out)?;
    surroundings(host, out)?;
    writeln!(out, "\nhooks")?;
    if let Some(error) = &findings.hooks_error {
        return writeln!(out, "  none: {error}");
    }
    render_hooks(&findings.hooks, out)?;
    super::tls::render(&findings.tls, out)?;
    writeln!(out, "\n{}", verdict(&findings.hooks))
}

fn kernel(findings: &Findings, host: &HostFindings, out: &mut String) -> fmt::Result {
    writeln!(out, "\nkernel")?;
    let embedded = if findings.programs_embedded {
        "in this binary"
    } else {
        "missing: build with `cargo xtask build`"
    };
    row(out, "eBPF programs", embedded)?;
    row(
        out,
        "types (BTF)",
        if host.btf {
            "yes"
        } else {
            "missing: needs CONFIG_DEBUG_INFO_BTF"
        },
    )?;
    row(out, "lockdown", known(host.lockdown.as_deref()))?;
    row(
        out,
        "unprivileged_bpf_disabled",
        known(host.unprivileged_bpf_disabled.as_deref()),
    )?;
    row(out, "perf_event_paranoid", known(host.perf_event_paranoid.as_deref()))?;
    row(
        out,
        "pressure (PSI)",
        if host.psi {
            "yes"
        } else {
            "no: not built in, or not booted with psi=1"
        },
    )
}

fn privileges(host: &HostFindings, out: &mut String) -> fmt::Result {
    writeln!(out, "\nprivileges")?;
    row(
        out,
        "effective uid",
        &host.euid.map_or_else(|| "unknown".to_owned(), |uid| uid.to_string()),
    )?;
    for (name, _, purpose) in CAPABILITIES {
        let has = host.capabilities.get(name).copied().unwrap_or(false);
        row(
            out,
            name,
            &if has {
                "yes".to_owned()
            } else {
                format!("no: {purpose}")
            },
        )?;
    }
    let limit = host
        .memlock_bytes
        .map_or_else(|| "unlimited".to_owned(), |bytes| format!("{} KiB", bytes / 1024));
    let binds = if host.memlock_binds {
        "maps are charged to it"
    } else {
        "does not matter to this kernel"
    };
    row(out, "locked memory limit", &format!("{limit} ({binds})"))
}

fn surroundings(host: &HostFindings, out: &mut String) -> fmt::Result {
    writeln!(out, "\nsurroundings")?;
    for (kind, at) in &host.mounts {
        row(out, kind, at.as_deref().unwrap_or("not mounted"))?;
    }
    row(out, "cgroups", host.cgroup.unwrap_or("none"))?;
    row(out, "hidepid of /proc", known(host.hidepid.as_deref()))?;
    let namespace = match host.initial_pid_namespace {
        Some(true) => "the host's",
        Some(false) => "a container's: run with the host's (docker: --pid=host), or facts of processes are missing",
        None => "unknown",
    };
    row(out, "pid namespace", namespace)
}

/// Hooks that are off for the same reason share their line: a tier has dozens of them.
fn render_hooks(hooks: &[HookStatus], out: &mut String) -> fmt::Result {
    let mut told: Vec<(u8, bool, &str, &str)> = Vec::new();
    for HookStatus {
        name: _,
        tier,
        on,
        reason,
        lost,
    } in hooks
    {
        // What would be lost does not matter while it is not.
        let state = (*tier, *on, reason.as_str(), if *on { "" } else { lost.as_str() });
        if told.contains(&state) {
            continue;
        }
        told.push(state);
        let alike = hooks
            .iter()
            .filter(|hook| (hook.tier, hook.on, &hook.reason) == (*tier, *on, reason) && (*on || hook.lost == *lost));
        let names: Vec<&str> = alike.map(|hook| hook.name.as_str()).collect();
        let tier = if *tier == 0 { "any".to_owned() } else { tier.to_string() };
        match (*on, lost.as_str()) {
            (true, _) => writeln!(out, "  tier {tier:<3}  on")?,
            (false, "") => writeln!(out, "  tier {tier:<3}  off: {reason}")?,
            (false, lost) => writeln!(out, "  tier {tier:<3}  off: {reason}; lost: {lost}")?,
        }
        wrapped(&names, out)?;
    }
    Ok(())
}

/// Names in indented lines of at most 100 columns.
fn wrapped(names: &[&str], out: &mut String) -> fmt::Result {
    const INDENT: &str = "            ";
    let mut line = String::new();
    for (index, name) in names.iter().enumerate() {
        if !line.is_empty() && INDENT.len() + line.len() + name.len() > 98 {
            writeln!(out, "{INDENT}{}", line.trim_end())?;
            line.clear();
        }
        let comma = if index + 1 < names.len() { ", " } else { "" };
        write!(line, "{name}{comma}")?;
    }
    writeln!(out, "{INDENT}{line}")
}

/// In one sentence, what a trace would get. A tier that has an attached hook is usable.
fn verdict(hooks: &[HookStatus]) -> &'static str {
    let complete = |tier| {
        let mut of_tier = hooks.iter().filter(|hook| hook.tier == tier).peekable();
        of_tier.peek().is_some() && of_tier.all(|hook| hook.on)
    };
    match (complete(1), complete(2)) {
        (true, _) => "tracing works, in tier 1: system calls that move no data cost nothing",
        (false, true) => "tracing works, in tier 2: every system call of the host costs some nanoseconds more",
        (false, false) => "tracing is incomplete or impossible: see the hooks that are off",
    }
}

fn row(out: &mut String, name: &str, value: &str) -> fmt::Result {
    writeln!(out, "  {name:<26} {value}")
}

fn known(value: Option<&str>) -> &str {
    value.unwrap_or("unknown")
}
