//! The page on the configuration, made from the table of keys.

use std::fmt::Write as _;

use super::{Loaded, variable};

const HEAD: &str = "<!-- Made from agent/src/config/keys.rs: change it there, then run `cargo xtask docs`. -->

# Configuration

The file is `/etc/mcpsonar/config.toml`, or what `--config` names. The environment is above the file:
the variable of each key as in the table, then OpenTelemetry's of the same meaning. `--set KEY=VALUE`
is above all. An empty variable counts as none. `mcpsonar config check` names every mistake,
`mcpsonar config show` every value and where it comes from. What is taken at start only needs a
restart; the rest is read anew at SIGHUP.

| key | variables | default | allowed | about |
| --- | --- | --- | --- | --- |
";

const FLAGS: &str = "
## Thresholds of flags

Every number of every flag ([flags.md](flags.md)) can be set: for all as `flags.FLAG.KEY`, for a server
by its name as `servers.SERVER.flags.FLAG.KEY`, for a tool as `tools.TOOL.flags.FLAG.KEY` or
`tools.\"SERVER/TOOL\".flags.FLAG.KEY`. Those for all are variables and `--set` too.

```toml
[history]
max_size = \"512MiB\"
slow = \"250ms\"

[flags]
host_cpu.warn = 0.9
idle.enabled = false

[servers.files.flags]
slow_tool_calls.warn = 250
```
";

/// The text of `docs/configuration.md`.
#[must_use]
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    let defaults = Loaded::default();
    for (key, value, _) in defaults.shown() {
        let value = if value.is_empty() {
            "none".to_owned()
        } else {
            format!("`{value}`")
        };
        let otel = key.otel.map_or_else(String::new, |name| format!(", `{name}`"));
        let own = variable(key.name);
        // A String takes whatever it is given.
        writeln!(
            page,
            "| `{}` | `{own}`{otel} | {value} | {} | {} |",
            key.name, key.allowed, key.about
        )
        .unwrap_or_default();
    }
    page.push_str(FLAGS);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_not_stale() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            there == page(),
            "docs/configuration.md is stale: run `cargo xtask docs`"
        );
    }
}
