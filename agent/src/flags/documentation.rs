//! The page on flags, made from their table.

use std::fmt::{self, Write};

use super::{Definition, Family, Hysteresis, Sense, Threshold, Unit, definitions};

/// The text of `docs/flags.md`.
#[must_use]
pub fn documentation() -> String {
    let mut page = String::from(HEAD);
    // Writing to a string does not fail.
    body(&mut page).unwrap_or_default();
    page
}

const HEAD: &str = "<!-- Made from agent/src/flags/table: change it there, then run
     `UPDATE_DOCS=1 cargo test -p mcpsonar --lib flags::`. -->

# Flags

A flag is a named condition with evidence. It is raised when its value has passed the threshold often
enough, updated when it gets much better or worse (at most once a minute) or its severity changes, and
cleared when the value was well for long enough, when its process ended, or when nothing was heard of
it for a while. Values between `warn` and `clear` change nothing, so noise around a threshold does
not flap. From `critical` on the severity is critical, until the value is no longer bad at all.

Samples come every 5 s, every 1 s under pressure, every 15 s from an idle process without a call in flight; the ends of
pipes and the shares of calls are looked at every 10 s; calls and faults count as they come.

Every number can be set, for all, for a server by its name, or for a tool (`TOOL` or
`SERVER/TOOL`); the narrowest applies. `clear` and `critical` follow a `warn` that is moved, unless
they are set too:

```toml
flags.host_cpu.warn = 0.9
flags.idle.enabled = false
servers.files.flags.slow_tool_calls.warn = 250
tools.search.flags.slow_tool_calls = { warn = 2000, raise = 3, of = 5 }
tools.\"files/read\".flags.slow_tool_calls.warn = 50
```

The first two can be variables and flags of the command line too: `MCPSONAR_FLAGS_HOST_CPU_WARN=0.9`,
`--set flags.idle.enabled=false`.
";

fn body(page: &mut String) -> fmt::Result {
    for family in Family::ALL {
        writeln!(page, "\n## {}\n", family.title())?;
        writeln!(page, "| flag | raised when | severity |\n| --- | --- | --- |")?;
        for definition in definitions().filter(|definition| definition.family == family) {
            let Definition {
                code, title, severity, ..
            } = definition;
            writeln!(page, "| [`{code}`](#{code}) | {title} | {} |", severity.code())?;
        }
        for definition in definitions().filter(|definition| definition.family == family) {
            section(page, definition)?;
        }
    }
    Ok(())
}

fn section(page: &mut String, definition: &Definition) -> fmt::Result {
    let Definition {
        code,
        title,
        meaning,
        advice,
        subject,
        threshold,
        hysteresis,
        ..
    } = definition;
    let Threshold {
        value,
        unit,
        sense,
        warn,
        critical,
        clear,
        range,
    } = threshold;
    let side = match sense {
        Sense::Above => "at or above",
        Sense::Below => "at or below",
    };
    let unit = match unit {
        Unit::Milliseconds => " ms",
        Unit::Seconds => " s",
        Unit::Share | Unit::Count => "",
    };
    writeln!(page, "\n### `{code}`\n\n**{title}.** {meaning} {advice}\n")?;
    writeln!(page, "- About a {subject}. Value: {value}.")?;
    write!(page, "- Bad {side} `warn` = {warn}{unit}")?;
    if let Some(critical) = critical {
        write!(page, ", critical {side} `critical` = {critical}{unit}")?;
    }
    writeln!(
        page,
        ", well at `clear` = {clear}{unit}; `warn` may be {} to {}.",
        range.0, range.1
    )?;
    let Hysteresis {
        raise,
        of,
        calm,
        quiet_s,
    } = hysteresis;
    writeln!(
        page,
        "- Raised by {raise} bad of the last {of} values (`raise`, `of`), cleared by {calm} well in a row \
         (`calm`) or {quiet_s} s without a value (`quiet_s`)."
    )?;
    for parameter in definition.parameters {
        let (least, most) = parameter.range;
        writeln!(
            page,
            "- `{}` = {} ({}; {least} to {most}): {}.",
            parameter.key, parameter.default, parameter.unit, parameter.meaning
        )?;
    }
    let fields = definition
        .evidence
        .iter()
        .map(|field| format!("`{}` ({})", field.name, field.meaning));
    writeln!(page, "- Evidence: {}.", fields.collect::<Vec<_>>().join("; "))
}
