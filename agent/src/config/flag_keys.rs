//! Settings of flags: `flags.CODE.KEY`, `servers.NAME.flags.CODE.KEY` and `tools.NAME.flags.CODE.KEY`.
//! Names of servers and tools may hold dots, so they are taken from the tables as they are.

use std::path::Path;

use toml::{Table, Value};

use super::{Loaded, Problem, Source};
use crate::flags::{self, FlagsConfig, Setting, definitions};

/// What every flag has besides its own parameters.
const COMMON: [&str; 7] = ["enabled", "warn", "critical", "clear", "raise", "of", "calm"];

/// Whether a dotted name is one of a flag's settings.
pub(super) fn is_one(name: &str) -> bool {
    name.starts_with("flags.")
}

/// The dotted names of all settings for all servers.
pub(super) fn all() -> impl Iterator<Item = String> {
    definitions().flat_map(|definition| {
        let own = definition.parameters.iter().map(|parameter| parameter.key);
        let keys = COMMON.into_iter().chain(own);
        keys.map(|key| format!("flags.{}.{key}", definition.code))
    })
}

impl Loaded {
    /// Takes the tables of flags out of a file.
    pub(super) fn take_flags(&mut self, table: &mut Table, path: &Path, problems: &mut Vec<Problem>) {
        let source = Source::File(path.to_owned());
        let mut own = Table::new();
        for name in ["flags", "servers", "tools"] {
            if let Some(value) = table.remove(name) {
                note(name, &value, &mut |setting| {
                    self.flag_sources.insert(setting, source.clone());
                });
                own.insert(name.to_owned(), value);
            }
        }
        match own.try_into::<FlagsConfig>() {
            Ok(flags) => self.config.flags = flags,
            Err(error) => problems.push(Problem::Flags {
                source_: source,
                message: error.to_string().trim_end().to_owned(),
            }),
        }
    }

    /// Sets `flags.CODE.KEY`.
    pub(super) fn set_flag(&mut self, name: &str, value: &str, source: Source, problems: &mut Vec<Problem>) {
        let mut parts = name.splitn(3, '.').skip(1);
        let (Some(code), Some(key)) = (parts.next(), parts.next()) else {
            problems.push(Problem::Unknown {
                key: name.to_owned(),
                source_: source,
            });
            return;
        };
        let setting = match (value.parse(), value.parse()) {
            (Ok(switch), _) => Setting::Switch(switch),
            (_, Ok(number)) => Setting::Number(number),
            _ => {
                problems.push(Problem::Flags {
                    source_: source,
                    message: format!("{name} = {value:?}: allowed: true, false or a number"),
                });
                return;
            }
        };
        let flags = &mut self.config.flags.flags;
        flags
            .entry(code.to_owned())
            .or_default()
            .insert(key.to_owned(), setting);
        self.flag_sources.insert(name.to_owned(), source);
    }

    /// Where the setting comes from that an error is about.
    pub(super) fn source_of_flags(&self, error: &flags::ConfigError) -> Source {
        let at = error.at();
        let found = self.flag_sources.iter().find(|(name, _)| name.starts_with(at));
        found.map_or(Source::Default, |(_, source)| source.clone())
    }

    /// Every setting of a flag that was made, its value and where that comes from.
    pub fn shown_flags(&self) -> impl Iterator<Item = (&str, String, &Source)> {
        self.flag_sources.iter().filter_map(|(name, source)| {
            let value = self.config.flags.get(name)?;
            Some((&**name, value, source))
        })
    }
}

/// Names every value in a table.
fn note(prefix: &str, value: &Value, seen: &mut impl FnMut(String)) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                note(&format!("{prefix}.{name}"), value, seen);
            }
        }
        _ => seen(prefix.to_owned()),
    }
}
